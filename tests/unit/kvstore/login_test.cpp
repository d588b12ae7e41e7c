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

TEST(login, in_a_transaction_is_refused) {
    kv_world world;
    add_users(world);
    ASSERT_TRUE(world.start()) << world.problem;
    ASSERT_EQ(world.send("AUTH alice alice"), "+OK");
    EXPECT_EQ(world.send("MULTI"), "+OK");
    EXPECT_EQ(world.send("INCR n"), "+QUEUED");
    const std::string refused = "-ERR Command not allowed inside a transaction";
    EXPECT_EQ(world.send("AUTH bob bob"), refused);
    EXPECT_EQ(world.send("HELLO 3 AUTH bob bob"), refused);
    EXPECT_TRUE(world.send("EXEC").starts_with("-EXECABORT "));
    EXPECT_EQ(world.send("ACL WHOAMI"), "$5|alice");
    EXPECT_EQ(world.send("GET n"), "$-1");
}

}  // namespace
}  // namespace sluice::test
