#include "config/load.hpp"

#include <gtest/gtest.h>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;

constexpr const char* verifier =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

TEST(load, empty_file_gives_the_defaults_and_a_warning) {
    for (const auto* text : {"", "# only a comment\n", "---\n", "postgres:\nlog:\n", "{}"}) {
        const auto out = load(text);
        EXPECT_EQ(out.settings, settings{}) << text;
        ASSERT_EQ(out.warnings.size(), 1U) << text;
        EXPECT_NE(out.warnings[0].find("no database"), std::string::npos);
    }
}

TEST(load, contract_example_loads) {
    const fake_world world{
        .variables = {{"DATABASE_URL", "postgres://u:p@db/app"}, {"ALICE_PASSWORD", "secret"}},
        .files = {}};
    const auto out = load(R"(
workers: auto                      # threads; auto = one per core
log: {level: info, format: text}   # or json
postgres:
  listen: ["127.0.0.1:6432"]
  auth_type: scram-sha-256
  max_client_conn: 10000
  pool_mode: transaction
  pool_size: 20
  min_pool_size: 0
  reserve_pool_size: 0
  server_idle_timeout: 60s
  server_lifetime: 1h
  server_connect_timeout: 10s
  query_wait_timeout: 120s
  max_prepared_statements: 200
  tls: {mode: disable, certificate: …, key: …, client_ca: …}
  databases:
    app: {url: "${DATABASE_URL}"}
  users:
    alice: {password: "${ALICE_PASSWORD}"}
  admin_users: [admin]
  stats_users: [stats]
kv:
  listen: ["127.0.0.1:6380"]
  directory: .replitdb
  fsync: everysec
  max_project_size: 50MiB
  users: {}
gateway:
  listen: ["127.0.0.1:8432"]
monitoring:
  listen: ["127.0.0.1:9127"]
)",
                          world);
    settings expected;
    expected.postgres.tls = {tls_mode::disable, "…", "…", "…"};
    expected.postgres.databases["app"].url = "postgres://u:p@db/app";
    expected.postgres.users.emplace()["alice"].password = "secret";
    expected.postgres.admin_users = {"admin"};
    expected.postgres.stats_users = {"stats"};
    EXPECT_EQ(out.settings, expected);
    const std::vector<std::string> warnings{
        "gateway: the HTTP gateway is not part of this version; the section is ignored"};
    EXPECT_EQ(out.warnings, warnings);
}

