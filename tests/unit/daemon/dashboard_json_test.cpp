// What /api/status and /api/history say, and the verdict on the daemon's health.
#include "daemon/http/dashboard/json.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "daemon/http/dashboard/dashboard.hpp"

namespace sluice::daemon {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

constexpr double some_time = 1.8e9;
const std::string script = "<script>alert(1)</script>\"'&\\";

json::object object_of(const std::string& text) {
    return json::parse(text).as_object();
}

std::string text_at(const json::value& from, const char* path) {
    const auto& value = from.at_pointer(path);
    return value.is_string() ? std::string(value.as_string().c_str()) : json::serialize(value);
}

pool_reading healthy_pool() {
    pool_reading out;
    out.database = "app";
    out.user = "alice";
    out.size = 10;
    out.connections.active = 2;
    out.connections.idle = 1;
    out.upstream.reached = true;
    return out;
}

reading healthy() {
    reading out;
    out.ready = true;
    out.version = "1.2.3";
    out.whole.max_client_conn = 100;
    out.pools = {healthy_pool()};
    return out;
}

verdict judged(const reading& now) {
    history past;
    past.add(now, {std::chrono::steady_clock::time_point(1s), some_time});
    return judge(now, past, some_time);
}

TEST(status_json, has_what_the_page_shows) {
    auto now = healthy();
    now.pools[0].counts.errors[2] = 7;
    now.pools[0].counts.pins[1] = 3;
    now.pools[0].pinned[1] = 1;
    now.pools[0].upstream.sqlstate = "08006";
    now.pools[0].upstream.message = "gone";
    now.pools[0].upstream.failed_at = some_time - 10;
    now.usage.start_time_seconds = some_time - 90;
    now.usage.resident_bytes = 123456789;
    auto& kv = now.kv.emplace();
    kv.plain.largest = {{7, 3, 1000}};
    kv.plain.max_project_size = 5000000;
    kv.plain.backup_every_seconds = 3600;
    kv.plain.backup_last_success = some_time - 100;
    const history past;
    const json::value out = json::parse(status_json({now, past, some_time, std::nullopt}));
    EXPECT_EQ(text_at(out, "/health/level"), "fine");
    EXPECT_EQ(text_at(out, "/process/version"), "1.2.3");
    EXPECT_EQ(text_at(out, "/process/uptime"), "90");
    EXPECT_EQ(text_at(out, "/process/resident_bytes"), "123456789");
    EXPECT_EQ(text_at(out, "/process/open_fds"), "null");
    EXPECT_EQ(text_at(out, "/pool_count"), "1");
    EXPECT_EQ(text_at(out, "/pools/0/database"), "app");
    EXPECT_EQ(text_at(out, "/pools/0/upstream/state"), "awake");
    EXPECT_EQ(text_at(out, "/pools/0/upstream/last_error/sqlstate"), "08006");
    EXPECT_EQ(text_at(out, "/pools/0/connections/active"), "2");
    EXPECT_EQ(out.at_pointer("/pools/0/utilization").to_number<double>(), 0.2);
    EXPECT_EQ(text_at(out, "/pools/0/errors/resources"), "7");
    EXPECT_EQ(text_at(out, "/totals/pins/temporary"), "3");
    EXPECT_EQ(text_at(out, "/totals/pinned/temporary"), "1");
    EXPECT_EQ(text_at(out, "/kv/projects/0"), "{\"id\":7,\"keys\":3,\"bytes\":1000}");
    EXPECT_EQ(text_at(out, "/kv/backup/every"), "3600");
    EXPECT_EQ(out.at_pointer("/kv/backup/last_success").to_number<double>(), some_time - 100);
    EXPECT_EQ(text_at(out, "/kv/checkpoint/last_success"), "null");
    EXPECT_EQ(text_at(out, "/statements"), "null");
}

TEST(status_json, store_that_is_off_and_no_pools_are_said_so) {
    const history past;
    const json::value out = json::parse(status_json({{}, past, some_time, std::nullopt}));
    EXPECT_EQ(text_at(out, "/kv"), "null");
    EXPECT_EQ(text_at(out, "/pools"), "[]");
}

TEST(status_json, hostile_names_arrive_as_they_are) {
    auto now = healthy();
    now.pools[0].database = script;
    const history past;
    std::vector<pool::statement_total> statements(1);
    statements[0].text = script;
    statements[0].database = "bad \xff byte";
    statements[0].total = 1500ms;
    const json::value out = json::parse(status_json({now, past, some_time, statements}));
    EXPECT_EQ(text_at(out, "/pools/0/database"), script);
    EXPECT_EQ(text_at(out, "/statements/0/text"), script);
    EXPECT_EQ(text_at(out, "/statements/0/database"), "bad \\xff byte");
    EXPECT_EQ(out.at_pointer("/statements/0/total").to_number<double>(), 1.5);
}

TEST(status_json, pools_in_trouble_and_the_busiest_are_shown_first_when_there_are_too_many) {
    auto now = healthy();
    now.pools.clear();
    for (int i = 0; i < 30; ++i) {
        auto pool = healthy_pool();
        pool.database = "d" + std::to_string(i);
        now.pools.push_back(pool);
    }
    history past;
    past.add(now, {std::chrono::steady_clock::time_point(1s), some_time});
    now.pools[17].counts.queries = 1000;
    past.add(now, {std::chrono::steady_clock::time_point(6s), some_time + 5});
    now.pools[23].connections = {};
    now.pools[23].upstream = {false, "28P01", "wrong", some_time};
    const json::value out = json::parse(status_json({now, past, some_time, std::nullopt}, 2));
    EXPECT_EQ(text_at(out, "/pool_count"), "30");
    EXPECT_EQ(out.at("pools").as_array().size(), 2U);
    EXPECT_EQ(text_at(out, "/pools/0/database"), "d23");
    EXPECT_EQ(text_at(out, "/pools/1/database"), "d17");
}

TEST(history_json, has_a_column_for_each_figure_and_null_for_what_is_not_known) {
    dashboard board;
    auto now = healthy();
    int looks = 0;
    for (int i = 0; i < 12; ++i) {
        board.tick({std::chrono::steady_clock::time_point(1s + i * 2500ms), some_time + i * 2.5},
                   [&] {
                       ++looks;
                       now.pools[0].counts.queries += 10;
                       return now;
                   });
    }
    EXPECT_EQ(looks, 6);
    const json::value all = json::parse(board.recent(0, some_time));
    EXPECT_EQ(text_at(all, "/step"), "5");
    EXPECT_EQ(all.at("times").as_array().size(), 6U);
    EXPECT_EQ(text_at(all, "/whole/queries_per_second"), "[null,2,2,2,2,2]");
    EXPECT_EQ(text_at(all, "/pools/0/database"), "app");
    EXPECT_EQ(text_at(all, "/pools/0/p99"), "[null,null,null,null,null,null]");
    EXPECT_EQ(all.at_pointer("/pools/0/utilization/0").to_number<double>(), 0.2);
    EXPECT_EQ(all.at_pointer("/whole/errors").as_object().size(), error_kinds.size());
    const json::value newer = json::parse(board.recent(some_time + 15, some_time));
    EXPECT_EQ(newer.at("times").as_array().size(), 2U);
}

TEST(history_json, whole_ring_of_a_hundred_pools_stays_bounded) {
    history past;
    reading now = healthy();
    now.pools.clear();
    for (std::size_t i = 0; i < history::most_pools + 50; ++i) {
        auto pool = healthy_pool();
        pool.database = "database_" + std::to_string(i);
        now.pools.push_back(pool);
    }
    std::uint64_t seed = 1;
    for (std::size_t step = 0; step < history::points + 5; ++step) {
        for (auto& pool : now.pools) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            pool.counts.queries += seed >> 54U;
            pool.counts.query_seconds[seed >> 60U] += seed >> 54U;
            pool.counts.wait_seconds[(seed >> 50U) & 15U] += 3;
            pool.clients.waiting = seed >> 62U;
        }
        past.add(now, {std::chrono::steady_clock::time_point(step * history::step),
                       some_time + static_cast<double>(step) * 5.0});
    }
    const auto text = history_json(past, 0, some_time);
    EXPECT_LT(text.size(), 2'000'000U);
    EXPECT_EQ(object_of(text).at("pools").as_array().size(), history::most_pools);
}

