// The state machine of one client: where its input is cut, what it waits for, transactions.
#include <gtest/gtest.h>

#include "protocol/scram_verifier.hpp"
#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

class kv_client : public ::testing::Test {
  protected:
    void start() { ASSERT_TRUE(world.start()) << world.problem; }
    std::string send(const std::string& text) { return world.send(text); }

    kv_world world;
};

TEST_F(kv_client, pipeline_cut_at_every_byte_gets_the_same_replies) {
    start();
    std::string input;
    for (const auto* const one :
         {"SELECT 3", "SET a 1", "MULTI", "INCR a", "GET a", "EXEC", "NOSUCH x", "GET", "WATCH a",
          "MULTI", "DISCARD", "CLIENT REPLY SKIP", "PING", "APPEND a xyz", "GET a", "DEL a"})
        input += kv_world::resp(one);
    input += "\r\nPING\r\n\"GET\" a\r\n";
    const auto run = [&](std::size_t cut) {
        auto& by = world.connect();
        by.feed(std::string_view(input).substr(0, cut));
        by.work();
        world.settle();
        by.feed(std::string_view(input).substr(cut));
        by.work();
        world.settle();
        return by.take();
    };
    const auto whole = run(input.size());
    EXPECT_EQ(kv_world::shown(whole).substr(0, 40), "+OK|+OK|+OK|+QUEUED|+QUEUED|*2|:2|$1|2|-");
    for (std::size_t cut = 0; cut < input.size(); ++cut)
        ASSERT_EQ(run(cut), whole) << cut;
}

// --- MULTI ---