TEST(load, every_global_value_reaches_its_place) {
    const auto out = load(R"(
workers: 3
log: {level: debug, format: json}
postgres:
  listen: ["*:6432", "unix:/run/sluice"]
  listen_backlog: 10
  auth_type: passthrough
  passthrough_cache: 1min
  pool_mode: session
  pool_size: 11
  min_pool_size: 2
  reserve_pool_size: 3
  reserve_pool_timeout: 4s
  max_client_conn: 12
  max_db_connections: 13
  max_db_client_connections: 14
  max_user_connections: 15
  max_user_client_connections: 16
  max_prepared_statements: 0
  max_concurrent_logins: 17
  query_wait_timeout: 0
  query_wait_notify: 1.5
  query_timeout: 18ms
  transaction_timeout: 19s
  idle_transaction_timeout: 20s
  client_idle_timeout: 21s
  client_login_timeout: 22s
  server_idle_timeout: 23s
  server_lifetime: 24h
  server_connect_timeout: 25s
  cancel_wait_timeout: 26s
  shutdown_timeout: 27s
  server_reset_query: ""
  tcp_keepalive: off
  tcp_keepidle: 28s
  tcp_keepintvl: 29s
  tcp_keepcnt: 30
  tcp_user_timeout: 31s
  tls: {mode: verify-full, certificate: c.pem, key: k.pem, client_ca: ca.pem}
  databases: {a: }
  users: {}
  admin_users: root
  stats_users: []
monitoring: {listen: []}
)");
    const auto& pg = out.settings.postgres;
    EXPECT_EQ(out.settings.workers, 3U);
    EXPECT_EQ(out.settings.log, (log_settings{log_level::debug, log_format::json}));
    ASSERT_EQ(pg.listen.size(), 2U);
    EXPECT_EQ(pg.listen[0].host, "*");
    EXPECT_EQ(pg.listen[1].path, "/run/sluice");
    EXPECT_EQ(pg.listen_backlog, 10U);
    EXPECT_EQ(pg.auth_type, auth_type::passthrough);
    EXPECT_EQ(pg.passthrough_cache, 1min);
    EXPECT_EQ(pg.pool_mode, pool_mode::session);
    EXPECT_EQ(pg.pool_size, 11U);
    EXPECT_EQ(pg.min_pool_size, 2U);
    EXPECT_EQ(pg.reserve_pool_size, 3U);
    EXPECT_EQ(pg.reserve_pool_timeout, 4s);
    EXPECT_EQ(pg.max_client_conn, 12U);
    EXPECT_EQ(pg.max_db_connections, 13U);
    EXPECT_EQ(pg.max_db_client_connections, 14U);
    EXPECT_EQ(pg.max_user_connections, 15U);
    EXPECT_EQ(pg.max_user_client_connections, 16U);
    EXPECT_EQ(pg.max_prepared_statements, 0U);
    EXPECT_EQ(pg.max_concurrent_logins, 17U);
    EXPECT_EQ(pg.query_wait_timeout, 0ms);
    EXPECT_EQ(pg.query_wait_notify, 1500ms);
    EXPECT_EQ(pg.query_timeout, 18ms);
    EXPECT_EQ(pg.transaction_timeout, 19s);
    EXPECT_EQ(pg.idle_transaction_timeout, 20s);
    EXPECT_EQ(pg.client_idle_timeout, 21s);
    EXPECT_EQ(pg.client_login_timeout, 22s);
    EXPECT_EQ(pg.server_idle_timeout, 23s);
    EXPECT_EQ(pg.server_lifetime, 24h);
    EXPECT_EQ(pg.server_connect_timeout, 25s);
    EXPECT_EQ(pg.cancel_wait_timeout, 26s);
    EXPECT_EQ(pg.shutdown_timeout, 27s);
    EXPECT_EQ(pg.server_reset_query, "");
    EXPECT_FALSE(pg.tcp_keepalive);
    EXPECT_EQ(pg.tcp_keepidle, 28s);
    EXPECT_EQ(pg.tcp_keepintvl, 29s);
    EXPECT_EQ(pg.tcp_keepcnt, 30U);
    EXPECT_EQ(pg.tcp_user_timeout, 31s);
    EXPECT_EQ(pg.tls, (tls_settings{tls_mode::verify_full, "c.pem", "k.pem", "ca.pem"}));
    EXPECT_EQ(pg.databases.at("a"), database_settings{});
    ASSERT_TRUE(pg.users.has_value());
    EXPECT_TRUE(pg.users->empty());
    EXPECT_EQ(pg.admin_users, std::vector<std::string>{"root"});
    EXPECT_TRUE(pg.stats_users.empty());
    EXPECT_TRUE(out.settings.monitoring.listen.empty());
    EXPECT_TRUE(out.warnings.empty());
}