TEST(health, daemon_without_trouble_is_fine_in_words) {
    EXPECT_EQ(judged(healthy()).summary,
              "All is well: 1 pool, 2 of 10 server connections in use, nobody waits.");
    reading idle = healthy();
    idle.pools.clear();
    EXPECT_EQ(judged(idle).summary, "All is well. No client has come yet.");
}

TEST(health, login_that_fails_is_critical_and_says_what_to_do) {
    auto now = healthy();
    now.pools[0].connections = {};
    now.pools[0].upstream = {false, "28P01", "password authentication failed", some_time - 300};
    const auto out = judged(now);
    EXPECT_EQ(out.level, alert_level::critical);
    ASSERT_EQ(out.findings.size(), 1U);
    EXPECT_NE(out.findings[0].what.find("28P01 password"), std::string::npos);
    EXPECT_NE(out.findings[0].what.find("5 minutes ago"), std::string::npos);
    EXPECT_NE(out.findings[0].advice.find("password in the database's url"), std::string::npos);
}

TEST(health, long_waits_are_a_warning_and_then_critical) {
    auto now = healthy();
    now.pools[0].clients.waiting = 3;
    now.pools[0].oldest_wait_seconds = 0.4;
    EXPECT_EQ(judged(now).level, alert_level::fine);
    now.pools[0].oldest_wait_seconds = 2;
    EXPECT_EQ(judged(now).level, alert_level::warning);
    now.pools[0].oldest_wait_seconds = 20;
    EXPECT_EQ(judged(now).level, alert_level::critical);
    EXPECT_NE(judged(now).findings[0].what.find("3 clients wait"), std::string::npos);
}

