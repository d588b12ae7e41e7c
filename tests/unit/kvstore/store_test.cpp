// The store as a whole, over restarts: what is loaded, saved, sent out of memory, refused.
#include <gtest/gtest.h>

#include "kvstore/project_file.hpp"
#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using kvstore::project;

// As E-Code's emulation writes it.
std::string ecode_file(const std::string& data) {
    return "{\n  \"projectId\": 1,\n  \"data\": {" + data + "}\n}";
}

std::string file_covering(kvstore::log_number covers, const std::string& key,
                          kvstore::project_id id = 1) {
    std::string text;
    kvstore::project_file_writer writer(text, {id, 1, 2, covers});
    writer.add({key, "old", kvstore::never, kvstore::value_form::text});
    writer.finish();
    return text;
}

class store : public ::testing::Test {
  protected:
    void start() { ASSERT_TRUE(world.start()) << world.problem; }
    void restart() {
        world.kill();
        start();
    }
    std::string send(const std::string& text) { return world.send(text); }
    [[nodiscard]] project::residence state(kvstore::project_id id) {
        return world.db->find(id)->state;
    }

    kv_world world;
};

TEST_F(store, value_after_kill_is_there) {
    start();
    EXPECT_EQ(send("SET a 1"), "+OK");
    restart();
    EXPECT_EQ(send("GET a"), "$1|1");
}

TEST_F(store, ecode_file_is_opened_as_it_is) {
    world.files.put("db/project-1.json", ecode_file("\"a\": 5, \"b\": {\"c\": [1]}"));
    start();
    EXPECT_EQ(send("SELECT 1"), "+OK");
    EXPECT_EQ(send("GET a"), "$1|5");
    EXPECT_EQ(send("GET b"), "$9|{\"c\":[1]}");
    EXPECT_EQ(send("INCR a"), ":6");
    EXPECT_EQ(world.save(1), "");
    EXPECT_NE(world.files.content("db/project-1.json").find("\"a\": 6"), std::string::npos);
    EXPECT_FALSE(world.has_notice("not as sluice wrote it"));
}

TEST_F(store, damaged_file_is_set_aside_and_refused_also_after_restart) {
    const std::string damaged = "{\"data\": {\"a\": ";
    world.files.put("db/project-1.json", damaged);
    start();
    send("SELECT 1");
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(send("GET a").substr(0, 34), "-ERR project 1 is not available: i");
        EXPECT_EQ(send("SET a 1").substr(0, 34), "-ERR project 1 is not available: i");
        world.pass(2s);
        world.maintain();
        EXPECT_EQ(world.files.content("db/project-1.json.damaged"), damaged);
        EXPECT_FALSE(world.files.exists("db/project-1.json"));
        if (i == 1) {
            restart();
            send("SELECT 1");
        }
    }
    // A good file is taken without a restart.
    world.files.put("db/project-1.json", ecode_file("\"a\": 7"));
    world.pass(2s);
    EXPECT_EQ(send("GET a"), "$1|7");
    EXPECT_EQ(send("SET a 8"), "+OK");
    EXPECT_EQ(world.save(1), "");
    EXPECT_EQ(world.files.content("db/project-1.json.damaged"), damaged);
}

TEST_F(store, second_damaged_file_does_not_replace_the_first_one) {
    world.files.put("db/project-1.json.damaged", "first");
    world.files.put("db/project-1.json", "second");
    start();
    send("SELECT 1");
    EXPECT_EQ(send("GET a")[0], '-');
    EXPECT_EQ(world.files.content("db/project-1.json.damaged"), "first");
    EXPECT_EQ(world.files.content("db/project-1.json.damaged-2"), "second");
}

TEST_F(store, edited_file_is_used_and_kept) {
    start();
    send("SELECT 1");
    send("SET a before");
    ASSERT_TRUE(world.close());
    auto text = world.files.content("db/project-1.json");
    text.replace(text.find("before"), 6, "edited");
    world.files.put("db/project-1.json", text);
    start();
    send("SELECT 1");
    EXPECT_EQ(send("GET a"), "$6|edited");
    EXPECT_TRUE(world.has_notice("not as sluice wrote it"));
    send("SET a after");
    EXPECT_EQ(world.save(1), "");
    EXPECT_EQ(world.files.content("db/project-1.json.edited"), text);
}