TEST(load, database_and_user_values_reach_their_place) {
    const auto out = load(R"(
postgres:
  databases:
    "*": {url: "host=db"}
    my app:
      url: "dbname=x"
      pool_mode: statement
      pool_size: 1
      min_pool_size: 1
      reserve_pool_size: 2
      max_db_connections: 3
      max_db_client_connections: 4
      server_lifetime: 5min
  users:
    bob:
      password: pw
      pool_mode: session
      pool_size: 6
      reserve_pool_size: 7
      max_user_connections: 8
      max_user_client_connections: 9
      query_timeout: 10s
      transaction_timeout: 11s
      idle_transaction_timeout: 12s
      client_idle_timeout: 0
)");
    const auto& pg = out.settings.postgres;
    database_settings database;
    database.url = "host=db";
    EXPECT_EQ(pg.databases.at("*"), database);
    database = {"dbname=x", pool_mode::statement, 1, 1, 2, 3, 4, 5min, {}, {}, {}};
    EXPECT_EQ(pg.databases.at("my app"), database);
    const user_settings user{"pw", pool_mode::session, 6, 7, 8, 9, 10s, 11s, 12s, 0ms, {}, {}};
    EXPECT_EQ(pg.users->at("bob"), user);
}

TEST(load, absent_users_differ_from_empty_users) {
    EXPECT_FALSE(load("postgres: {pool_size: 5}").settings.postgres.users.has_value());
    EXPECT_TRUE(load("postgres: {users: {}}").settings.postgres.users.has_value());
}

TEST(load, expansion_works_in_values_of_every_type) {
    const fake_world world{.variables = {{"SIZE", "7"}, {"PORT", "6555"}, {"WAIT", "2s"}},
                           .files = {{"/cred", "host=x password=y\n"}}};
    const auto out = load(
        "postgres: {pool_size: '${SIZE}', listen: ['127.0.0.1:${PORT}'], query_timeout: '${WAIT}', "
        "databases: {a: {url: '${file:/cred}'}}}",
        world);
    EXPECT_EQ(out.settings.postgres.pool_size, 7U);
    EXPECT_EQ(out.settings.postgres.listen.at(0).port, 6555);
    EXPECT_EQ(out.settings.postgres.query_timeout, 2s);
    EXPECT_EQ(out.settings.postgres.databases.at("a").url, "host=x password=y");
}

TEST(load, scram_verifier_survives_expansion) {
    const auto out = load("postgres: {users: {a: {password: '" + std::string(verifier) + "'}}}");
    EXPECT_EQ(out.settings.postgres.users->at("a").password, verifier);
}

struct bad_case {
    const char* yaml;
    int line;
    const char* key;
    const char* found;     // a part of it
    const char* expected;  // a part of it
};

class load_error : public testing::TestWithParam<bad_case> {};

TEST_P(load_error, names_file_line_key_found_and_expected) {
    const auto& want = GetParam();
    const auto error = error_of(want.yaml);
    EXPECT_EQ(error.file, "sluice.yaml");
    EXPECT_EQ(error.line, want.line) << error.what();
    EXPECT_EQ(error.key, want.key) << error.what();
    EXPECT_NE(error.found.find(want.found), std::string::npos) << error.what();
    EXPECT_NE(error.expected.find(want.expected), std::string::npos) << error.what();
    const std::string what = error.what();
    const auto start = "sluice.yaml:" + std::to_string(want.line) + ": ";
    EXPECT_TRUE(what.starts_with(start)) << what;
}

