// Logging in with a password that is kept as a verifier: checking it takes another thread's time.
#include <gtest/gtest.h>

#include "protocol/scram_verifier.hpp"
#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

void add_users(kv_world& world) {
    for (const auto* const name : {"alice", "bob"}) {
        auto& user = world.settings.users[name];
        user.password = protocol::make_verifier(name, protocol::as_bytes("0123456789abcdef"), 1);
        user.all_projects = true;
    }
}

TEST(login, by_a_verifier_is_checked_elsewhere) {
    kv_world world;
    add_users(world);
    ASSERT_TRUE(world.start()) << world.problem;
    EXPECT_TRUE(world.send("AUTH alice bob").starts_with("-WRONGPASS "));
    EXPECT_EQ(world.send("AUTH alice alice"), "+OK");
    EXPECT_EQ(world.checks, 2U);
}

// As redis-server 7.0.15 was seen to do it: queued, and carried out at its place.
TEST(login, in_a_transaction_is_queued_and_counts_from_its_place_on) {
    kv_world world;
    add_users(world);
    ASSERT_TRUE(world.start()) << world.problem;
    ASSERT_EQ(world.send("AUTH alice alice"), "+OK");
    EXPECT_EQ(world.send("MULTI"), "+OK");
    for (const auto* const command :
         {"ACL WHOAMI", "AUTH bob bob", "ACL WHOAMI", "AUTH alice wrong", "AUTH a b c",
          "ACL WHOAMI", "HELLO 3 AUTH alice alice SETNAME me", "ACL WHOAMI", "CLIENT GETNAME"}) {
        EXPECT_EQ(world.send(command), "+QUEUED");
    }
    const auto reply = world.send("EXEC");
    EXPECT_TRUE(
        reply.starts_with("*9|$5|alice|+OK|$3|bob|-WRONGPASS invalid username-password "
                          "pair or user is disabled.|-ERR syntax error|$3|bob|%7|"))
        << reply;
    EXPECT_TRUE(reply.ends_with("|$5|alice|$2|me")) << reply;
    EXPECT_EQ(world.checks, 4U);
    EXPECT_EQ(world.send("ACL WHOAMI"), "$5|alice");
}

TEST(login, in_a_transaction_that_is_dropped_does_nothing) {
    kv_world world;
    add_users(world);
    ASSERT_TRUE(world.start()) << world.problem;
    ASSERT_EQ(world.send("AUTH alice alice"), "+OK");
    EXPECT_EQ(world.send("MULTI"), "+OK");
    EXPECT_EQ(world.send("AUTH bob bob"), "+QUEUED");
    EXPECT_EQ(world.send("DISCARD"), "+OK");
    EXPECT_EQ(world.send("ACL WHOAMI"), "$5|alice");
    EXPECT_EQ(world.send("MULTI"), "+OK");
    EXPECT_EQ(world.send("AUTH bob bob"), "+QUEUED");
    EXPECT_TRUE(world.send("AUTH").starts_with("-ERR wrong number of arguments"));
    EXPECT_TRUE(world.send("EXEC").starts_with("-EXECABORT "));
    EXPECT_EQ(world.send("ACL WHOAMI"), "$5|alice");
    EXPECT_EQ(world.checks, 1U);
}

}  // namespace
}  // namespace sluice::test