// --- files that are ahead of the log ---

TEST_F(store, file_from_another_log_hides_no_new_record) {
    world.files.put("db/project-1.json", file_covering(500, "a"));
    start();
    send("SELECT 1");
    EXPECT_EQ(send("GET a"), "$3|old");
    EXPECT_EQ(send("SET a new"), "+OK");
    restart();
    send("SELECT 1");
    EXPECT_EQ(send("GET a"), "$3|new");
}

TEST_F(store, file_from_another_log_put_there_while_it_runs_hides_no_new_record) {
    start();
    send("SELECT 2");
    send("SET x 1");
    world.files.put("db/project-1.json", file_covering(500, "a"));
    send("SELECT 1");
    EXPECT_EQ(send("GET a"), "$3|old");
    EXPECT_EQ(send("SET a new"), "+OK");
    restart();
    send("SELECT 1");
    EXPECT_EQ(send("GET a"), "$3|new");
}

TEST_F(store, project_ahead_of_a_cut_log_hides_no_new_record) {
    world.files.put("db/project-1.json", file_covering(500, "a"));
    start();
    send("SELECT 1");
    send("SET b 1");  // 501
    world.save(1);
    world.kill();
    for (const auto& path : world.files.files()) {
        if (!path.starts_with("db/log/")) continue;
        ASSERT_FALSE(world.files.remove(path));
    }
    start();
    send("SELECT 1");
    EXPECT_EQ(send("SET b 2"), "+OK");
    restart();
    send("SELECT 1");
    EXPECT_EQ(send("GET b"), "$1|2");
    restart();
    EXPECT_EQ(world.loaded(1)["b"].bytes, "2");
}

// --- FLUSHALL ---

TEST_F(store, flushall_empties_absent_projects_and_files_written_later_survive) {
    world.files.put("db/project-1.json", ecode_file("\"a\": 5"));
    world.files.put("db/project-2.json", file_covering(40, "b", 2));
    start();
    EXPECT_EQ(send("FLUSHALL"), "+OK");
    restart();
    send("SELECT 1");
    EXPECT_EQ(send("DBSIZE"), ":0");
    send("SET later 1");
    EXPECT_EQ(world.save(1), "");
    restart();
    EXPECT_EQ(world.loaded(1).size(), 1U);
    EXPECT_EQ(world.loaded(2).size(), 0U);
    ASSERT_TRUE(world.close());
    start();
    EXPECT_EQ(world.loaded(1).size(), 1U);
    EXPECT_EQ(world.loaded(2).size(), 0U);
    EXPECT_FALSE(world.files.content("db/project-2.json").find("old") != std::string::npos);
}

TEST_F(store, project_loaded_after_flushall_stays_empty_without_the_log) {
    world.files.put("db/project-1.json", ecode_file("\"a\": 5"));
    start();
    EXPECT_EQ(send("FLUSHALL"), "+OK");
    EXPECT_EQ(world.loaded(1).size(), 0U);  // in memory before its file was removed
    world.maintain();
    ASSERT_TRUE(world.close());
    start();
    EXPECT_EQ(world.loaded(1).size(), 0U);
}

TEST_F(store, project_that_is_being_loaded_while_flushall_comes_is_empty) {
    world.files.put("db/project-1.json", ecode_file("\"a\": 5"));
    start();
    world.automatic.loading = false;
    auto& reader = world.connect();
    auto& other = world.connect();
    world.send(reader, "SELECT 1");
    EXPECT_EQ(world.send(reader, "GET a"), "");
    EXPECT_EQ(world.send(other, "FLUSHALL"), "+OK");
    world.maintain();
    world.automatic.loading = true;
    world.settle();
    EXPECT_EQ(kv_world::shown(reader.take()), "$-1");
    ASSERT_TRUE(world.close());
    start();
    EXPECT_EQ(world.loaded(1).size(), 0U);
}

