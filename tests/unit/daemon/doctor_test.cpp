#include "daemon/doctor.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace sluice::daemon {
namespace {

pool_demand demand(const config::settings& settings, const std::string& name) {
    const directory from(settings);
    return demand_of(from, *from.find_database(name));
}

config::settings with_database(const std::string& url) {
    config::settings out;
    out.postgres.databases["app"].url = url;
    out.postgres.pool_size = 10;
    out.postgres.reserve_pool_size = 2;
    return out;
}

TEST(doctor, a_url_with_a_user_has_one_pool) {
    auto settings = with_database("postgresql://u:p@h/app");
    settings.postgres.users.emplace();
    (*settings.postgres.users)["alice"].password = "x";
    (*settings.postgres.users)["bob"].password = "x";
    EXPECT_EQ(demand(settings, "app").connections, 12U);
    EXPECT_TRUE(demand(settings, "app").is_bounded);
    settings.postgres.databases["app"].pool_size = 30;
    EXPECT_EQ(demand(settings, "app").connections, 32U);
    settings.postgres.max_user_connections = 7;
    EXPECT_EQ(demand(settings, "app").connections, 7U);
}

TEST(doctor, else_each_user_has_one) {
    auto settings = with_database("host=h dbname=app");
    settings.postgres.users.emplace();
    (*settings.postgres.users)["alice"].password = "x";
    auto& bob = (*settings.postgres.users)["bob"];
    bob.password = "x";
    EXPECT_EQ(demand(settings, "app").connections, 24U);
    bob.pool_size = 3;
    EXPECT_EQ(demand(settings, "app").connections, 17U);
    settings.postgres.databases["app"].max_db_connections = 5;
    EXPECT_EQ(demand(settings, "app").connections, 5U);
}

TEST(doctor, pools_of_unknown_users_or_databases_have_no_bound) {
    auto settings = with_database("host=h dbname=app");
    settings.postgres.auth_type = config::auth_type::passthrough;
    EXPECT_FALSE(demand(settings, "app").is_bounded);
    settings.postgres.databases["app"].max_db_connections = 9;
    EXPECT_TRUE(demand(settings, "app").is_bounded);
    EXPECT_EQ(demand(settings, "app").connections, 9U);
    settings.postgres.databases["*"].url = "postgresql://u:p@h";
    EXPECT_FALSE(demand(settings, "any").is_bounded);
}

TEST(doctor, certificates_are_judged_by_what_is_left) {
    EXPECT_EQ(judge_expiry(-1), expiry::over);
    EXPECT_EQ(judge_expiry(0), expiry::over);
    EXPECT_EQ(judge_expiry(86400), expiry::soon);
    EXPECT_EQ(judge_expiry(22LL * 86400), expiry::fine);
}

TEST(doctor, lines_are_text_or_json) {
    std::ostringstream text;
    doctor_report report(text, false);
    report.ok("a", "b");
    report.warn("a", "two\nlines\x1b[1m", "do c");
    report.fail("d", "e", {});
    report.end();
    EXPECT_EQ(text.str(),
              "ok    a: b\nwarn  a: two lines [1m. do c\nfail  d: e\n1 failure, 1 warning\n");
    EXPECT_EQ(report.failures(), 1U);
    EXPECT_EQ(report.warnings(), 1U);

    std::ostringstream json;
    doctor_report lines(json, true);
    lines.warn("a", "say \"b\"", "do c");
    lines.end();
    EXPECT_EQ(json.str(), R"({"level":"warn","what":"a","found":"say \"b\"","advice":"do c"})"
                          "\n");
}

TEST(doctor, times_are_in_milliseconds) {
    EXPECT_EQ(milliseconds_text(std::chrono::microseconds(1234)), "1.2 ms");
    EXPECT_EQ(milliseconds_text(std::chrono::milliseconds(1234)), "1234 ms");
}

}  // namespace
}  // namespace sluice::daemon