INSTANTIATE_TEST_SUITE_P(
    unknown_keys, load_error,
    testing::Values(
        bad_case{"worker: 1", 1, "worker", "unknown key", "did you mean workers?"},
        bad_case{"log: {}\nmonitor: {}", 2, "monitor", "unknown key", "did you mean monitoring?"},
        bad_case{"postgres:\n  pool_sizes: 1", 2, "postgres.pool_sizes", "unknown key",
                 "did you mean pool_size?"},
        bad_case{"postgres:\n  default_pool_size: 1", 2, "postgres.default_pool_size",
                 "unknown key", "did you mean postgres.pool_size?"},
        bad_case{"postgres:\n  database: {}", 2, "postgres.database", "unknown key",
                 "did you mean databases?"},
        bad_case{"pool_mode: session", 1, "pool_mode", "unknown key",
                 "did you mean postgres.pool_mode?"},
        bad_case{"users: {}", 1, "users", "unknown key", "did you mean postgres.users?"},
        bad_case{"kvs: {}", 1, "kvs", "unknown key", "did you mean kv?"},
        bad_case{"postgres: {kv: {}}", 1, "postgres.kv", "unknown key", "docs/configuration.md"},
        bad_case{"postgres.pool_size: 1", 1, "\"postgres.pool_size\"", "unknown key",
                 "docs/configuration.md"},
        bad_case{"postgres:\n  tls:\n    cert: a", 3, "postgres.tls.cert", "unknown key",
                 "did you mean certificate?"},
        bad_case{"postgres:\n  databases:\n    my.app:\n      uri: x", 4,
                 "postgres.databases.\"my.app\".uri", "unknown key", "did you mean url?"},
        bad_case{"postgres:\n  databases:\n    a: {query_timeout: 1s}", 3,
                 "postgres.databases.a.query_timeout", "unknown key",
                 "did you mean postgres.query_timeout?"},
        bad_case{"zzzzzzzz: 1", 1, "zzzzzzzz", "unknown key", "docs/configuration.md"}));

INSTANTIATE_TEST_SUITE_P(
    wrong_types, load_error,
    testing::Values(
        bad_case{"- a", 1, "", "a list", "a mapping"},
        bad_case{"text", 1, "", "a text", "a mapping"},
        bad_case{"postgres: 1", 1, "postgres", "a text", "a mapping"},
        bad_case{"postgres: []", 1, "postgres", "a list", "a mapping"},
        bad_case{"postgres: {tls: on}", 1, "postgres.tls", "a text", "a mapping"},
        bad_case{"postgres: {pool_size: [1]}", 1, "postgres.pool_size", "a list", "whole number"},
        bad_case{"postgres: {pool_size: }", 1, "postgres.pool_size", "nothing", "whole number"},
        bad_case{"postgres: {pool_size: ~}", 1, "postgres.pool_size", "nothing", "whole number"},
        bad_case{"postgres: {listen: {a: b}}", 1, "postgres.listen", "a mapping", "a list"},
        bad_case{"postgres: {listen: }", 1, "postgres.listen", "nothing", "a list"},
        bad_case{"postgres:\n listen:\n - '*:1'\n - []", 4, "postgres.listen[1]", "a list",
                 "host:port"},
        bad_case{"postgres:\n databases: [a]", 2, "postgres.databases", "a list", "{} for none"},
        bad_case{"postgres:\n users:\n", 2, "postgres.users", "nothing", "{} for none"},
        bad_case{"postgres:\n users: {alice: pw}", 2, "postgres.users.alice", "a text", "mapping"},
        bad_case{"postgres:\n users: {'': {}}", 2, "postgres.users.\"\"", "an empty name",
                 "a name"},
        bad_case{"? [a]\n: b", 1, "", "a key that is not a text", "name"},
        bad_case{"~: b", 1, "", "a key that is not a text", "name"}));