TEST_F(store, file_put_there_after_flushall_was_carried_out_is_taken) {
    start();
    send("SET a 1");
    EXPECT_EQ(send("FLUSHALL"), "+OK");
    world.maintain();
    world.files.put("db/project-1.json", ecode_file("\"a\": 5"));
    send("SELECT 1");
    EXPECT_EQ(send("GET a"), "$1|5");
}

// --- the log ---

TEST_F(store, log_goes_when_files_cover_it) {
    world.segment_bytes = 2000;
    start();
    for (int i = 0; i < 40; ++i)
        send("SET k" + std::to_string(i) + " " + std::string(200, 'x'));
    EXPECT_GT(world.segments(), 3U);
    EXPECT_EQ(world.save_all(), "");
    EXPECT_EQ(world.segments(), 1U);
}

TEST_F(store, log_of_a_refused_project_stays_also_after_close) {
    start();
    send("SELECT 1");
    send("SET a 1");
    EXPECT_EQ(world.save_all(), "");
    send("SET b 2");
    const auto good = world.files.content("db/project-1.json");
    world.kill();
    world.files.put("db/project-1.json", "damaged");
    start();
    EXPECT_EQ(state(1), project::residence::refused);
    send("SELECT 2");
    send("SET other 1");
    EXPECT_EQ(world.save_all(), "");
    world.maintain();
    EXPECT_TRUE(world.close());
    start();
    EXPECT_EQ(state(1), project::residence::refused);
    world.kill();
    world.files.put("db/project-1.json", good);
    start();
    EXPECT_EQ(world.loaded(1).size(), 2U);
}

// --- a refused project whose file is put right while it runs ---

class repair : public store {
  protected:
    // Project 1 with `a` in its file, `b` and `c` in the log only, and its file damaged.
    void damage() {
        world.settings.fsync = config::fsync_policy::always;
        start();
        send("SELECT 1");
        send("SET a 1");
        ASSERT_EQ(world.save_all(), "");
        send("SET b 2");
        send("APPEND c first");
        good = world.files.content("db/project-1.json");
        world.kill();
        world.files.put("db/project-1.json", "damaged");
        start();
        ASSERT_EQ(state(1), project::residence::refused);
        send("SELECT 1");
        EXPECT_TRUE(send("GET a").starts_with("-ERR project 1 is not available"));
    }
    // Writes of others meanwhile, in later segments of the log.
    void go_on() {
        send("SELECT 2");
        send("APPEND c second");
        EXPECT_EQ(world.save_all(), "");
        send("SELECT 1");
        world.pass(2s);
    }
    void expect_all() {
        EXPECT_EQ(send("MGET a b c"), "*3|$1|1|$1|2|$5|first");
        EXPECT_EQ(send("SET d 4"), "+OK");
    }

    std::string good;
};

TEST_F(repair, good_file_is_taken_with_what_the_log_has) {
    damage();
    go_on();
    world.files.put("db/project-1.json", good);
    expect_all();
    EXPECT_TRUE(world.has_notice("project 1 is served again"));
    restart();
    EXPECT_EQ(world.loaded(1).size(), 4U);
    EXPECT_EQ(world.loaded(1).at("c").bytes, "first");
    EXPECT_EQ(world.save_all(), "");
    ASSERT_TRUE(world.close());
    EXPECT_EQ(world.segments(), 1U);
    start();
    EXPECT_EQ(world.loaded(1).size(), 4U);
}

TEST_F(repair, checkpoint_after_it_lets_the_log_go) {
    world.segment_bytes = 2000;
    damage();
    for (int i = 0; i < 40; ++i) {
        send("SELECT 2");
        send("SET k" + std::to_string(i) + " " + std::string(200, 'x'));
    }
    EXPECT_EQ(world.save_all(), "");
    EXPECT_GT(world.segments(), 3U);
    go_on();
    world.files.put("db/project-1.json", good);
    expect_all();
    EXPECT_EQ(world.save_all(), "");
    EXPECT_EQ(world.segments(), 1U);
    restart();
    EXPECT_EQ(world.loaded(1).size(), 4U);
}

