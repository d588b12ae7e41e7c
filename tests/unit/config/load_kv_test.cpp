// The kv section: its values, its mistakes and what is worth a warning.
#include <gtest/gtest.h>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;

TEST(load_kv, every_value_reaches_its_place) {
    const auto out = load(R"(
postgres: {databases: {a: }}
kv:
  listen: ["*:6380", "[::1]:7000"]
  listen_backlog: 10
  directory: /data
  fsync: always
  checkpoint_interval: 11s
  max_project_size: 12MiB
  project_size_warning: 13KiB
  max_keys: 14
  max_key_size: 15
  max_value_size: 512MiB
  max_memory: 0
  project_idle_timeout: 17s
  maxclients: 18
  timeout: 19s
  client_login_timeout: 23s
  tcp_keepalive: 20s
  client_output_buffer_limit: 21kB
  protected_mode: no
  disabled_commands: [FlushAll, debug, FLUSHALL]
  slowlog_log_slower_than: 22ms
  slowlog_max_len: 0
  tls: {mode: verify-full, certificate: c.pem, key: k.pem, client_ca: ca.pem}
  users:
    alice: {password: a, projects: all}
    bob: {password: b, projects: [7, 0, 2147483647, 7]}
    carol: {password: c, projects: 3}
  backup: {directory: /backups, every: 6h, keep: 23}
)");
    const auto& kv = out.settings.kv;
    ASSERT_EQ(kv.listen.size(), 2U);
    EXPECT_EQ(kv.listen[0].host, "*");
    EXPECT_EQ(kv.listen[1].port, 7000);
    EXPECT_EQ(kv.listen_backlog, 10U);
    EXPECT_EQ(kv.directory, "/data");
    EXPECT_EQ(kv.fsync, fsync_policy::always);
    EXPECT_EQ(kv.checkpoint_interval, 11s);
    EXPECT_EQ(kv.max_project_size, 12U << 20);
    EXPECT_EQ(kv.project_size_warning, 13U << 10);
    EXPECT_EQ(kv.max_keys, 14U);
    EXPECT_EQ(kv.max_key_size, 15U);
    EXPECT_EQ(kv.max_value_size, 512U << 20);
    EXPECT_EQ(kv.max_memory, 0U);
    EXPECT_EQ(kv.project_idle_timeout, 17s);
    EXPECT_EQ(kv.maxclients, 18U);
    EXPECT_EQ(kv.timeout, 19s);
    EXPECT_EQ(kv.client_login_timeout, 23s);
    EXPECT_EQ(kv.tcp_keepalive, 20s);
    EXPECT_EQ(kv.client_output_buffer_limit, 21000U);
    EXPECT_FALSE(kv.protected_mode);
    EXPECT_EQ(kv.disabled_commands, (std::vector<std::string>{"flushall", "debug"}));
    EXPECT_EQ(kv.slowlog_log_slower_than, 22ms);
    EXPECT_EQ(kv.slowlog_max_len, 0U);
    EXPECT_EQ(kv.tls, (tls_settings{tls_mode::verify_full, "c.pem", "k.pem", "ca.pem"}));
    const std::map<std::string, kv_user_settings> users{{"alice", {"a", true, {}}},
                                                        {"bob", {"b", false, {7, 0, 2147483647}}},
                                                        {"carol", {"c", false, {3}}}};
    EXPECT_EQ(kv.users, users);
    EXPECT_EQ(kv.backup, (kv_backup_settings{"/backups", 6h, 23}));
    EXPECT_TRUE(out.warnings.empty());
}

TEST(load_kv, section_that_is_absent_or_empty_gives_the_defaults) {
    for (const auto* text : {"postgres: {databases: {a: }}", "postgres: {databases: {a: }}\nkv:",
                             "postgres: {databases: {a: }}\nkv: {users: {}, tls: , backup: {}}"}) {
        const auto out = load(text);
        EXPECT_EQ(out.settings.kv, kv_settings{}) << text;
        EXPECT_TRUE(out.warnings.empty()) << text;
    }
    const kv_settings defaults;
    ASSERT_EQ(defaults.listen.size(), 1U);
    EXPECT_EQ(defaults.listen[0].host, "127.0.0.1");
    EXPECT_EQ(defaults.listen[0].port, 6380);
    EXPECT_EQ(defaults.directory, ".replitdb");
}

TEST(load_kv, empty_listen_turns_the_port_off) {
    EXPECT_TRUE(load("kv: {listen: []}").settings.kv.listen.empty());
}

struct bad_case {
    const char* yaml;
    int line;
    const char* key;
    const char* found;     // a part of it
    const char* expected;  // a part of it
};

class load_kv_error : public testing::TestWithParam<bad_case> {};

TEST_P(load_kv_error, names_line_key_found_and_expected) {
    const auto& want = GetParam();
    const auto error = error_of(want.yaml);
    EXPECT_EQ(error.line, want.line) << error.what();
    EXPECT_EQ(error.key, want.key) << error.what();
    EXPECT_NE(error.found.find(want.found), std::string::npos) << error.what();
    EXPECT_NE(error.expected.find(want.expected), std::string::npos) << error.what();
}

