// FLUSHALL, and projects that are not in memory, or are on their way into it.
#include <gtest/gtest.h>

#include <utility>

#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

// Project 1 has a key in its file and is not in memory.
void begin(kv_world& world) {
    ASSERT_TRUE(world.start()) << world.problem;
    ASSERT_EQ(world.send("SELECT 1"), "+OK");
    ASSERT_EQ(world.send("SET a 1"), "+OK");
    ASSERT_TRUE(world.close());
    ASSERT_TRUE(world.start()) << world.problem;
}

TEST(store_flush, a_project_read_before_its_file_is_removed_stays_empty_after_a_restart) {
    kv_world world;
    begin(world);
    ASSERT_EQ(world.send("FLUSHALL"), "+OK");
    ASSERT_EQ(world.send("SELECT 1"), "+OK");
    ASSERT_EQ(world.send("GET a"), "$-1");
    ASSERT_TRUE(world.close());
    ASSERT_TRUE(world.start()) << world.problem;
    ASSERT_EQ(world.send("SELECT 1"), "+OK");
    EXPECT_EQ(world.send("GET a"), "$-1");
}

TEST(store_flush, while_the_file_is_read_empties_the_project_too) {
    for (const bool removes_files : {false, true}) {
        kv_world world;
        begin(world);
        world.automatic.loading = false;
        auto& reader = world.connect();
        reader.feed(kv_world::resp("SELECT 1") + kv_world::resp("GET a"));
        reader.work();
        ASSERT_EQ(world.loads_waiting(), 1U);
        bool is_first = true;
        std::string flushed;
        world.files.after_read = [&](const std::string& path) {
            if (path != kv_world::path_of(1) || !std::exchange(is_first, false)) return;
            flushed = world.send(world.connect(), "FLUSHALL");
            if (removes_files) world.maintain();
        };
        ASSERT_TRUE(world.load_next());
        ASSERT_EQ(flushed, "+OK");
        world.settle();
        EXPECT_EQ(kv_world::shown(reader.take()), "+OK|$-1");
        world.files.after_read = nullptr;
        world.automatic.loading = true;
        ASSERT_TRUE(world.close());
        ASSERT_TRUE(world.start()) << world.problem;
        EXPECT_EQ(world.loaded(1), kv_world::content{});
    }
}

TEST(store_flush, a_file_that_is_put_there_later_is_used) {
    kv_world world;
    begin(world);
    const auto text = world.files.content(kv_world::path_of(1));
    ASSERT_EQ(world.send("FLUSHALL"), "+OK");
    world.pass(std::chrono::seconds(2));
    world.maintain();
    ASSERT_FALSE(world.files.exists(kv_world::path_of(1)));
    world.files.put(kv_world::path_of(1), text);
    ASSERT_EQ(world.send("SELECT 1"), "+OK");
    EXPECT_EQ(world.send("GET a"), "$1|1");
}

}  // namespace
}  // namespace sluice::test