TEST_F(repair, kept_file_that_was_removed_begins_with_what_the_log_has) {
    damage();
    ASSERT_FALSE(world.files.remove("db/project-1.json.damaged"));
    world.pass(2s);
    EXPECT_EQ(send("MGET b c"), "*2|$1|2|$5|first");
    const auto all = world.loaded(1);
    restart();  // to the same
    EXPECT_EQ(world.loaded(1), all);
}

TEST_F(repair, file_that_covers_the_log_is_taken_as_it_is) {
    damage();
    world.files.put("db/project-1.json", file_covering(3, "only"));
    world.pass(2s);
    EXPECT_EQ(send("MGET only b"), "*2|$3|old|$-1");
    EXPECT_EQ(world.db->find(1)->is_unsaved(), false);
    restart();
    EXPECT_EQ(world.loaded(1).size(), 1U);
}

TEST_F(repair, file_from_another_log_is_taken_as_it_is) {
    damage();
    world.files.put("db/project-1.json", file_covering(500, "only"));
    world.pass(2s);
    EXPECT_EQ(send("MGET only b"), "*2|$3|old|$-1");
    EXPECT_EQ(send("SET new 1"), "+OK");
    restart();
    EXPECT_EQ(world.loaded(1).size(), 2U);
}

TEST_F(repair, flushall_of_meanwhile_empties_it) {
    damage();
    EXPECT_EQ(send("FLUSHALL"), "+OK");
    world.maintain();
    world.files.put("db/project-1.json", good);
    world.pass(2s);
    EXPECT_EQ(send("DBSIZE"), ":0");
    EXPECT_EQ(send("SET d 4"), "+OK");
    restart();
    EXPECT_EQ(world.loaded(1).size(), 1U);
}

TEST_F(repair, log_that_cannot_be_read_then_leaves_it_refused_and_loses_nothing) {
    damage();
    world.files.put("db/project-1.json", good);
    std::string first;
    for (const auto& path : world.files.files()) {
        if (path.starts_with("db/log/") && (first.empty() || path < first)) first = path;
    }
    const auto segment = world.files.content(first);
    world.files.put(first, "damaged");
    world.pass(2s);
    EXPECT_TRUE(send("GET b").starts_with("-ERR project 1 is not available: db/log/"));
    EXPECT_EQ(world.save_all(), "");
    world.maintain();
    world.files.put(first, segment);
    world.pass(2s);
    expect_all();
}

TEST_F(repair, unchanged_things_are_not_read_and_told_again) {
    damage();
    std::size_t reads = 0;
    world.files.after_read = [&](const std::string&) { ++reads; };
    const auto told = world.notices.size();
    for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(send("GET a").starts_with("-ERR project 1 is not available"));
        world.pass(100ms);
    }
    EXPECT_EQ(reads, 0U);
    EXPECT_EQ(world.notices.size(), told);
}

TEST_F(repair, damaged_file_that_keeps_its_name_is_read_once_until_it_changes) {
    world.files.put("db/project-1.json", "damaged");
    start();
    world.files.fail_all(faulty_files::operation::rename,
                         std::make_error_code(std::errc::read_only_file_system));
    std::size_t reads = 0;
    world.files.after_read = [&](const std::string& path) {
        if (path == "db/project-1.json") ++reads;
    };
    send("SELECT 1");
    for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(send("GET a").starts_with("-ERR project 1 is not available"));
        world.pass(100ms);
    }
    EXPECT_EQ(reads, 1U);
    world.files.heal();
    world.files.put("db/project-1.json", ecode_file("\"a\": 7"));
    world.pass(2s);
    EXPECT_EQ(send("GET a"), "$1|7");
}

TEST_F(repair, file_that_is_being_written_is_not_looked_at) {
    damage();
    world.files.set_clock(world.now);
    world.files.put("db/project-1.json", good.substr(0, 20));
    EXPECT_TRUE(send("GET a").starts_with("-ERR project 1 is not available"));
    world.files.put("db/project-1.json", good);
    EXPECT_FALSE(world.files.exists("db/project-1.json.damaged-2"));
    world.pass(3s);
    expect_all();
}