INSTANTIATE_TEST_SUITE_P(
    keys, load_kv_error,
    testing::Values(
        bad_case{"kv: 1", 1, "kv", "a text", "a mapping"},
        bad_case{"kv:\n  protected-mode: no", 2, "kv.protected-mode", "unknown key",
                 "did you mean protected_mode?"},
        bad_case{"kv:\n  user: {}", 2, "kv.user", "unknown key", "did you mean users?"},
        bad_case{"kv:\n  requirepass: x", 2, "kv.requirepass", "unknown key",
                 "did you mean kv.users?"},
        bad_case{"kv:\n  appendfsync: always", 2, "kv.appendfsync", "unknown key",
                 "did you mean kv.fsync?"},
        bad_case{"directory: x", 1, "directory", "unknown key", "did you mean kv.directory?"},
        bad_case{"kv:\n  backup:\n    dir: x", 3, "kv.backup.dir", "unknown key",
                 "docs/configuration.md"},
        bad_case{"kv:\n  users:\n    a:\n      project: 1", 4, "kv.users.a.project", "unknown key",
                 "did you mean projects?"},
        bad_case{"kv:\n  users: [a]", 2, "kv.users", "a list", "{} for none"},
        bad_case{"kv:\n  users: {'': {}}", 2, "kv.users.\"\"", "an empty name", "a name"}));

INSTANTIATE_TEST_SUITE_P(
    values, load_kv_error,
    testing::Values(
        bad_case{"kv: {listen: 'unix:/run/x'}", 1, "kv.listen", "unix:/run/x", "127.0.0.1:6380"},
        bad_case{"kv: {directory: ''}", 1, "kv.directory", "\"\"", "a directory"},
        bad_case{"kv: {fsync: 1s}", 1, "kv.fsync", "\"1s\"", "always, everysec, never"},
        bad_case{"kv: {checkpoint_interval: 0}", 1, "kv.checkpoint_interval", "\"0\"", "above 0"},
        bad_case{"kv: {checkpoint_interval: x}", 1, "kv.checkpoint_interval", "\"x\"", "above 0"},
        bad_case{"kv: {max_project_size: 1T}", 1, "kv.max_project_size", "\"1T\"", "50MiB"},
        bad_case{"kv: {max_key_size: 0}", 1, "kv.max_key_size", "\"0\"", "at least 1"},
        bad_case{"kv: {max_key_size: 513MiB}", 1, "kv.max_key_size", "\"513MiB\"",
                 "at most 512MiB"},
        bad_case{"kv: {max_value_size: 536870913}", 1, "kv.max_value_size", "\"536870913\"",
                 "at most 512MiB"},
        bad_case{"kv: {max_keys: -1}", 1, "kv.max_keys", "\"-1\"", "from 0 to 4294967295"},
        bad_case{"kv: {maxclients: 0}", 1, "kv.maxclients", "\"0\"", "from 1 to"},
        bad_case{"kv: {tcp_keepalive: 100ms}", 1, "kv.tcp_keepalive", "\"100ms\"", "whole seconds"},
        bad_case{"kv: {disabled_commands: ['config set']}", 1, "kv.disabled_commands[0]",
                 "\"config set\"", "flushall"},
        bad_case{"kv: {disabled_commands: ''}", 1, "kv.disabled_commands", "\"\"", "flushall"},
        bad_case{"kv: {backup: {keep: 0}}", 1, "kv.backup.keep", "\"0\"", "from 1 to"},
        bad_case{"kv: {users: {a: {password: ''}}}", 1, "kv.users.a.password", "not shown",
                 "a password"},
        bad_case{"kv: {users: {a: {password: x, projects: some}}}", 1, "kv.users.a.projects",
                 "\"some\"", "all, or a whole number from 0 to 2147483647"},
        bad_case{"kv: {users: {a: {password: x, projects: 2147483648}}}", 1, "kv.users.a.projects",
                 "\"2147483648\"", "2147483647"},
        bad_case{"kv: {users: {a: {password: x, projects: [1, all]}}}", 1, "kv.users.a.projects[1]",
                 "\"all\"", "all, or a whole number"},
        bad_case{"kv: {users: {a: {password: x, projects: [all, 1]}}}", 1, "kv.users.a.projects[1]",
                 "\"1\"", "all alone"}));

INSTANTIATE_TEST_SUITE_P(
    several_values, load_kv_error,
    testing::Values(bad_case{"kv:\n  tls:\n    mode: require", 2, "kv.tls.certificate", "nothing",
                             "kv.tls.mode is require"},
                    bad_case{"kv:\n  tls: {mode: allow, certificate: c}", 2, "kv.tls.key",
                             "nothing", "kv.tls.mode is allow"},
                    bad_case{"kv: {tls: {mode: verify-ca, certificate: c, key: k}}", 1,
                             "kv.tls.client_ca", "nothing", "verify-ca"},
                    bad_case{"kv:\n  users:\n    alice: {projects: all}", 3,
                             "kv.users.alice.password", "nothing", "a password"},
                    bad_case{"kv:\n  users:\n    alice:", 3, "kv.users.alice.password", "nothing",
                             "a password"},
                    bad_case{"kv:\n  backup:\n    directory: b\n    every: 0", 4, "kv.backup.every",
                             "0", "above 0, because kv.backup.directory is set"},
                    bad_case{"kv:\n  backup:\n    directory: ./.replitdb/", 3,
                             "kv.backup.directory", "the directory of the store",
                             "another directory than kv.directory"},
                    bad_case{"kv:\n  listen: ['[::1]:1', '[::1]:1']", 2, "kv.listen[1]", "[::1]:1",
                             "kv.listen[0]"},
                    bad_case{"kv:\n  listen: '*:9127'", 2, "monitoring.listen[0]", "127.0.0.1:9127",
                             "kv.listen[0]"}));

