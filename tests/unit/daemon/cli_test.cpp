#include "daemon/cli.hpp"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

namespace sluice::daemon {
namespace {

struct outcome {
    int code = -1;
    std::string out;
    std::string err;
};

// A process that exists only here: its variables, its files, its password, what it was asked to do.
struct fake_process {
    std::map<std::string, std::string> variables;
    std::map<std::string, std::string> files;
    std::optional<std::string> password;
    std::optional<run_options> served;
    int serve_result = 0;

    outcome run(const std::vector<std::string>& arguments) {
        std::ostringstream out;
        std::ostringstream err;
        const command_line with{
            .env = {.variable = [this](const std::string& name) -> std::optional<std::string> {
                        const auto at = variables.find(name);
                        if (at == variables.end()) return std::nullopt;
                        return at->second;
                    },
                    .read_file = [this](const std::string& path) -> config::file_text {
                        const auto at = files.find(path);
                        if (at != files.end()) return {at->second, {}};
                        return {{}, std::make_error_code(std::errc::no_such_file_or_directory)};
                    }},
            .out = out,
            .err = err,
            .serve =
                [this](const run_options& options) {
                    served = options;
                    return serve_result;
                },
            .read_password = [this] { return password; },
            .make_verifier = [](std::string_view text) { return "V(" + std::string(text) + ")"; }};
        const int code = run_command_line(arguments, with);
        return {code, out.str(), err.str()};
    }
};

constexpr const char* good = "postgres: {pool_size: 5, databases: {a: }}";

TEST(cli, version_is_printed) {
    const auto got = fake_process{}.run({"--version"});
    EXPECT_EQ(got.code, 0);
    EXPECT_EQ(got.out, "sluice 0.1.0\n");
}

TEST(cli, help_names_every_command) {
    const auto got = fake_process{}.run({"--help"});
    EXPECT_EQ(got.code, 0);
    for (const auto* command : {"serve", "check", "hash-password", "kv", "import-pgbouncer"}) {
        EXPECT_NE(got.out.find(command), std::string::npos) << command;
    }
}

TEST(cli, bad_usage_exits_with_2_and_says_why) {
    const std::vector<std::vector<std::string>> all{{},
                                                    {"start"},
                                                    {"serve", "--what"},
                                                    {"serve", "--config"},
                                                    {"serve", "extra"},
                                                    {"hash-password", "secret"},
                                                    {"serve", "check"},
                                                    {"--config", "a.yaml"},
                                                    {"serve", "--config", ""}};
    for (const auto& arguments : all) {
        const auto got = fake_process{}.run(arguments);
        EXPECT_EQ(got.code, 2);
        EXPECT_FALSE(got.err.empty());
        EXPECT_TRUE(got.out.empty());
    }
}

TEST(cli, serve_takes_the_named_file_first) {
    fake_process process{
        .variables = {{"SLUICE_CONFIG", "/env.yaml"}, {"DATABASE_URL", "x"}},
        .files = {{"/mine.yaml", good}, {"/env.yaml", "{}"}, {"./sluice.yaml", ""}},
        .password = {},
        .served = {}};
    EXPECT_EQ(process.run({"serve", "--config", "/mine.yaml"}).code, 0);
    ASSERT_TRUE(process.served);
    EXPECT_EQ(process.served->config_file, "/mine.yaml");
    EXPECT_EQ(process.served->settings.postgres.pool_size, 5U);
}

TEST(cli, serve_searches_in_the_order_of_the_documentation) {
    fake_process process;
    process.variables = {{"SLUICE_CONFIG", "/env.yaml"}, {"DATABASE_URL", "postgres://db/app"}};
    process.files = {
        {"/env.yaml", good}, {"./sluice.yaml", good}, {"/etc/sluice/sluice.yaml", good}};
    const auto file = [&] {
        process.served.reset();
        EXPECT_EQ(process.run({"serve"}).code, 0);
        return process.served ? process.served->config_file : "not served";
    };
    EXPECT_EQ(file(), "/env.yaml");
    process.variables["SLUICE_CONFIG"] = "";
    EXPECT_EQ(file(), "./sluice.yaml");
    process.files.erase("./sluice.yaml");
    EXPECT_EQ(file(), "/etc/sluice/sluice.yaml");
    process.files.clear();
    EXPECT_EQ(file(), "");
    config::settings expected;
    expected.postgres.databases[""].url = "postgres://db/app";
    EXPECT_EQ(process.served->settings, expected);
}

TEST(cli, serve_without_any_configuration_says_what_to_do) {
    for (const auto& variables : {std::map<std::string, std::string>{},
                                  std::map<std::string, std::string>{{"DATABASE_URL", ""}}}) {
        fake_process process;
        process.variables = variables;
        const auto got = process.run({"serve"});
        EXPECT_EQ(got.code, 2);
        for (const auto* hint : {"DATABASE_URL", "sluice.yaml", "--config"}) {
            EXPECT_NE(got.err.find(hint), std::string::npos) << hint;
        }
        EXPECT_FALSE(process.served);
    }
}

TEST(cli, named_file_that_is_missing_is_never_passed_over) {
    fake_process process;
    process.variables = {{"SLUICE_CONFIG", "/gone.yaml"}, {"DATABASE_URL", "x"}};
    process.files = {{"./sluice.yaml", good}};
    for (const auto& arguments : {std::vector<std::string>{"serve"},
                                  std::vector<std::string>{"check", "--config", "/gone.yaml"}}) {
        const auto got = process.run(arguments);
        EXPECT_EQ(got.code, 2);
        EXPECT_NE(got.err.find("/gone.yaml"), std::string::npos);
    }
    EXPECT_FALSE(process.served);
}

TEST(cli, serve_hands_its_result_and_warnings_on) {
    fake_process process;
    process.files = {{"./sluice.yaml", "gateway: {}\npostgres: {databases: {a: }}"}};
    process.serve_result = 1;
    const auto got = process.run({"serve"});
    EXPECT_EQ(got.code, 1);
    EXPECT_NE(got.err.find("warning: gateway:"), std::string::npos);
}

TEST(cli, mistake_in_the_file_exits_with_2_and_its_place) {
    fake_process process;
    process.files = {{"./sluice.yaml", "workers: 1\npostgres: {pool_sizes: 3}"}};
    for (const auto* command : {"serve", "check"}) {
        const auto got = process.run({command});
        EXPECT_EQ(got.code, 2);
        EXPECT_NE(got.err.find("./sluice.yaml:2: postgres.pool_sizes: "), std::string::npos)
            << got.err;
        EXPECT_TRUE(got.out.empty());
    }
    EXPECT_FALSE(process.served);
}

TEST(cli, check_prints_listeners_and_warnings) {
    fake_process process;
    process.files = {{"/a.yaml",
                      "gateway: {}\npostgres: {listen: ['[::1]:6432', 'unix:/run/sluice'], "
                      "databases: {a: }}\nmonitoring: {listen: []}"}};
    const auto got = process.run({"check", "--config", "/a.yaml"});
    EXPECT_EQ(got.code, 0);
    EXPECT_EQ(got.out,
              "configuration is fine: /a.yaml\n"
              "postgres listens on [::1]:6432\n"
              "postgres listens on unix:/run/sluice\n"
              "key-value listens on 127.0.0.1:6380\n"
              "monitoring does not listen\n"
              "warning: gateway: the HTTP gateway is not part of this version; the section is "
              "ignored\n");
    EXPECT_EQ(got.err, "");
    EXPECT_FALSE(process.served);
}

TEST(cli, check_prints_where_the_key_value_port_listens) {
    fake_process process;
    process.files = {{"/a.yaml",
                      "kv: {listen: ['0.0.0.0:7000', '[::1]:6380']}\n"
                      "postgres: {databases: {a: }}"}};
    auto got = process.run({"check", "--config", "/a.yaml"});
    EXPECT_EQ(got.code, 0);
    EXPECT_NE(got.out.find("key-value listens on 0.0.0.0:7000\nkey-value listens on [::1]:6380\n"),
              std::string::npos)
        << got.out;
    EXPECT_NE(got.out.find("warning: kv.listen: 0.0.0.0:7000"), std::string::npos) << got.out;
    process.files = {{"/a.yaml", "kv: {listen: []}\npostgres: {databases: {a: }}"}};
    got = process.run({"check", "--config", "/a.yaml"});
    EXPECT_NE(got.out.find("key-value does not listen\n"), std::string::npos) << got.out;
    EXPECT_EQ(got.out.find("warning"), std::string::npos) << got.out;
}

TEST(cli, check_of_database_url_alone_does_not_show_it) {
    fake_process process;
    process.variables = {{"DATABASE_URL", "postgres://u:hunter2@db/app"}};
    const auto got = process.run({"check"});
    EXPECT_EQ(got.code, 0);
    EXPECT_NE(got.out.find("127.0.0.1:6432"), std::string::npos);
    EXPECT_NE(got.out.find("key-value listens on 127.0.0.1:6380\n"), std::string::npos);
    EXPECT_EQ(got.out.find("hunter2"), std::string::npos);
}

TEST(cli, check_finds_tls_files_that_cannot_be_read) {
    fake_process process;
    process.files = {{"/a.yaml", "postgres: {tls: {mode: require, certificate: /c, key: /k}}"},
                     {"/c", "PEM"}};
    const auto got = process.run({"check", "--config", "/a.yaml"});
    EXPECT_EQ(got.code, 2);
    EXPECT_NE(got.err.find("postgres.tls.key"), std::string::npos) << got.err;
    process.files["/k"] = "PEM";
    EXPECT_EQ(process.run({"check", "--config", "/a.yaml"}).code, 0);
}

TEST(cli, check_finds_tls_files_of_the_key_value_port_that_cannot_be_read) {
    fake_process process;
    process.files = {{"/a.yaml", "kv: {tls: {mode: require, certificate: /c, key: /k}}"},
                     {"/k", "PEM"}};
    const auto got = process.run({"check", "--config", "/a.yaml"});
    EXPECT_EQ(got.code, 2);
    EXPECT_NE(got.err.find("kv.tls.certificate"), std::string::npos) << got.err;
    process.files["/c"] = "PEM";
    EXPECT_EQ(process.run({"check", "--config", "/a.yaml"}).code, 0);
    process.files = {{"/a.yaml", "kv: {listen: [], tls: {certificate: /c, key: /k}}"}};
    EXPECT_EQ(process.run({"check", "--config", "/a.yaml"}).code, 0);
}

TEST(cli, hash_password_prints_a_verifier_of_what_was_read) {
    fake_process process;
    process.password = "hunter2";
    const auto got = process.run({"hash-password"});
    EXPECT_EQ(got.code, 0);
    EXPECT_EQ(got.out, "V(hunter2)\n");
    EXPECT_EQ(got.err, "");
}

TEST(cli, hash_password_without_a_password_exits_with_2) {
    for (const auto& given : {std::optional<std::string>{}, std::optional<std::string>{""}}) {
        fake_process process;
        process.password = given;
        const auto got = process.run({"hash-password"});
        EXPECT_EQ(got.code, 2);
        EXPECT_EQ(got.out, "");
    }
}

TEST(cli, kv_usage_errors_exit_with_2) {
    const std::vector<std::vector<std::string>> all{{"kv"},
                                                    {"kv", "export", "--all", "--project", "1"},
                                                    {"kv", "export", "--format", "xml"},
                                                    {"kv", "import"},
                                                    {"kv", "restore"},
                                                    {"kv", "backup", "--directory", ""}};
    for (const auto& arguments : all) {
        const auto got = fake_process{}.run(arguments);
        EXPECT_EQ(got.code, 2);
        EXPECT_FALSE(got.err.empty());
    }
    const auto got = fake_process{}.run({"kv", "backup", "--directory", "/nowhere/at/all"});
    EXPECT_EQ(got.code, 2);
    EXPECT_NE(got.err.find("kv.backup.directory"), std::string::npos) << got.err;
}

TEST(cli, kv_in_a_directory_that_is_not_there_fails) {
    const auto got = fake_process{}.run({"kv", "stats", "--directory", "/nowhere/at/all"});
    EXPECT_EQ(got.code, 1);
    EXPECT_NE(got.err.find("/nowhere/at/all"), std::string::npos) << got.err;
}

}  // namespace
}  // namespace sluice::daemon