INSTANTIATE_TEST_SUITE_P(
    bad_values, load_error,
    testing::Values(
        bad_case{"workers: 0", 1, "workers", "\"0\"", "auto or a whole number from 1 to 1024"},
        bad_case{"workers: all", 1, "workers", "\"all\"", "auto or a whole number"},
        bad_case{"log: {level: warn}", 1, "log.level", "\"warn\"", "debug, info, warning, error"},
        bad_case{"log: {format: xml}", 1, "log.format", "\"xml\"", "one of text, json"},
        bad_case{"postgres: {pool_size: 0}", 1, "postgres.pool_size", "\"0\"", "from 1 to 1000000"},
        bad_case{"postgres: {pool_size: -1}", 1, "postgres.pool_size", "\"-1\"", "from 1 to"},
        bad_case{"postgres: {tcp_keepcnt: 128}", 1, "postgres.tcp_keepcnt", "\"128\"", "0 to 127"},
        bad_case{"postgres: {tcp_keepidle: 1500ms}", 1, "postgres.tcp_keepidle", "\"1500ms\"",
                 "whole seconds"},
        bad_case{"postgres: {tcp_keepidle: 10h}", 1, "postgres.tcp_keepidle", "\"10h\"", "32767s"},
        bad_case{"postgres: {tcp_keepalive: maybe}", 1, "postgres.tcp_keepalive", "\"maybe\"",
                 "true or false"},
        bad_case{"postgres: {query_timeout: 5 s}", 1, "postgres.query_timeout", "\"5 s\"", "60s"},
        bad_case{"postgres: {query_timeout: 400d}", 1, "postgres.query_timeout", "\"400d\"",
                 "365d"},
        bad_case{"postgres: {pool_mode: txn}", 1, "postgres.pool_mode", "\"txn\"",
                 "session, transaction, statement"},
        bad_case{"postgres: {auth_type: md5}", 1, "postgres.auth_type", "\"md5\"", "scram-sha-256"},
        bad_case{"postgres: {auth_type: plain}", 1, "postgres.auth_type", "\"plain\"",
                 "trust, cleartext, scram-sha-256, cert, passthrough"},
        bad_case{"postgres: {tls: {mode: prefer}}", 1, "postgres.tls.mode", "\"prefer\"",
                 "disable, allow, require, verify-ca, verify-full"},
        bad_case{"postgres: {listen: ':6432'}", 1, "postgres.listen", "\":6432\"", "*:6432"},
        bad_case{"postgres:\n listen:\n  - '*:6432'\n  - here", 4, "postgres.listen[1]", "\"here\"",
                 "host:port"},
        bad_case{"monitoring: {listen: 'unix:/run/x'}", 1, "monitoring.listen", "unix:/run/x",
                 "host:port"},
        bad_case{"postgres: {admin_users: [a, '']}", 1, "postgres.admin_users[1]", "\"\"",
                 "a user name"},
        bad_case{"postgres: {tls: {key: ''}}", 1, "postgres.tls.key", "\"\"", "path"},
        bad_case{"postgres: {databases: {a: {url: ' '}}}", 1, "postgres.databases.a.url",
                 "not shown", "libpq connection string"},
        bad_case{"postgres: {server_reset_query: \"a\\0b\"}", 1, "postgres.server_reset_query",
                 "a zero byte", "without"}));

INSTANTIATE_TEST_SUITE_P(
    bad_yaml, load_error,
    testing::Values(
        bad_case{"workers: 1\nlog: {}\nworkers: 2", 3, "workers", "a second time", "line 1"},
        bad_case{"postgres:\n  pool_size: 1\n  pool_size: 1", 3, "postgres.pool_size",
                 "a second time", "line 2"},
        bad_case{"kv: {x: [{a: 1, a: 2}]}", 1, "kv.x[0].a", "a second time", "line 1"},
        bad_case{"workers: 1\n---\nworkers: 2", 2, "", "second document", "one document"},
        bad_case{"workers: [1", 1, "", "no valid YAML", "valid YAML"},
        bad_case{"log:\n\tlevel: info", 2, "", "no valid YAML", "valid YAML"},
        bad_case{"log: {level: \"\\q\"}", 1, "", "no valid YAML", "valid YAML"},
        bad_case{"postgres:\n  listen: *:6432", 2, "", "alias", "quote a text"},
        bad_case{"postgres: {server_reset_query: *hunter2}", 1, "", "alias", "quote a text"},
        bad_case{"log: &a {level: info}", 1, "log", "an anchor", "not supported"},
        bad_case{"workers: !!int 3", 1, "workers", "a tag", "not supported"}));

INSTANTIATE_TEST_SUITE_P(
    references, load_error,
    testing::Values(bad_case{"workers: 1\nlog: {level: '${NOPE}'}", 2, "log.level", "${NOPE}",
                             "to be set"},
                    bad_case{"postgres: {databases: {a: {url: '${file:/no}'}}}", 1,
                             "postgres.databases.a.url", "${file:/no}", "readable file"},
                    bad_case{"postgres: {users: {a: {password: 'x${'}}}", 1,
                             "postgres.users.a.password", "never closed", "$$"}));

