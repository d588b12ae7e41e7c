// The `monitoring` section: who may see it, and what is refused.
#include <gtest/gtest.h>

#include "config/fields.hpp"
#include "config/validate.hpp"
#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

std::vector<std::string> warnings_of(const std::string& section) {
    return load("postgres: {databases: {a: }}\nmonitoring: " + section).warnings;
}

TEST(load_monitoring, every_key_is_read) {
    const auto out = load(R"(
postgres: {databases: {a: }}
monitoring:
  listen: ["127.0.0.1:1", "10.0.0.1:2"]
  token: s3cret+/=
  allow_anonymous: yes
  tls: {mode: verify-ca, certificate: c.pem, key: k.pem, client_ca: ca.pem}
  users:
    alice: {password: a}
    bob: {password: b}
)");
    const auto& monitoring = out.settings.monitoring;
    EXPECT_EQ(monitoring.listen.size(), 2U);
    EXPECT_EQ(monitoring.token, "s3cret+/=");
    EXPECT_TRUE(monitoring.allow_anonymous);
    EXPECT_EQ(monitoring.tls, (tls_settings{tls_mode::verify_ca, "c.pem", "k.pem", "ca.pem"}));
    const std::map<std::string, monitoring_user_settings> users{{"alice", {"a"}}, {"bob", {"b"}}};
    EXPECT_EQ(monitoring.users, users);
    EXPECT_TRUE(out.warnings.empty());
}

TEST(load_monitoring, token_comes_from_a_file_and_is_never_shown) {
    const fake_world world{.variables = {}, .files = {{"/run/token", "hunter2\n"}}};
    const auto out = load("monitoring: {token: '${file:/run/token}'}", world);
    EXPECT_EQ(out.settings.monitoring.token, "hunter2");
    const fake_world bad{.variables = {}, .files = {{"/run/token", "hunter2 two words\n"}}};
    const std::string what = error_of("monitoring: {token: '${file:/run/token}'}", bad).what();
    EXPECT_EQ(what.find("hunter2"), std::string::npos) << what;
    for (const auto& row : global_fields()) {
        if (row.key == "monitoring.token") {
            EXPECT_EQ(row.show(out.settings), "set");
        }
    }
}

TEST(load_monitoring, listening_elsewhere_without_access_control_is_refused) {
    for (const auto* address : {"*:9127", "0.0.0.0:9127", "[::]:9127", "10.0.0.1:9127",
                                "monitoring.internal:9127", "127.example.com:9127"}) {
        const auto error = error_of("monitoring:\n  listen:\n    - '127.0.0.1:1'\n    - '" +
                                    std::string(address) + "'");
        EXPECT_EQ(error.key, "monitoring.listen[1]") << error.what();
        EXPECT_EQ(error.line, 4) << error.what();
        for (const auto* word : {"monitoring.token", "monitoring.users", "allow_anonymous: true"}) {
            EXPECT_NE(error.expected.find(word), std::string::npos) << error.what();
        }
    }
}

TEST(load_monitoring, listening_elsewhere_is_fine_with_each_way_of_access) {
    const std::string tls = "tls: {mode: require, certificate: c, key: k}";
    for (const auto& access :
         {"token: x, " + tls, "users: {a: {password: x}}, " + tls,
          std::string("tls: {mode: verify-full, certificate: c, key: k, client_ca: a}")}) {
        EXPECT_TRUE(warnings_of("{listen: '*:9127', " + access + "}").empty()) << access;
    }
    const auto open = warnings_of("{listen: '*:9127', allow_anonymous: true}");
    ASSERT_EQ(open.size(), 1U);
    EXPECT_NE(open[0].find("everybody"), std::string::npos);
    const auto readable = warnings_of("{listen: '*:9127', token: x}");
    ASSERT_EQ(readable.size(), 1U);
    EXPECT_NE(readable[0].find("monitoring.tls.mode"), std::string::npos);
}

TEST(load_monitoring, loopback_and_nowhere_need_nothing) {
    for (const auto* listen : {"[]", "'127.0.0.1:1'", "'localhost:1'", "'[::1]:1'"}) {
        EXPECT_TRUE(warnings_of("{listen: " + std::string(listen) + "}").empty()) << listen;
    }
    EXPECT_FALSE(is_open_to_all({}));
}

struct bad_case {
    const char* yaml;
    const char* key;
    const char* expected;  // a part of it
};

TEST(load_monitoring, mistakes_are_named) {
    for (const auto& each : {
             bad_case{"monitoring: {token: ''}", "monitoring.token", "without spaces"},
             bad_case{"monitoring: {token: 'a b'}", "monitoring.token", "without spaces"},
             bad_case{"monitoring: {users: {a: }}", "monitoring.users.a.password", "a password"},
             bad_case{"monitoring: {users: {'a:b': {password: x}}}", "monitoring.users.\"a:b\"",
                      "none"},
             bad_case{"monitoring: {users: {a: {password: SCRAM-SHA-256$x}}}",
                      "monitoring.users.a.password", "verifier"},
             bad_case{"monitoring: {users: {a: {pasword: x}}}", "monitoring.users.a.pasword",
                      "did you mean password?"},
             bad_case{"monitoring: {user: {}}", "monitoring.user", "did you mean users?"},
             bad_case{"monitoring: {tls: {mode: require}}", "monitoring.tls.certificate",
                      "monitoring.tls.mode is require"},
         }) {
        const auto error = error_of(each.yaml);
        EXPECT_EQ(error.key, each.key) << error.what();
        EXPECT_NE(error.expected.find(each.expected), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace sluice::config
