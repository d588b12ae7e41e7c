// One setting changed by its key.
#include "config/assign.hpp"

#include <gtest/gtest.h>

#include "config/error.hpp"

namespace sluice::config {
namespace {

std::string refusal_of(const assignment& what) {
    try {
        (void)with(settings{}, what);
    } catch (const config_error& error) {
        EXPECT_EQ(error.file, "SET");
        return error.what();
    }
    return {};
}

TEST(assign, changes_one_setting) {
    settings expected;
    expected.postgres.pool_size = 7;
    EXPECT_EQ(with({}, {"postgres.pool_size", "7"}), expected);
    expected = {};
    expected.log.level = log_level::debug;
    EXPECT_EQ(with({}, {"log.level", "debug"}), expected);
}

TEST(assign, items_of_a_list_have_commas_between_them) {
    EXPECT_EQ(with({}, {"postgres.admin_users", "a, b,c"}).postgres.admin_users,
              (std::vector<std::string>{"a", "b", "c"}));
    auto some = with({}, {"postgres.admin_users", "a"});
    EXPECT_TRUE(with(some, {"postgres.admin_users", ""}).postgres.admin_users.empty());
}

TEST(assign, mistakes_name_key_and_what_is_expected) {
    EXPECT_EQ(refusal_of({"postgres.nothing", "1"}),
              "SET: postgres.nothing: found an unknown key, expected one that SHOW CONFIG lists");
    EXPECT_NE(refusal_of({"postgres.pool_size", "many"}).find("found \"many\""), std::string::npos);
    EXPECT_NE(refusal_of({"workers", "2"}).find("waits for a restart"), std::string::npos);
    EXPECT_NE(refusal_of({"postgres.tls.mode", "require"}).find("postgres.tls.certificate"),
              std::string::npos);
}

TEST(assign, secret_is_not_shown) {
    const auto why = refusal_of({"monitoring.token", "hunter2\n"});
    EXPECT_EQ(why.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace sluice::config