INSTANTIATE_TEST_SUITE_P(
    several_values, load_error,
    testing::Values(
        bad_case{"postgres:\n  tls:\n    mode: require", 2, "postgres.tls.certificate", "nothing",
                 "postgres.tls.mode is require"},
        bad_case{"postgres:\n  tls: {mode: allow, certificate: c}", 2, "postgres.tls.key",
                 "nothing", "postgres.tls.mode is allow"},
        bad_case{"postgres: {tls: {mode: verify-ca, certificate: c, key: k}}", 1,
                 "postgres.tls.client_ca", "nothing", "verify-ca"},
        bad_case{"postgres: {tls: {mode: verify-full, certificate: c, key: k}}", 1,
                 "postgres.tls.client_ca", "nothing", "verify-full"},
        bad_case{"postgres: {auth_type: cert, tls: {mode: require, certificate: c, key: k}}", 1,
                 "postgres.tls.client_ca", "nothing", "auth_type is cert"},
        bad_case{"postgres:\n  auth_type: cert", 1, "postgres.tls.client_ca", "nothing",
                 "auth_type is cert"},
        bad_case{"postgres:\n  auth_type: cert\n  tls:\n    client_ca: c\n    mode: disable", 5,
                 "postgres.tls.mode", "disable", "auth_type is cert"},
        bad_case{"postgres:\n  users:\n    alice:\n      pool_size: 1", 3,
                 "postgres.users.alice.password", "nothing", "scram-sha-256"},
        bad_case{"postgres:\n  auth_type: cleartext\n  users: {\"a.b\": }", 3,
                 "postgres.users.\"a.b\".password", "nothing", "cleartext"},
        bad_case{"postgres:\n  pool_size: 3\n  min_pool_size: 4", 3, "postgres.min_pool_size", "4",
                 "at most the pool_size of 3"},
        bad_case{"postgres:\n  databases:\n    a:\n      min_pool_size: 21", 4,
                 "postgres.databases.a.min_pool_size", "21", "at most the pool_size of 20"},
        bad_case{"postgres:\n  min_pool_size: 5\n  databases:\n    a:\n      pool_size: 4", 5,
                 "postgres.databases.a.pool_size", "4", "min_pool_size of 5"},
        bad_case{"postgres:\n  listen:\n    - '127.0.0.1:1'\n    - '127.0.0.1:1'", 4,
                 "postgres.listen[1]", "127.0.0.1:1", "postgres.listen[0]"},
        bad_case{"postgres:\n  listen: '*:9127'", 2, "monitoring.listen[0]", "127.0.0.1:9127",
                 "postgres.listen[0]"},
        bad_case{"workers: 1\npostgres: {listen: '*:6380'}", 2, "kv.listen[0]", "127.0.0.1:6380",
                 "postgres.listen[0]"}));

TEST(load, users_without_password_load_where_none_is_needed) {
    for (const auto* auth : {"trust", "passthrough"}) {
        const auto out = load("postgres: {auth_type: " + std::string(auth) + ", users: {alice: }}");
        EXPECT_EQ(out.settings.postgres.users->count("alice"), 1U);
    }
}

TEST(load, malformed_verifier_is_an_error_that_hides_it) {
    const std::string whole = verifier;
    for (const auto& bad :
         {whole.substr(0, whole.size() - 1), whole + "A", "SCRAM-SHA-256$" + whole.substr(19),
          std::string("SCRAM-SHA-256$"), std::string("SCRAM-SHA-256$4096"),
          std::string("SCRAM-SHA-256$0") + whole.substr(18), whole.substr(0, whole.rfind(':')),
          whole + ":"}) {
        const auto error = error_of("postgres:\n users: {a: {password: '" + bad + "'}}");
        EXPECT_EQ(error.key, "postgres.users.a.password");
        EXPECT_EQ(error.line, 2);
        EXPECT_EQ(std::string(error.what()).find("W22Z"), std::string::npos);
        EXPECT_NE(error.expected.find("<iterations>"), std::string::npos);
    }
}