// Each look at it is ten seconds later.
kvstore::monotonic slow_clock() {
    static kvstore::monotonic now{std::chrono::hours(1)};
    return now += std::chrono::seconds(10);
}

TEST_F(store, close_leaves_to_the_log_what_takes_too_long) {
    start();
    for (int i = 1; i <= 20; ++i) {
        send("SELECT " + std::to_string(i));
        send("SET a " + std::to_string(i));
    }
    world.db->clock = &slow_clock;
    ASSERT_TRUE(world.close());
    EXPECT_TRUE(world.files.exists("db/project-1.json"));
    EXPECT_FALSE(world.files.exists("db/project-20.json"));
    start();
    for (int i = 1; i <= 20; ++i) {
        send("SELECT " + std::to_string(i));
        EXPECT_EQ(send("GET a"),
                  "$" + std::to_string(std::to_string(i).size()) + "|" + std::to_string(i));
    }
}

TEST_F(store, close_leaves_a_log_that_holds_nothing) {
    start();
    send("SELECT 1");
    send("SET a 1");
    ASSERT_TRUE(world.close());
    world.files.put("db/project-1.json", ecode_file("\"b\": 1"));
    start();
    EXPECT_EQ(world.loaded(1).count("a"), 0U);
    EXPECT_EQ(world.loaded(1).count("b"), 1U);
}

// A checkpoint makes the log safe before its file appears.
TEST_F(store, power_failure_after_a_checkpoint_hides_no_later_record) {
    world.settings.fsync = config::fsync_policy::never;
    start();
    send("SELECT 1");
    for (int i = 0; i < 5; ++i)
        send("INCR n");
    EXPECT_EQ(world.save(1), "");
    EXPECT_GE(world.db->log().synced(), 5U);
    world.power_failure();
    start();
    send("SELECT 1");
    EXPECT_EQ(send("INCR n"), ":6");
    EXPECT_EQ(world.save(1), "");
    world.power_failure();
    start();
    EXPECT_EQ(world.loaded(1)["n"].bytes, "6");
}

TEST_F(store, checkpoint_with_a_broken_log_fails_and_leaves_the_file) {
    start();
    send("SELECT 1");
    send("SET a 1");
    EXPECT_EQ(world.save(1), "");
    const auto before = world.files.content("db/project-1.json");
    world.automatic.log = false;
    send("SET a 2");
    world.files.fail_all(faulty_files::operation::rename,
                         std::make_error_code(std::errc::io_error));
    world.files.fail_operation(0, std::make_error_code(std::errc::io_error));
    world.step_log();
    EXPECT_NE(world.save(1), "");
    EXPECT_EQ(world.files.content("db/project-1.json"), before);
    world.files.heal();
    world.automatic.log = true;
    world.pass(2s);
    EXPECT_EQ(world.save(1), "");
}

// --- quotas and memory ---

TEST_F(store, quotas_are_kept) {
    world.settings.max_keys = 2;
    world.settings.max_project_size = 100;
    world.settings.max_value_size = 60;
    start();
    EXPECT_EQ(send("SET a 1"), "+OK");
    EXPECT_EQ(send("SET b 1"), "+OK");
    EXPECT_EQ(send("SET c 1").substr(0, 4), "-OOM");
    EXPECT_EQ(send("SET a " + std::string(61, 'x')).substr(0, 4), "-ERR");
    EXPECT_EQ(send("SET a " + std::string(60, 'x')), "+OK");
    EXPECT_EQ(send("SET b " + std::string(60, 'x')).substr(0, 4), "-OOM");
    EXPECT_EQ(send("DEL a"), ":1");
    EXPECT_EQ(send("SET b " + std::string(60, 'x')), "+OK");
}

