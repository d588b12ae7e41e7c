// Who may do what: no command, and no order of commands, leads a client to what its user may not
// open, and no check of one password answers for another.
#include <gtest/gtest.h>

#include "protocol/scram_verifier.hpp"
#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

std::string verifier_of(std::string_view password) {
    return protocol::make_verifier(password, protocol::as_bytes("sixteen bytes of"), 16);
}

class access : public ::testing::Test {
  protected:
    void SetUp() override {
        world.settings.users["alice"] = {verifier_of("of alice"), true, {}};
        world.settings.users["bob"] = {verifier_of("of bob"), false, {5}};
        world.settings.users["carol"] = {"of carol", false, {6, 7}};
        ASSERT_TRUE(world.start()) << world.problem;
    }

    kv_peer& logged_in(const std::string& name) {
        auto& peer = world.connect();
        EXPECT_EQ(world.send(peer, "AUTH " + name + " of~" + name), wrong);
        peer.feed(kv_world::resp(std::vector<std::string>{"AUTH", name, "of " + name}));
        peer.work();
        world.settle();
        EXPECT_EQ(peer.take(), "+OK\r\n");
        return peer;
    }

    static constexpr const char* wrong =
        "-WRONGPASS invalid username-password pair or user is disabled.";
    kv_world world;
};

TEST_F(access, a_login_in_a_transaction_opens_projects_from_its_place_on) {
    const auto queue = [&](kv_peer& by, const std::vector<std::string>& words) {
        by.feed(kv_world::resp(words));
        by.work();
        world.settle();
        EXPECT_EQ(by.take(), "+QUEUED\r\n") << words[0];
    };
    auto& carol = logged_in("carol");
    EXPECT_EQ(world.send(carol, "SELECT 7"), "+OK");
    EXPECT_EQ(world.send(carol, "SET secret 1"), "+OK");
    EXPECT_EQ(world.send(carol, "MULTI"), "+OK");
    queue(carol, {"SELECT", "5"});  // bob's only one, not yet
    queue(carol, {"SET", "early", "1"});
    queue(carol, {"AUTH", "bob", "of bob"});
    queue(carol, {"SET", "mine", "1"});  // in 5 now
    queue(carol, {"MOVE", "mine", "7"});
    queue(carol, {"SELECT", "7"});
    queue(carol, {"GET", "secret"});
    queue(carol, {"AUTH", "carol", "of bob"});
    queue(carol, {"SELECT", "7"});
    queue(carol, {"AUTH", "alice", "of alice"});
    queue(carol, {"SELECT", "7"});
    queue(carol, {"GET", "secret"});
    queue(carol, {"COPY", "secret", "mine", "DB", "5", "REPLACE"});
    queue(carol, {"SELECT", "9"});
    queue(carol, {"INCR", "n"});
    const std::string no_project =
        "-ERR no project is selected: the last SELECT was refused. SELECT one that you may open, "
        "then go on";
    const auto may_not = [](const std::string& name, int id) {
        return "-NOPERM user '" + name + "' may not open project " + std::to_string(id);
    };
    EXPECT_EQ(world.send(carol, "EXEC"), "*15|" + may_not("carol", 5) + "|" + no_project +
                                             "|+OK|+OK|" + may_not("bob", 7) + "|" +
                                             may_not("bob", 7) + "|" + no_project + "|" + wrong +
                                             "|" + may_not("bob", 7) + "|+OK|+OK|$1|1|:1|+OK|:1");
    EXPECT_EQ(world.resident(7).value_or(kv_world::content{}).size(), 1U);
    EXPECT_EQ(world.resident(5).value_or(kv_world::content{}).at("mine").bytes, "1");
    EXPECT_EQ(world.resident(9).value_or(kv_world::content{}).size(), 1U);
}

TEST_F(access, a_password_that_was_found_right_in_a_transaction_opens_nobody_elses_door) {
    auto& bob = logged_in("bob");
    bob.feed(kv_world::resp("MULTI"));
    bob.feed(kv_world::resp(std::vector<std::string>{"AUTH", "bob", "of bob"}));
    bob.feed(kv_world::resp("EXEC"));
    bob.work();
    world.settle();
    (void)bob.take();
    EXPECT_EQ(world.send(bob, "AUTH alice guessed"), wrong);
    EXPECT_EQ(world.send(bob, "ACL WHOAMI"), "$3|bob");
}

TEST_F(access, a_transaction_that_looks_at_all_projects_copies_and_moves_into_none_of_others) {
    auto& carol = logged_in("carol");
    EXPECT_EQ(world.send(carol, "SELECT 7"), "+OK");
    EXPECT_EQ(world.send(carol, "SET secret 1"), "+OK");
    auto& bob = logged_in("bob");
    EXPECT_EQ(world.send(bob, "SET a bobs"), "+OK");
    for (const auto* const command : {"COPY a b DB 7", "MOVE a 7"}) {
        EXPECT_EQ(world.send(bob, "MULTI"), "+OK");
        EXPECT_EQ(world.send(bob, "INFO server"), "+QUEUED");
        EXPECT_EQ(world.send(bob, command), "+QUEUED");
        const auto reply = world.send(bob, "EXEC");
        EXPECT_NE(reply.find("-NOPERM user 'bob' may not open project 7"), std::string::npos)
            << reply;
    }
    EXPECT_EQ(world.resident(7).value_or(kv_world::content{}).size(), 1U);
    EXPECT_EQ(world.resident(5).value_or(kv_world::content{}).size(), 1U);
}

TEST_F(access, a_select_before_the_login_leaves_no_project_selected) {
    auto& peer = world.connect();
    EXPECT_EQ(world.send(peer, "SELECT 7"), "-NOAUTH Authentication required.");
    peer.feed(kv_world::resp(std::vector<std::string>{"AUTH", "alice", "of alice"}));
    peer.work();
    world.settle();
    EXPECT_EQ(peer.take(), "+OK\r\n");
    EXPECT_TRUE(world.send(peer, "SET a 1").starts_with("-ERR no project is selected"));
    EXPECT_EQ(world.send(peer, "SELECT 7"), "+OK");
    EXPECT_EQ(world.send(peer, "SET a 1"), "+OK");
}

TEST_F(access, a_client_that_has_not_logged_in_gets_few_replies_at_a_time) {
    auto& peer = world.connect();
    for (int i = 0; i < 20000; ++i)
        peer.feed("PING\n");
    peer.work();
    EXPECT_LT(peer.most_in_turn, std::size_t{5000});
    EXPECT_GT(peer.turns, 30U);
}

TEST_F(access, a_key_that_is_watched_twice_is_watched_once) {
    auto& bob = logged_in("bob");
    EXPECT_EQ(world.send(bob, "WATCH a b a"), "+OK");
    EXPECT_EQ(world.send(bob, "WATCH b c"), "+OK");
    EXPECT_EQ(bob.self().card->watching.load(), 3U);
    EXPECT_EQ(world.send(bob, "UNWATCH"), "+OK");
    EXPECT_EQ(world.send(bob, "WATCH a"), "+OK");
    EXPECT_EQ(bob.self().card->watching.load(), 1U);
}

}  // namespace
}  // namespace sluice::test