TEST(load, md5_hash_as_password_is_an_error) {
    const auto error =
        error_of("postgres: {users: {a: {password: md5d41d8cd98f00b204e9800998ecf8427e}}}");
    EXPECT_NE(error.expected.find("MD5"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find("d41d8"), std::string::npos);
    EXPECT_NO_THROW(load("postgres: {users: {a: {password: md5ish}}}"));
}

TEST(load, error_never_shows_what_came_from_outside) {
    const fake_world world{.variables = {{"PW", "hunter2"}}, .files = {{"/pw", "hunter2"}}};
    for (const auto* yaml :
         {"workers: '${PW}'", "log: {level: '${file:/pw}'}", "postgres: {listen: '${PW}'}",
          "postgres: {query_timeout: 'x${PW}'}", "postgres: {tls: {mode: '${PW}'}}"}) {
        const std::string what = error_of(yaml, world).what();
        EXPECT_EQ(what.find("hunter2"), std::string::npos) << what;
        EXPECT_NE(what.find("not shown"), std::string::npos) << what;
    }
}

TEST(load, error_never_shows_a_secret_written_in_the_wrong_place) {
    for (const auto* yaml :
         {"postgres: {users: {a: hunter2}}", "postgres: {users: {a: {password: [hunter2]}}}",
          "postgres: {users: {a: {passwort: hunter2}}}",
          "postgres: {users: {a: {password: *hunter2}}}",
          "postgres: {users: {a: {password: &hunter2 b}}}",
          "postgres: {users: {a: {password: !hunter2 b}}}",
          "postgres: {users: {a: {password: \"hunter2\\q\"}}}",
          "postgres: {users: {a: {password: 'hunter2'}, a: {password: 'hunter2'}}}",
          "postgres: {databases: hunter2}", "postgres: {databases: {a: hunter2}}"}) {
        const std::string what = error_of(yaml).what();
        EXPECT_EQ(what.find("hunter2"), std::string::npos) << what;
    }
}

TEST(load, error_cuts_long_values_and_escapes_control_bytes) {
    const std::string what = error_of("workers: \"\\x1b[2J" + std::string(500, 'x') + "\"").what();
    EXPECT_NE(what.find("\\x1b[2J"), std::string::npos);
    EXPECT_LT(what.size(), 200U);
}

TEST(load, file_that_cannot_be_read_is_an_error) {
    const fake_world world;
    try {
        static_cast<void>(load_file("/etc/none.yaml", world.env()));
        FAIL();
    } catch (const config_error& error) {
        EXPECT_EQ(error.file, "/etc/none.yaml");
        EXPECT_EQ(error.line, 0);
        EXPECT_NE(error.found.find("No such file"), std::string::npos);
    }
}

TEST(load, file_is_named_in_its_errors) {
    const fake_world world{.variables = {}, .files = {{"/etc/a.yaml", "x: 1"}}};
    try {
        static_cast<void>(load_file("/etc/a.yaml", world.env()));
        FAIL();
    } catch (const config_error& error) {
        EXPECT_TRUE(std::string(error.what()).starts_with("/etc/a.yaml:1: x: ")) << error.what();
    }
}

TEST(load, hostile_sizes_are_errors) {
    EXPECT_THROW(load(std::string(2 * 1024 * 1024, ' ')), config_error);
    EXPECT_THROW(load(std::string(100'000, '[')), config_error);
    EXPECT_THROW(load("a: " + std::string(100'000, '{')), config_error);
}

}  // namespace
}  // namespace sluice::config
