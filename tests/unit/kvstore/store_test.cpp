// The store as a whole, over restarts: what is loaded, saved, sent out of memory, refused.
#include <gtest/gtest.h>

#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

TEST(store, a_value_after_a_kill_is_there) {
    kv_world world;
    ASSERT_TRUE(world.start()) << world.problem;
    EXPECT_EQ(world.send("SET a 1"), "+OK");
    EXPECT_EQ(world.send("GET a"), "$1|1");
    world.kill();
    ASSERT_TRUE(world.start()) << world.problem;
    EXPECT_EQ(world.send("GET a"), "$1|1");
}

}  // namespace
}  // namespace sluice::test
