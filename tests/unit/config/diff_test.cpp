#include "config/diff.hpp"

#include <gtest/gtest.h>

#include "config/fields.hpp"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;
using keys = std::vector<std::string>;

settings one_of_each() {
    settings out;
    out.postgres.databases["app"].url = "host=a";
    out.postgres.users.emplace()["alice"].password = "old";
    out.kv.users["alice"] = {"old", false, {1, 2}};
    return out;
}

TEST(diff, equal_settings_give_nothing) {
    EXPECT_TRUE(diff(settings{}, settings{}).empty());
    EXPECT_TRUE(diff(one_of_each(), one_of_each()).empty());
}

TEST(diff, what_the_operator_may_change_is_live) {
    auto after = one_of_each();
    after.log.level = log_level::debug;
    after.postgres.pool_size = 5;
    after.postgres.max_client_conn = 6;
    after.postgres.query_timeout = 7s;
    after.postgres.tls.certificate = "new.pem";
    after.postgres.databases["app"].pool_size = 8;
    after.postgres.users->at("alice").password = "new";
    const auto out = diff(one_of_each(), after);
    const keys live{"log.level",
                    "postgres.pool_size",
                    "postgres.max_client_conn",
                    "postgres.query_timeout",
                    "postgres.tls.certificate",
                    "postgres.databases.app.pool_size",
                    "postgres.users.alice.password"};
    EXPECT_EQ(out.live, live);
    EXPECT_TRUE(out.restart.empty());
}

TEST(diff, threads_sockets_and_the_store_wait_for_a_restart) {
    auto after = one_of_each();
    after.workers = 2;
    after.postgres.listen.clear();
    after.postgres.listen_backlog = 1;
    after.kv.directory = "elsewhere";
    after.monitoring.listen.clear();
    const auto out = diff(one_of_each(), after);
    const keys restart{"workers", "postgres.listen", "postgres.listen_backlog", "kv.directory",
                       "monitoring.listen"};
    EXPECT_EQ(out.restart, restart);
    EXPECT_TRUE(out.live.empty());
}

TEST(diff, what_waits_keeps_its_running_value_and_the_rest_is_new) {
    const auto running = one_of_each();
    auto next = running;
    next.workers = 7;
    next.postgres.listen.clear();
    next.kv.listen.clear();
    next.kv.directory = "elsewhere";
    next.postgres.pool_size = 99;
    next.postgres.databases["app"].url = "host=b";
    next.postgres.databases["new"].url = "host=c";
    const auto wanted = diff(running, next);
    keep_what_waits(next, running);
    EXPECT_EQ(next.workers, running.workers);
    EXPECT_EQ(next.postgres.listen, running.postgres.listen);
    EXPECT_EQ(next.kv.listen, running.kv.listen);
    EXPECT_EQ(next.kv.directory, running.kv.directory);
    const auto left = diff(running, next);
    EXPECT_EQ(left.live, wanted.live);
    EXPECT_TRUE(left.restart.empty());
}

TEST(diff, entry_that_appears_or_goes_is_named_once) {
    auto after = one_of_each();
    after.postgres.databases.erase("app");
    after.postgres.databases["my.app"].pool_size = 1;
    after.postgres.users->erase("alice");
    after.postgres.users->emplace("bob", user_settings{});
    const auto out = diff(one_of_each(), after);
    EXPECT_TRUE(out.restart.empty());
    EXPECT_EQ(out.live, (keys{"postgres.databases.app", "postgres.databases.\"my.app\"",
                              "postgres.users.alice", "postgres.users.bob"}));
}

TEST(diff, users_that_appear_as_a_whole_are_one_change) {
    const auto out = diff(settings{}, one_of_each());
    EXPECT_EQ(out.live, (keys{"postgres.databases.app", "postgres.users", "kv.users.alice"}));
    EXPECT_TRUE(out.restart.empty());
}

TEST(diff, key_value_settings_are_live_except_where_the_store_and_its_port_are) {
    auto after = one_of_each();
    after.kv.listen.clear();
    after.kv.listen_backlog = 1;
    after.kv.directory = "elsewhere";
    after.kv.fsync = fsync_policy::always;
    after.kv.max_value_size = 2;
    after.kv.disabled_commands = {"flushall"};
    after.kv.tls.mode = tls_mode::require;
    after.kv.tls.key = "new.pem";
    after.kv.backup.keep = 3;
    const auto out = diff(one_of_each(), after);
    EXPECT_EQ(out.restart, (keys{"kv.listen", "kv.listen_backlog", "kv.directory"}));
    EXPECT_EQ(out.live, (keys{"kv.fsync", "kv.max_value_size", "kv.disabled_commands",
                              "kv.tls.mode", "kv.tls.key", "kv.backup.keep"}));
}

TEST(diff, key_value_users_are_live) {
    auto after = one_of_each();
    after.kv.users.at("alice").password = "new";
    after.kv.users["bob"];
    EXPECT_EQ(diff(one_of_each(), after).live, (keys{"kv.users.alice.password", "kv.users.bob"}));
    after = one_of_each();
    after.kv.users.at("alice").projects = {1};
    EXPECT_EQ(diff(one_of_each(), after).live, keys{"kv.users.alice.projects"});
    after = one_of_each();
    after.kv.users.at("alice").all_projects = true;
    EXPECT_EQ(diff(one_of_each(), after).live, keys{"kv.users.alice.projects"});
    after.kv.users.clear();
    EXPECT_EQ(diff(one_of_each(), after).live, keys{"kv.users.alice"});
    EXPECT_TRUE(diff(one_of_each(), after).restart.empty());
}

TEST(diff, monitoring_is_live_except_where_it_listens) {
    settings after;
    after.monitoring.token = "x";
    after.monitoring.users["alice"].password = "y";
    after.monitoring.tls.mode = tls_mode::require;
    after.monitoring.tls.certificate = "new.pem";
    const auto out = diff(settings{}, after);
    EXPECT_EQ(out.restart, keys{"monitoring.tls.mode"});
    EXPECT_EQ(out.live,
              (keys{"monitoring.token", "monitoring.tls.certificate", "monitoring.users.alice"}));
}

// Changes one field alone; whatever row it has must report it, and no other row may.
TEST(diff, every_scalar_row_reports_its_own_change_only) {
    for (const auto& row : global_fields()) {
        settings after;
        if (row.traits.is_list) {
            row.read(after, row.key.ends_with("listen") ? "127.0.0.1:1" : "x");
        } else {
            for (const auto* value : {"3", "3s", "off", "on", "session", "debug", "json", "trust",
                                      "require", "always", "file.pem"}) {
                try {
                    row.read(after, value);
                } catch (const bad_value&) {
                    continue;
                }
                if (!row.same(settings{}, after)) break;
            }
        }
        const auto out = diff(settings{}, after);
        auto all = out.live;
        all.insert(all.end(), out.restart.begin(), out.restart.end());
        EXPECT_EQ(all, keys{std::string(row.key)});
        EXPECT_EQ(out.live.size(), row.change == applies::live ? 1U : 0U) << row.key;
        keep_what_waits(after, settings{});
        EXPECT_EQ(diff(settings{}, after).empty(), row.change == applies::restart) << row.key;
    }
}

}  // namespace
}  // namespace sluice::config
