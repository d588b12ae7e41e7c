// The families of the key-value port.
#include <gtest/gtest.h>

#include "metrics/exposition.hpp"
#include "unit/metrics/exposition_support.hpp"

namespace sluice::metrics::test {
namespace {

using text = std::optional<std::string>;

TEST(exposition_kv, page_says_nothing_of_a_port_that_is_off) {
    sample_daemon daemon;
    EXPECT_NE(render(daemon.state).find("sluice_kv_"), std::string::npos);
    daemon.state.kv.reset();
    EXPECT_EQ(render(daemon.state).find("sluice_kv_"), std::string::npos);
}

TEST(exposition_kv, every_number_has_its_own_series) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const std::map<std::string, std::string> expected{
        {"clients_accepted_total", "22"},
        {"clients_refused_total", "22"},
        {"auth_failures_total", "23"},
        {"protocol_errors_total", "24"},
        {"received_bytes_total", "25"},
        {"sent_bytes_total", "26"},
        {"keyspace_hits_total", "27"},
        {"keyspace_misses_total", "28"},
        {"expired_keys_total", "40"},
        {"misconf_errors_total", "30"},
        {"client_connections", "31"},
        {"client_connections_max", "32"},
        {"projects_in_memory", "33"},
        {"keys", "34"},
        {"stored_bytes", "35"},
        {"large_projects", "36"},
        {"damaged_projects", "37"},
        {"project_loads_total", "38"},
        {"project_unloads_total", "39"},
        {"writes_refused", "1"},
        {"log_bytes", "41"},
        {"log_records_total", "42"},
        {"log_written_bytes_total", "29"},
        {"log_errors_total", "43"},
        {"checkpoint_duration_seconds_count", "44"},
        {"checkpoint_duration_seconds_sum", "45.5"},
        {"checkpoint_failures_total", "46"},
        {"checkpoint_last_success_timestamp_seconds", "1700000000.25"},
        {"checkpoint_last_size_bytes", "47"},
        {"backup_last_success_timestamp_seconds", "1700000001"},
        {"backup_last_size_bytes", "48"},
        {"backup_failures_total", "49"},
        {"backups_total", "50"}};
    for (const auto& [name, value] : expected) {
        EXPECT_EQ(value_of(page, "sluice_kv_" + name), text(value)) << name;
    }
}

TEST(exposition_kv, commands_are_added_up_over_workers_by_name) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const auto of = [&page](const std::string& name, const std::string& command) {
        return value_of(page, "sluice_kv_" + name + "{command=\"" + command + "\"}");
    };
    EXPECT_EQ(of("commands_total", "get"), text("2"));
    EXPECT_EQ(of("command_errors_total", "get"), text("3"));
    const auto seconds = of("command_seconds_total", "get");
    ASSERT_TRUE(seconds);
    EXPECT_NEAR(std::stod(*seconds), 1.00001, 1e-9);
    EXPECT_EQ(of("commands_total", "config|set"), text("1"));
    EXPECT_EQ(of("command_errors_total", "config|set"), text("0"));
    EXPECT_EQ(of("commands_total", ""), std::nullopt);
}

TEST(exposition_kv, durations_of_all_commands_are_one_histogram) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const auto bucket = [&page](const std::string& bound) {
        return value_of(page, "sluice_kv_command_duration_seconds_bucket{le=\"" + bound + "\"}");
    };
    EXPECT_EQ(bucket("1.6e-05"), text("1"));
    EXPECT_EQ(bucket("0.000128"), text("2"));
    EXPECT_EQ(bucket("+Inf"), text("3"));
    EXPECT_EQ(value_of(page, "sluice_kv_command_duration_seconds_count"), text("3"));
}

TEST(exposition_kv, fsyncs_are_a_histogram_that_is_empty_without_a_log) {
    sample_daemon daemon;
    EXPECT_EQ(value_of(render(daemon.state), "sluice_kv_log_fsync_duration_seconds_count"),
              text("1"));
    daemon.state.kv->log_fsync_seconds = nullptr;
    EXPECT_EQ(value_of(render(daemon.state), "sluice_kv_log_fsync_duration_seconds_count"),
              text("0"));
}

TEST(exposition_kv, names_beyond_the_counters_are_left_out) {
    sample_daemon daemon;
    daemon.state.kv->commands.assign(kv_counters::most_commands + 1, "");
    daemon.state.kv->commands.back() = "beyond";
    EXPECT_EQ(render(daemon.state).find("\"beyond\""), std::string::npos);
}

TEST(exposition_kv, command_beyond_the_counters_goes_to_the_last) {
    kv_counters block;
    block.count(kv_counters::most_commands + 7, 5, true);
    block.count_rejected(kv_counters::most_commands);
    EXPECT_EQ(block.commands.back().calls.value(), 1U);
    EXPECT_EQ(block.commands.back().failures.value(), 1U);
    EXPECT_EQ(block.commands.back().rejections.value(), 1U);
    EXPECT_EQ(block.command_seconds.count(0), 1U);
}

}  // namespace
}  // namespace sluice::metrics::test