TEST_F(store, idle_projects_leave_memory_but_watched_ones_stay) {
    world.settings.project_idle_timeout = 10s;
    start();
    auto& watcher = world.connect();
    auto& other = world.connect();
    world.send(watcher, "SELECT 1");
    world.send(watcher, "WATCH a");
    world.send(other, "SELECT 2");
    world.send(other, "SET b 1");
    world.pass(9s);
    world.maintain();
    EXPECT_EQ(state(2), project::residence::resident);
    world.pass(2s);
    world.maintain();
    EXPECT_EQ(state(1), project::residence::resident);
    EXPECT_EQ(state(2), project::residence::absent);
    EXPECT_EQ(world.send(other, "GET b"), "$1|1");
    world.send(watcher, "UNWATCH");
    world.pass(11s);
    world.maintain();
    EXPECT_EQ(state(1), project::residence::absent);
    EXPECT_EQ(world.db->memory(), 0U);
}

TEST_F(store, too_much_memory_refuses_growth_until_projects_left) {
    world.settings.max_memory = 20000;
    start();
    send("SELECT 1");
    EXPECT_EQ(send("SET a " + std::string(15000, 'x')), "+OK");
    send("SELECT 2");
    EXPECT_EQ(send("SET b " + std::string(15000, 'x')), "+OK");
    EXPECT_EQ(send("SET c 1").substr(0, 4), "-OOM");
    EXPECT_EQ(send("GET b").size(), 15007U);
    world.maintain();
    EXPECT_LE(world.db->memory(), 20000U);
    EXPECT_EQ(send("SET c 1"), "+OK");
    EXPECT_EQ(world.loaded(1).size(), 1U);
}

TEST_F(store, expired_keys_are_removed_and_stay_removed) {
    start();
    send("SET a 1 PX 100");
    send("SET b 1");
    const auto before = world.db->log().last();
    world.pass(200ms);
    world.db->expire(world.now);
    EXPECT_EQ(world.db->log().last(), before + 1);
    EXPECT_EQ(send("DBSIZE"), ":1");
    EXPECT_EQ(world.db->counts.expired_keys.load(), 1U);
    world.now -= 150;  // a clock that goes back brings nothing back
    restart();
    EXPECT_EQ(world.loaded(0).size(), 1U);
}

// --- a full disk ---

TEST_F(store, full_disk_refuses_writes_shows_nothing_of_them_and_goes_on_by_itself) {
    start();
    EXPECT_EQ(send("SET a 1"), "+OK");
    world.files.set_capacity(world.files.used());
    const std::string big(30'000, 'x');
    std::string reply;
    int taken = 0;
    for (; taken < 200; ++taken) {
        reply = send("SET big" + std::to_string(taken) + " " + big);
        if (reply != "+OK") break;
    }
    EXPECT_EQ(reply.substr(0, 8), "-MISCONF");
    EXPECT_LT(taken, 200);
    EXPECT_EQ(send("GET big" + std::to_string(taken)), "$-1");
    EXPECT_EQ(send("DEL a").substr(0, 8), "-MISCONF");
    EXPECT_EQ(send("GET a"), "$1|1");
    EXPECT_EQ(send("DBSIZE"), ":" + std::to_string(taken + 1));
    world.files.set_capacity(~std::uint64_t{0});
    world.pass(3s);
    EXPECT_EQ(send("SET b 1"), "+OK");
    world.power_failure();
    start();
    EXPECT_EQ(world.loaded(0).size(), static_cast<std::size_t>(taken) + 2);
}

TEST_F(store, log_does_not_take_more_and_more_room_for_pipelines) {
    start();
    auto& by = world.connect();
    std::string many;
    for (int i = 0; i < 400; ++i)
        many += kv_world::resp("SET k " + std::string(3000, 'x'));
    std::uint64_t first = 0;
    for (int round = 0; round < 40; ++round) {
        by.feed(many);
        by.work();
        world.settle();
        (void)by.take();
        const auto ahead = world.files.used() - world.db->log().stats().bytes_on_disk;
        if (round == 9) first = ahead;
        if (round > 9) {
            EXPECT_LE(ahead, first + (1U << 20)) << round;
        }
    }
}

}  // namespace
}  // namespace sluice::test