TEST_F(kv_client, error_while_queueing_aborts_exec) {
    start();
    EXPECT_EQ(send("EXEC"), "-ERR EXEC without MULTI");
    EXPECT_EQ(send("DISCARD"), "-ERR DISCARD without MULTI");
    EXPECT_EQ(send("MULTI"), "+OK");
    EXPECT_EQ(send("MULTI"), "-ERR MULTI calls can not be nested");
    EXPECT_EQ(send("WATCH a"), "-ERR WATCH inside MULTI is not allowed");
    EXPECT_EQ(send("SET a 1"), "+QUEUED");
    EXPECT_EQ(send("EXEC"), "*1|+OK");
    EXPECT_EQ(send("MULTI"), "+OK");
    EXPECT_EQ(send("SET a 2"), "+QUEUED");
    EXPECT_EQ(send("GET"), "-ERR wrong number of arguments for 'get' command");
    EXPECT_EQ(send("SET b 2"), "+QUEUED");
    EXPECT_EQ(send("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    EXPECT_EQ(send("GET a"), "$1|1");
}

TEST_F(kv_client, error_while_executing_stops_nothing) {
    start();
    send("SET a x");
    send("MULTI");
    send("INCR a");
    send("SET b 1");
    EXPECT_EQ(send("EXEC"), "*2|-ERR value is not an integer or out of range|+OK");
    EXPECT_EQ(send("GET b"), "$1|1");
}

TEST_F(kv_client, select_inside_multi_counts_for_what_follows_and_stays) {
    start();
    send("MULTI");
    send("SET a 0");
    send("SELECT 7");
    send("SET a 7");
    EXPECT_EQ(send("EXEC"), "*3|+OK|+OK|+OK");
    EXPECT_EQ(send("GET a"), "$1|7");
    send("SELECT 0");
    EXPECT_EQ(send("GET a"), "$1|0");
}

TEST_F(kv_client, flushall_inside_multi_with_projects_not_in_memory_works) {
    start();
    send("SELECT 5");
    send("SET old 1");
    ASSERT_TRUE(world.close());
    start();
    send("SELECT 5");
    send("MULTI");
    send("SET a 1");
    send("GET old");
    send("FLUSHALL");
    send("SET b 2");
    EXPECT_EQ(send("EXEC"), "*4|+OK|$1|1|+OK|+OK");
    EXPECT_EQ(send("DBSIZE"), ":1");
    send("SELECT 6");
    send("MULTI");
    send("FLUSHALL");
    send("SET c 3");
    EXPECT_EQ(send("EXEC"), "*2|+OK|+OK");
    world.kill();
    start();
    EXPECT_EQ(world.loaded(5).size(), 0U);
    EXPECT_EQ(world.loaded(6).count("c"), 1U);
}

TEST_F(kv_client, transaction_that_needs_much_more_room_is_not_torn) {
    start();
    send("SET a " + std::string(3'000'000, 'x'));
    world.pass(2s);
    send("MULTI");
    send("SET b 1");
    send("COPY a c DB 2");
    send("SET d 1");
    EXPECT_EQ(send("EXEC"), "*3|+OK|:1|+OK");
    EXPECT_EQ(world.loaded(2)["c"].bytes.size(), 3'000'000U);
    EXPECT_EQ(send("EXEC"), "-ERR EXEC without MULTI");
}

TEST_F(kv_client, watched_key_that_changes_aborts) {
    start();
    auto& one = world.connect();
    auto& other = world.connect();
    const auto exec_after = [&](const std::vector<std::string>& before,
                                const std::vector<std::string>& between) {
        for (const auto& text : before)
            world.send(one, text);
        for (const auto& text : between)
            world.send(other, text);
        world.send(one, "MULTI");
        world.send(one, "PING");
        return world.send(one, "EXEC");
    };
    const std::string done = "*1|+PONG";
    EXPECT_EQ(exec_after({"WATCH a"}, {}), done);
    EXPECT_EQ(exec_after({"WATCH a"}, {"SET a 1"}), "*-1");
    EXPECT_EQ(exec_after({"WATCH a"}, {"DEL a"}), "*-1");
    EXPECT_EQ(exec_after({"WATCH a"}, {"DEL a"}), done);
    EXPECT_EQ(exec_after({"WATCH a"}, {"FLUSHDB"}), done);
    EXPECT_EQ(exec_after({"SET a 1", "WATCH a"}, {"FLUSHALL"}), "*-1");
    EXPECT_EQ(exec_after({"WATCH a", "UNWATCH"}, {"SET a 1"}), done);
    EXPECT_EQ(exec_after({"WATCH a", "MULTI", "DISCARD"}, {"SET a 1"}), done);
    EXPECT_EQ(exec_after({"WATCH a"}, {"SELECT 1", "SET a 1", "SELECT 0"}), done);
    EXPECT_EQ(exec_after({"WATCH a"}, {"EXPIRE a 100"}), "*-1");
    EXPECT_EQ(exec_after({"WATCH a b"}, {"RENAME a b"}), "*-1");
}

TEST_F(kv_client, expiry_of_a_watched_key_aborts_unless_it_had_expired_before) {
    start();
    send("SET a 1 PX 100");
    send("WATCH a");
    world.pass(200ms);
    send("MULTI");
    send("PING");
    EXPECT_EQ(send("EXEC"), "*-1");
    send("WATCH a");
    world.db->expire(world.now);
    send("MULTI");
    send("PING");
    EXPECT_EQ(send("EXEC"), "*1|+PONG");
}

// --- SELECT, CLIENT REPLY, QUIT ---

TEST_F(kv_client, refused_select_leaves_no_project_open) {
    start();
    EXPECT_EQ(send("SET a 1"), "+OK");
    EXPECT_EQ(send("SELECT 2147483648")[0], '-');
    EXPECT_EQ(send("GET a").substr(0, 29), "-ERR no project is selected: ");
    EXPECT_EQ(send("PING"), "+PONG");
    EXPECT_EQ(send("SELECT 0"), "+OK");
    EXPECT_EQ(send("GET a"), "$1|1");
}

TEST_F(kv_client, client_reply_off_and_skip_hide_replies) {
    start();
    EXPECT_EQ(send("CLIENT REPLY OFF"), "");
    EXPECT_EQ(send("SET a 1"), "");
    EXPECT_EQ(send("NOSUCH"), "");
    EXPECT_EQ(send("CLIENT REPLY ON"), "+OK");
    EXPECT_EQ(send("CLIENT REPLY SKIP"), "");
    EXPECT_EQ(send("GET a"), "");
    EXPECT_EQ(send("GET a"), "$1|1");
}

TEST_F(kv_client, quit_in_a_pipeline_ends_it_there) {
    start();
    auto& by = world.connect();
    by.feed(kv_world::resp("SET a 1") + kv_world::resp("QUIT") + kv_world::resp("SET a 2"));
    by.work();
    world.settle();
    EXPECT_EQ(kv_world::shown(by.take()), "+OK|+OK");
    EXPECT_EQ(by.waits(), kv_peer::waiting::over);
    EXPECT_EQ(world.loaded(0)["a"].bytes, "1");
}

// --- what it waits for ---

TEST_F(kv_client, command_waits_for_its_project_and_keeps_the_order) {
    start();
    world.automatic.loading = false;
    auto& by = world.connect();
    by.feed(kv_world::resp("PING") + kv_world::resp("SET a 1") + kv_world::resp("GET a"));
    by.work();
    EXPECT_EQ(kv_world::shown(by.take()), "+PONG");
    EXPECT_EQ(by.waits(), kv_peer::waiting::wake);
    EXPECT_EQ(world.loads_waiting(), 1U);
    auto& other = world.connect();
    EXPECT_EQ(world.send(other, "GET a"), "");
    EXPECT_EQ(world.loads_waiting(), 1U);  // nobody reads it twice
    EXPECT_TRUE(world.load_next());
    world.settle();
    EXPECT_EQ(kv_world::shown(by.take()), "+OK|$1|1");
    EXPECT_TRUE(other.is_idle());
}

TEST_F(kv_client, command_waits_for_room_in_the_log) {
    start();
    send("PING");
    world.automatic.log = false;
    auto& by = world.connect();
    const std::string big(5'000'000, 'x');
    EXPECT_EQ(world.send(by, "GET a"), "$-1");
    EXPECT_EQ(world.send(by, "SET a " + big), "");
    EXPECT_EQ(by.waits(), kv_peer::waiting::room);
    EXPECT_EQ(world.resident(0)->size(), 0U);
    world.automatic.log = true;
    world.settle();
    EXPECT_EQ(kv_world::shown(by.take()), "+OK");
}

TEST_F(kv_client, save_waits_for_its_job) {
    start();
    send("SET a 1");
    world.automatic.jobs = false;
    EXPECT_EQ(send("SAVE"), "");
    auto& other = world.connect();
    EXPECT_EQ(world.send(other, "SAVE"), "-ERR Background save already in progress");
    world.first().woken = true;  // for nothing
    world.settle();
    EXPECT_EQ(world.first().take(), "");
    EXPECT_TRUE(world.do_next_job());
    world.settle();
    EXPECT_EQ(kv_world::shown(world.first().take()), "+OK");
    EXPECT_TRUE(world.files.exists("db/project-0.json"));
}

TEST_F(kv_client, replies_wait_until_the_log_is_safe_also_of_those_who_only_read) {
    start();
    send("SET z 0");
    world.automatic.log = false;
    auto& writer = world.connect();
    auto& reader = world.connect();
    auto& elsewhere = world.connect();
    world.send(elsewhere, "SELECT 9");
    EXPECT_EQ(world.send(writer, "SET a 1"), "");
    EXPECT_EQ(world.send(reader, "GET a"), "");
    EXPECT_EQ(world.send(elsewhere, "GET a"), "$-1");
    EXPECT_EQ(writer.waits(), kv_peer::waiting::log);
    world.step_log();
    EXPECT_EQ(kv_world::shown(writer.take()), "+OK");
    EXPECT_EQ(kv_world::shown(reader.take()), "$1|1");
}

TEST_F(kv_client, exec_that_is_not_safe_is_not_answered_as_if_it_were) {
    start();
    send("SET z 0");
    world.automatic.log = false;
    auto& by = world.connect();
    by.feed(kv_world::resp("GET z") + kv_world::resp("MULTI") + kv_world::resp("SET a 1") +
            kv_world::resp("EXEC"));
    by.work();
    world.files.fail_all(faulty_files::operation::sync, std::make_error_code(std::errc::io_error));
    world.step_log();
    EXPECT_EQ(kv_world::shown(by.take()), "$1|0|+OK|-MISCONF not safe|-MISCONF not safe");
}

TEST_F(kv_client, big_replies_are_made_a_turn_at_a_time) {
    start();
    send("SET a " + std::string(100'000, 'x'));
    auto& by = world.connect();
    for (int i = 0; i < 20; ++i)
        by.feed(kv_world::resp("GET a"));
    by.work();
    world.settle();
    EXPECT_EQ(by.take().size(), 20U * 100'011U);
    EXPECT_GE(by.turns, 5U);
    EXPECT_LT(by.most_in_turn, 400'000U);
}

// --- AUTH ---

TEST_F(kv_client, auth_with_plain_and_verifier_passwords) {
    const std::string salt = "0123456789abcdef";
    world.settings.users["ada"] = {"secret", false, {1, 2}};
    world.settings.users["bob"] = {
        protocol::make_verifier("hidden", protocol::as_bytes(salt), 16), false, {7}};
    start();
    EXPECT_EQ(send("GET a"), "-NOAUTH Authentication required.");
    EXPECT_EQ(send("AUTH ada wrong").substr(0, 10), "-WRONGPASS");
    EXPECT_EQ(send("AUTH nobody secret").substr(0, 10), "-WRONGPASS");
    EXPECT_EQ(send("AUTH ada secret"), "+OK");
    EXPECT_EQ(world.checks, 0U);
    EXPECT_EQ(send("GET a").substr(0, 7), "-NOPERM");
    EXPECT_EQ(send("SELECT 7").substr(0, 7), "-NOPERM");
    EXPECT_EQ(send("SELECT 1"), "+OK");
    EXPECT_EQ(send("SET a 1"), "+OK");
    EXPECT_EQ(send("MOVE a 7").substr(0, 7), "-NOPERM");

    auto& other = world.connect();
    EXPECT_EQ(world.send(other, "AUTH bob wrong").substr(0, 10), "-WRONGPASS");
    world.automatic.jobs = false;
    other.feed(kv_world::resp("AUTH bob hidden") + kv_world::resp("SET b 1"));
    other.work();
    EXPECT_EQ(other.waits(), kv_peer::waiting::wake);
    EXPECT_EQ(other.take(), "");
    world.automatic.jobs = true;
    world.settle();
    EXPECT_EQ(kv_world::shown(other.take()), "+OK|+OK");
    EXPECT_EQ(world.checks, 2U);
    EXPECT_EQ(world.loaded(7).count("b"), 1U);  // who has one project is in it
}

}  // namespace
}  // namespace sluice::test
