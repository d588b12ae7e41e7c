#include "metrics/exposition.hpp"

#include <gtest/gtest.h>

#include "unit/metrics/exposition_support.hpp"

namespace sluice::metrics::test {
namespace {

using text = std::optional<std::string>;

TEST(exposition, counters_of_several_workers_are_added_up) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    EXPECT_EQ(value_of(page, R"(sluice_queries_total{database="app",user="alice"})"), text("12"));
    EXPECT_EQ(value_of(page, "sluice_log_lines_dropped_total"), text("42"));
    EXPECT_EQ(value_of(page, R"(sluice_protocol_errors_total{peer="client"})"), text("4"));
    EXPECT_EQ(value_of(page, R"(sluice_protocol_errors_total{peer="server"})"), text("0"));
}

TEST(exposition, connections_and_clients_are_shown_by_state) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const auto of = [&page](const std::string& name, const std::string& state) {
        return value_of(page, name + R"({database="app",user="alice",state=")" + state + "\"}");
    };
    EXPECT_EQ(of("sluice_pool_connections", "active"), text("4"));
    EXPECT_EQ(of("sluice_pool_connections", "idle"), text("11"));
    EXPECT_EQ(of("sluice_pool_connections", "login"), text("3"));
    EXPECT_EQ(of("sluice_pool_connections", "closing"), text("2"));
    EXPECT_EQ(of("sluice_pool_connections", "cancelling"), text("1"));
    EXPECT_EQ(of("sluice_client_connections", "active"), text("4"));
    EXPECT_EQ(of("sluice_client_connections", "waiting"), text("6"));
    EXPECT_EQ(of("sluice_client_connections", "idle"), text("90"));
}

TEST(exposition, pool_figures_come_from_the_snapshot) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const std::string labels = R"({database="app",user="alice"})";
    EXPECT_EQ(value_of(page, "sluice_pool_size" + labels), text("20"));
    EXPECT_EQ(value_of(page, "sluice_pool_reserve_size" + labels), text("5"));
    EXPECT_EQ(value_of(page, "sluice_pool_utilization_ratio" + labels), text("0.5"));
    EXPECT_EQ(value_of(page, "sluice_pool_waiting_clients" + labels), text("6"));
    EXPECT_EQ(value_of(page, "sluice_pool_oldest_wait_seconds" + labels), text("1.5"));
    EXPECT_EQ(value_of(page, "sluice_listening_clients" + labels), text("70"));
    EXPECT_EQ(value_of(page, "sluice_listen_connections" + labels), text("1"));
    EXPECT_EQ(value_of(page, "sluice_client_connections_open"), text("108"));
    EXPECT_EQ(value_of(page, "sluice_client_connections_max"), text("10000"));
    EXPECT_EQ(value_of(page, "sluice_client_connections_logging_in"), text("8"));
    EXPECT_EQ(value_of(page, R"(sluice_build_info{version="1.2.3"})"), text("1"));
}

TEST(exposition, pool_of_size_zero_has_no_utilization) {
    sample_daemon daemon;
    daemon.state.pools[0].size_limit = 0;
    EXPECT_EQ(value_of(render(daemon.state),
                       R"(sluice_pool_utilization_ratio{database="app",user="alice"})"),
              text("0"));
}

TEST(exposition, histogram_is_cumulative_in_seconds) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const std::string labels = R"({database="app",user="alice")";
    const auto bucket = [&](const std::string& bound) {
        return value_of(page,
                        "sluice_query_duration_seconds_bucket" + labels + ",le=\"" + bound + "\"}");
    };
    EXPECT_EQ(bucket("1.6e-05"), text("1"));
    EXPECT_EQ(bucket("6.4e-05"), text("1"));
    EXPECT_EQ(bucket("0.000128"), text("2"));
    EXPECT_EQ(bucket("33.554432"), text("2"));
    EXPECT_EQ(bucket("+Inf"), text("3"));
    EXPECT_EQ(value_of(page, "sluice_query_duration_seconds_count" + labels + "}"), text("3"));
    const auto sum = value_of(page, "sluice_query_duration_seconds_sum" + labels + "}");
    ASSERT_TRUE(sum);
    EXPECT_NEAR(std::stod(*sum), 60.00011, 1e-9);
}

TEST(exposition, errors_carry_kind_and_sqlstate_class) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const std::string series = R"(sluice_errors_total{database="app",user="alice",)";
    EXPECT_EQ(value_of(page, series + R"(kind="transaction",sqlstate_class="25,40"})"), text("3"));
    EXPECT_EQ(value_of(page, series + R"(kind="resources",sqlstate_class="53"})"), text("0"));
}

TEST(exposition, names_that_are_not_utf8_or_hold_quotes_are_escaped) {
    sample_daemon daemon;
    daemon.state.pools[0].database =
        "a\xFF"
        "b\xC3\xA9";
    daemon.state.pools[0].user = "x\"y\n\\";
    const auto page = render(daemon.state);
    EXPECT_NE(
        page.find("sluice_pool_size{database=\"a\\\\xffb\xC3\xA9\",user=\"x\\\"y\\n\\\\\"} 20"),
        std::string::npos);
}

TEST(exposition, pools_with_the_same_labels_are_one_series) {
    sample_daemon daemon;
    daemon.state.pools[0].database = "a\xFF";
    daemon.state.pools.push_back(daemon.state.pools[0]);
    daemon.state.pools[1].database = "a\\xff";
    const auto page = render(daemon.state);
    const std::string series = R"(sluice_pool_size{database="a\\xff",user="alice"})";
    EXPECT_EQ(value_of(page, series), text("40"));
    EXPECT_EQ(page.find(series), page.rfind(series));
}

TEST(exposition, certificates_end_by_listener) {
    const sample_daemon daemon;
    const auto page = render(daemon.state);
    const auto of = [&page](const std::string& listener) {
        const auto series = "sluice_tls_certificate_expiry_seconds{listener=\"" + listener + "\"}";
        return value_of(page, series);
    };
    EXPECT_EQ(of("postgres"), text("1800000000"));
    EXPECT_EQ(of("kv"), text("1900000000"));
    EXPECT_EQ(of("monitoring"), std::nullopt);
}

TEST(exposition, value_that_cannot_be_read_is_left_out) {
    sample_daemon daemon;
    daemon.state.process.usage = {};
    const auto page = render(daemon.state);
    EXPECT_EQ(value_of(page, "process_open_fds"), std::nullopt);
    EXPECT_NE(page.find("# TYPE process_open_fds gauge\n"), std::string::npos);
}

TEST(exposition, no_pool_at_all_renders_every_family) {
    const sample_daemon daemon;
    snapshot empty;
    empty.kv.emplace();
    std::set<std::string> with_pools, without;
    for (const auto& [name, family] : families_of(render(daemon.state)))
        with_pools.insert(name);
    for (const auto& [name, family] : families_of(render(empty)))
        without.insert(name);
    EXPECT_EQ(with_pools, without);
}

}  // namespace
}  // namespace sluice::metrics::test