TEST(load_kv, interval_of_zero_loads_where_no_backup_is_made) {
    EXPECT_EQ(load("kv: {backup: {every: 0}}").settings.kv.backup.every, 0ms);
}

// The warnings of a configuration with this kv section and nothing else to warn of.
std::vector<std::string> warnings_of(const std::string& section) {
    return load("postgres: {databases: {a: }}\nkv: " + section).warnings;
}

TEST(load_kv, loopback_alone_is_no_warning) {
    for (const auto* address :
         {"127.0.0.1:6380", "127.9.9.9:6380", "localhost:6380", "[::1]:6380"}) {
        EXPECT_TRUE(warnings_of("{listen: '" + std::string(address) + "'}").empty()) << address;
        EXPECT_TRUE(
            warnings_of("{protected_mode: no, listen: '" + std::string(address) + "'}").empty());
    }
    EXPECT_TRUE(warnings_of("{listen: [], users: {a: {password: x}}}").empty());
}

TEST(load_kv, open_port_without_users_is_a_warning_that_says_what_happens) {
    for (const auto* address : {"*:6380", "0.0.0.0:6380", "[::]:6380", "10.0.0.1:6380",
                                "db.internal:6380", "127.example.com:6380"}) {
        const auto closed =
            warnings_of("{listen: ['127.0.0.1:1', '" + std::string(address) + "']}");
        ASSERT_EQ(closed.size(), 1U) << address;
        EXPECT_TRUE(closed[0].starts_with("kv.listen: " + std::string(address))) << closed[0];
        EXPECT_NE(closed[0].find("clients are refused"), std::string::npos) << closed[0];
        EXPECT_NE(closed[0].find("kv.protected_mode"), std::string::npos) << closed[0];
    }
    const auto open = warnings_of("{listen: '*:6380', protected_mode: no}");
    ASSERT_EQ(open.size(), 2U);
    EXPECT_NE(open[0].find("everybody"), std::string::npos) << open[0];
    EXPECT_NE(open[1].find("kv.tls.mode"), std::string::npos) << open[1];
}

TEST(load_kv, open_port_with_users_wants_tls) {
    const std::string users = "users: {a: {password: x, projects: all}}";
    const auto plain = warnings_of("{listen: '*:6380', " + users + "}");
    ASSERT_EQ(plain.size(), 1U);
    EXPECT_NE(plain[0].find("kv.tls.mode"), std::string::npos) << plain[0];
    EXPECT_TRUE(warnings_of("{listen: '*:6380', " + users +
                            ", tls: {mode: require, certificate: c, key: k}}")
                    .empty());
}

TEST(load_kv, user_who_may_open_nothing_is_a_warning) {
    for (const auto* projects : {"", ", projects: []"}) {
        const auto out = warnings_of("{users: {a.b: {password: x" + std::string(projects) + "}}}");
        ASSERT_EQ(out.size(), 1U);
        EXPECT_TRUE(out[0].starts_with("kv.users.\"a.b\": ")) << out[0];
    }
}

TEST(load_kv, project_larger_than_the_memory_is_a_warning) {
    const auto out = warnings_of("{max_memory: 1MiB, max_project_size: 2MiB}");
    ASSERT_EQ(out.size(), 1U);
    EXPECT_TRUE(out[0].starts_with("kv.max_project_size: 2MiB")) << out[0];
    EXPECT_TRUE(warnings_of("{max_memory: 0, max_project_size: 2MiB}").empty());
    EXPECT_TRUE(warnings_of("{max_memory: 1MiB, max_project_size: 0}").empty());
}

TEST(load_kv, error_never_shows_a_password_or_what_came_from_outside) {
    const fake_world world{.variables = {{"X", "hunter2"}}, .files = {}};
    for (const auto* yaml :
         {"kv: {users: {a: hunter2}}", "kv: {users: {a: {password: [hunter2]}}}",
          "kv: {users: {a: {password: SCRAM-SHA-256$hunter2}}}", "kv: {max_memory: '${X}'}",
          "kv: {disabled_commands: ['${X} ']}", "kv: {users: {a: {projects: '${X}'}}}",
          "kv: {directory: '${X}', backup: {directory: '${X}'}}"}) {
        const std::string what = error_of(yaml, world).what();
        EXPECT_EQ(what.find("hunter2"), std::string::npos) << what;
    }
}

}  // namespace
}  // namespace sluice::config
