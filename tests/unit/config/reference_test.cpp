// docs/configuration.md and docs/sluice.example.yaml against the schema table in the code.
#include "config/reference.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <vector>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

std::string file_of_docs(const std::string& name) {
    std::ifstream in(std::string(SLUICE_SOURCE_DIR) + "/docs/" + name);
    EXPECT_TRUE(in.good()) << name;
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(reference, documentation_has_every_row_of_the_code_in_its_order_and_no_other) {
    std::istringstream page(file_of_docs("configuration.md"));
    std::vector<std::string> documented;
    for (std::string line; std::getline(page, line);) {
        if (line.starts_with("| `")) documented.push_back(line);
    }
    const auto rows = reference();
    documented.resize(std::max(documented.size(), rows.size()));
    for (std::size_t i = 0; i < documented.size(); ++i) {
        EXPECT_EQ(documented[i], i < rows.size() ? markdown_line(rows[i]) : "") << "row " << i;
    }
}

TEST(reference, rows_are_complete_and_fit_a_table) {
    std::set<std::string> keys;
    for (const auto& row : reference()) {
        EXPECT_TRUE(keys.insert(row.key).second) << row.key;
        EXPECT_FALSE(row.type.empty()) << row.key;
        EXPECT_FALSE(row.default_value.empty()) << row.key;
        EXPECT_TRUE(row.text.ends_with('.')) << row.key;
        EXPECT_EQ(markdown_line(row).find('\n'), std::string::npos) << row.key;
        EXPECT_EQ(row.text.find('|'), std::string_view::npos) << row.key;
        EXPECT_EQ(row.unit.empty(), row.type != "duration" && !row.type.starts_with("number"))
            << row.key;
    }
}

TEST(reference, defaults_of_the_contract_hold) {
    std::map<std::string, std::string> defaults;
    for (const auto& row : reference())
        defaults[row.key] = row.default_value;
    EXPECT_EQ(defaults.at("workers"), "auto");
    EXPECT_EQ(defaults.at("log.level"), "info");
    EXPECT_EQ(defaults.at("log.format"), "text");
    EXPECT_EQ(defaults.at("postgres.listen"), "127.0.0.1:6432");
    EXPECT_EQ(defaults.at("postgres.auth_type"), "scram-sha-256");
    EXPECT_EQ(defaults.at("postgres.max_client_conn"), "10000");
    EXPECT_EQ(defaults.at("postgres.pool_mode"), "transaction");
    EXPECT_EQ(defaults.at("postgres.pool_size"), "20");
    EXPECT_EQ(defaults.at("postgres.min_pool_size"), "0");
    EXPECT_EQ(defaults.at("postgres.reserve_pool_size"), "0");
    EXPECT_EQ(defaults.at("postgres.server_idle_timeout"), "60s");
    EXPECT_EQ(defaults.at("postgres.server_lifetime"), "1h");
    EXPECT_EQ(defaults.at("postgres.server_connect_timeout"), "10s");
    EXPECT_EQ(defaults.at("postgres.query_wait_timeout"), "120s");
    EXPECT_EQ(defaults.at("postgres.max_prepared_statements"), "200");
    EXPECT_EQ(defaults.at("postgres.tls.mode"), "disable");
    EXPECT_EQ(defaults.at("kv.listen"), "127.0.0.1:6380");
    EXPECT_EQ(defaults.at("kv.directory"), ".replitdb");
    EXPECT_EQ(defaults.at("kv.fsync"), "everysec");
    EXPECT_EQ(defaults.at("kv.max_project_size"), "50MiB");
    EXPECT_EQ(defaults.at("kv.project_size_warning"), "1MiB");
    EXPECT_EQ(defaults.at("kv.users"), "none");
    EXPECT_EQ(defaults.at("monitoring.listen"), "127.0.0.1:9127");
}

// A field of the schema that has no row could not be set, or would not be seen by a reload. Fails
// to compile or to match when schema.hpp gains a field: then add its row.
TEST(reference, table_has_a_row_for_each_field_of_the_schema) {
    EXPECT_EQ(global_fields().size(), 85U);
    EXPECT_EQ(database_fields().size(), 11U);
    EXPECT_EQ(user_fields().size(), 12U);
    EXPECT_EQ(kv_user_fields().size(), 2U);  // three members: projects is two of them
    [[maybe_unused]] const auto& [workers, control_socket, upgrade_timeout, log, postgres, kv,
                                  monitoring] = settings{};
    [[maybe_unused]] const auto& [level, format] = log;
    [[maybe_unused]] const auto& [mode, certificate, key, client_ca] = postgres.tls;
    [[maybe_unused]] const auto& [url, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10] =
        database_settings{};
    [[maybe_unused]] const auto& [password, u1, u2, u3, u4, u5, u6, u7, u8, u9, u10, u11] =
        user_settings{};
    [[maybe_unused]] const auto& [p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15,
                                  p16, p17, p18, p19, p20, p21, p22, p23, p24, p25, p26, p27, p28,
                                  p29, p30, p31, p32, p33, p34, p35, p36, p37, p38, p39, tls,
                                  databases, users, admin_users, stats_users] = postgres;
    [[maybe_unused]] const auto& [k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15,
                                  k16, k17, k18, k19, k20, k21, kv_tls, kv_users, backup] = kv;
    [[maybe_unused]] const auto& [directory, every, keep] = backup;
    EXPECT_EQ(monitoring_user_fields().size(), 1U);
    [[maybe_unused]] const auto& [m1, token, anonymous, mon_tls, mon_users] = monitoring;
    [[maybe_unused]] const auto& [mon_password] = monitoring_user_settings{};
    [[maybe_unused]] const auto& [kv_password, all_projects, projects] = kv_user_settings{};
}

TEST(reference, example_file_loads_without_a_warning) {
    const fake_world world{.variables = {{"DATABASE_URL", "postgres://u:p@db/app"},
                                         {"ALICE_PASSWORD", "secret"},
                                         {"CREDENTIALS_DIRECTORY", "/run/credentials"}},
                           .files = {{"/run/credentials/bob", "secret\n"}}};
    const auto out = load_text(file_of_docs("sluice.example.yaml"), "example", world.env());
    EXPECT_TRUE(out.warnings.empty());
    EXPECT_FALSE(out.settings.postgres.databases.empty());
    EXPECT_FALSE(out.settings.kv.users.empty());
}

}  // namespace
}  // namespace sluice::config