TEST(health, many_failing_pools_do_not_make_a_long_list) {
    auto now = healthy();
    now.pools.clear();
    for (int i = 0; i < 50; ++i) {
        pool_reading pool;
        pool.database = "d" + std::to_string(i);
        pool.upstream = {false, "08006", "refused", some_time};
        now.pools.push_back(pool);
    }
    const auto out = judged(now);
    EXPECT_EQ(out.findings.size(), 4U);
    EXPECT_NE(out.findings.back().what.find("47 more pools"), std::string::npos);
}

TEST(health, store_that_refuses_writes_is_the_worst) {
    auto now = healthy();
    auto& kv = now.kv.emplace();
    kv.plain.damaged_projects = 1;
    kv.plain.writes_refused = true;
    const auto out = judged(now);
    EXPECT_EQ(out.level, alert_level::critical);
    ASSERT_EQ(out.findings.size(), 2U);
    EXPECT_NE(out.findings[0].what.find("refuses writes"), std::string::npos);
    EXPECT_EQ(out.summary, "Something is wrong: 2 findings.");
}

TEST(health, backup_that_is_late_is_noticed_and_one_that_is_not_scheduled_is_not) {
    auto now = healthy();
    now.usage.start_time_seconds = some_time - 10;
    auto& kv = now.kv.emplace().plain;
    EXPECT_TRUE(judged(now).findings.empty());
    kv.backup_every_seconds = 3600;
    EXPECT_TRUE(judged(now).findings.empty());  // it has only just begun
    kv.backup_last_success = some_time - 3 * 3600;
    ASSERT_EQ(judged(now).findings.size(), 1U);
    EXPECT_EQ(judged(now).findings[0].what, "The last backup is 3 hours old.");
    kv.backup_last_success = some_time - 3700;
    EXPECT_TRUE(judged(now).findings.empty());
}

TEST(health, project_near_its_quota_and_full_limits_are_warnings) {
    auto now = healthy();
    auto& kv = now.kv.emplace().plain;
    kv.largest = {{42, 10, 950}};
    kv.max_project_size = 1000;
    kv.client_connections = 95;
    kv.max_clients = 100;
    now.whole.client_connections = 91;
    now.usage.open_fds = 900;
    now.usage.max_fds = 1000;
    const auto out = judged(now);
    EXPECT_EQ(out.level, alert_level::warning);
    EXPECT_EQ(out.findings.size(), 4U);
    EXPECT_EQ(out.summary, "4 things need attention.");
}

TEST(health, growth_of_counters_is_noticed_for_five_minutes) {
    auto now = healthy();
    history past;
    std::chrono::seconds time{1};
    const auto step = [&] {
        past.add(now, {std::chrono::steady_clock::time_point(time), some_time});
        time += history::step;
    };
    step();
    now.whole.refused = 1;
    step();
    EXPECT_EQ(judge(now, past, some_time).findings.size(), 1U);
    for (int i = 0; i < 60; ++i)
        step();
    EXPECT_TRUE(judge(now, past, some_time).findings.empty());
}

}  // namespace
}  // namespace sluice::daemon
