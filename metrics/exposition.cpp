#include "metrics/exposition.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "metrics/utf8.hpp"

namespace sluice::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using label_list = std::vector<ClientMetric::Label>;

struct pool_counter_row {
    const char* name;
    const char* help;
    counter pool_counters::*member;
};

constexpr std::array pool_counter_rows{
    pool_counter_row{"sluice_queries_total",
                     "Queries completed: simple queries and extended-protocol batches.",
                     &pool_counters::queries},
    pool_counter_row{"sluice_transactions_total",
                     "Transactions completed: times that a client gave a server connection back.",
                     &pool_counters::transactions},
    pool_counter_row{"sluice_client_received_bytes_total", "Bytes received from clients.",
                     &pool_counters::client_bytes_received},
    pool_counter_row{"sluice_client_sent_bytes_total", "Bytes sent to clients.",
                     &pool_counters::client_bytes_sent},
    pool_counter_row{"sluice_server_received_bytes_total", "Bytes received from PostgreSQL.",
                     &pool_counters::server_bytes_received},
    pool_counter_row{"sluice_server_sent_bytes_total", "Bytes sent to PostgreSQL.",
                     &pool_counters::server_bytes_sent},
    pool_counter_row{"sluice_prepared_statement_hits_total",
                     "Uses of a prepared statement that the server connection already had.",
                     &pool_counters::statement_hits},
    pool_counter_row{
        "sluice_prepared_statement_misses_total",
        "Uses of a prepared statement that had to be prepared on the server connection.",
        &pool_counters::statement_misses},
    pool_counter_row{"sluice_prepared_statement_evictions_total",
                     "Prepared statements closed on a server connection to stay within "
                     "max_prepared_statements.",
                     &pool_counters::statement_evictions},
    pool_counter_row{"sluice_prepared_statement_replans_total",
                     "Batches prepared anew and run again after a schema change made a cached plan "
                     "unusable.",
                     &pool_counters::statement_replans},
    pool_counter_row{"sluice_upstream_logins_total", "Successful logins to PostgreSQL.",
                     &pool_counters::upstream_logins},
    pool_counter_row{"sluice_upstream_login_failures_total",
                     "Attempts to connect or log in to PostgreSQL that failed.",
                     &pool_counters::upstream_login_failures},
    pool_counter_row{"sluice_upstream_cancels_total", "Cancel requests sent to PostgreSQL.",
                     &pool_counters::cancels},
    pool_counter_row{"sluice_rescued_connections_total",
                     "Server connections kept although their client left in a transaction.",
                     &pool_counters::rescued_connections},
    pool_counter_row{"sluice_moved_connections_total",
                     "Server connections handed to another worker thread.",
                     &pool_counters::moved_connections},
};

struct pool_histogram_row {
    const char* name;
    const char* help;
    histogram pool_counters::*member;
};

constexpr std::array pool_histogram_rows{
    pool_histogram_row{"sluice_query_duration_seconds",
                       "Time from a query's arrival until PostgreSQL was ready for the next one.",
                       &pool_counters::query_seconds},
    pool_histogram_row{"sluice_transaction_duration_seconds",
                       "Time that a client held a server connection.",
                       &pool_counters::transaction_seconds},
    pool_histogram_row{"sluice_wait_duration_seconds",
                       "Time that a client waited for a server connection.",
                       &pool_counters::wait_seconds},
    pool_histogram_row{"sluice_upstream_login_duration_seconds",
                       "Time to connect and log in to PostgreSQL.", &pool_counters::login_seconds},
};

struct worker_counter_row {
    const char* name;
    const char* help;
    counter worker_counters::*member;
};

constexpr std::array worker_counter_rows{
    worker_counter_row{"sluice_clients_accepted_total", "Client connections accepted.",
                       &worker_counters::clients_accepted},
    worker_counter_row{"sluice_clients_refused_total",
                       "Client connections refused because of a limit or a shutdown.",
                       &worker_counters::clients_refused},
    worker_counter_row{
        "sluice_client_login_failures_total",
        "Clients that did not log in: wrong credentials, unknown database, time-out.",
        &worker_counters::client_login_failures},
    worker_counter_row{"sluice_cancel_requests_total", "Cancel requests received from clients.",
                       &worker_counters::cancel_requests},
    worker_counter_row{"sluice_internal_errors_total",
                       "Connections closed because of a bug in sluice. Please report it.",
                       &worker_counters::internal_errors},
};

struct error_kind_row {
    error_class kind;
    const char* name;
    const char* sqlstate_class;
};

constexpr std::array error_kind_rows{
    error_kind_row{error_class::connection, "connection", "08"},
    error_kind_row{error_class::authorization, "authorization", "28"},
    error_kind_row{error_class::resources, "resources", "53"},
    error_kind_row{error_class::intervention, "intervention", "57"},
    error_kind_row{error_class::syntax, "syntax", "42"},
    error_kind_row{error_class::integrity, "integrity", "23"},
    error_kind_row{error_class::transaction, "transaction", "25,40"},
    error_kind_row{error_class::other, "other", "other"},
};
static_assert(error_kind_rows.size() ==
              std::tuple_size_v<decltype(pool_counters::errors_by_class)>);

double as_double(std::uint64_t value) {
    return static_cast<double>(value);
}

std::string label_value(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const auto length = utf8_length(text);
        if (length == 0) {
            const auto byte = static_cast<unsigned char>(text.front());
            out += {'\\', 'x', digits[byte >> 4], digits[byte & 15U]};
        } else {
            out += text.substr(0, length);
        }
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return out;
}

// Pools by their labels. A page with the same series twice is rejected as a whole, so pools whose
// labels come out equal are added up.
using pool_key = std::pair<std::string, std::string>;
using pool_table = std::map<pool_key, pool_snapshot>;

void add(pool_snapshot& sum, const pool_snapshot& pool) {
    sum.workers.insert(sum.workers.end(), pool.workers.begin(), pool.workers.end());
    sum.size_limit += pool.size_limit;
    sum.reserve += pool.reserve;
    sum.connections.active += pool.connections.active;
    sum.connections.idle += pool.connections.idle;
    sum.connections.login += pool.connections.login;
    sum.connections.closing += pool.connections.closing;
    sum.connections.cancelling += pool.connections.cancelling;
    sum.clients.active += pool.clients.active;
    sum.clients.waiting += pool.clients.waiting;
    sum.clients.idle += pool.clients.idle;
    sum.oldest_wait_seconds = std::max(sum.oldest_wait_seconds, pool.oldest_wait_seconds);
}

pool_table by_labels(const std::vector<pool_snapshot>& pools) {
    pool_table table;
    for (const auto& pool : pools) {
        add(table[{label_value(pool.database), label_value(pool.user)}], pool);
    }
    return table;
}

// Collects the families in the order in which they are printed.
class page {
  public:
    explicit page(const snapshot& state)
        : process_(state.process), pools_(by_labels(state.pools)) {}

    std::string text() && {
        about_pools();
        about_traffic();
        about_errors();
        about_clients();
        about_process();
        return prometheus::TextSerializer{}.Serialize(families_);
    }

  private:
    MetricFamily& family(const char* name, const char* help, MetricType type) {
        return families_.emplace_back(MetricFamily{name, help, type, {}});
    }

    static void sample(MetricFamily& to, label_list labels, double value) {
        ClientMetric metric;
        metric.label = std::move(labels);
        if (to.type == MetricType::Counter) {
            metric.counter.value = value;
        } else {
            metric.gauge.value = value;
        }
        to.metric.push_back(std::move(metric));
    }

    static label_list labels_of(const pool_key& key) {
        return {{"database", key.first}, {"user", key.second}};
    }
    static label_list labels_of(const pool_key& key, const char* state) {
        return {{"database", key.first}, {"user", key.second}, {"state", state}};
    }

    template <class Value>
    void pool_gauge(const char* name, const char* help, Value value) {
        auto& gauge = family(name, help, MetricType::Gauge);
        for (const auto& [key, pool] : pools_)
            sample(gauge, labels_of(key), value(pool));
    }

    void process_value(const char* name, const char* help, MetricType type,
                       std::optional<double> value) {
        auto& one = family(name, help, type);
        if (value) sample(one, {}, *value);
    }

    std::uint64_t over_workers(counter worker_counters::*member) const {
        std::uint64_t sum = 0;
        for (const auto* block : process_.workers)
            sum += (block->*member).value();
        return sum;
    }

    void about_pools();
    void about_traffic();
    void about_errors();
    void about_clients();
    void about_process();
    void histograms();

    const process_snapshot& process_;
    pool_table pools_;
    std::vector<MetricFamily> families_;
};

void page::about_pools() {
    auto& connections = family("sluice_pool_connections",
                               "Server connections of a pool by state: active (serving a client), "
                               "idle, login, closing, cancelling.",
                               MetricType::Gauge);
    for (const auto& [key, pool] : pools_) {
        const auto& now = pool.connections;
        sample(connections, labels_of(key, "active"), as_double(now.active));
        sample(connections, labels_of(key, "idle"), as_double(now.idle));
        sample(connections, labels_of(key, "login"), as_double(now.login));
        sample(connections, labels_of(key, "closing"), as_double(now.closing));
        sample(connections, labels_of(key, "cancelling"), as_double(now.cancelling));
    }
    pool_gauge("sluice_pool_size", "Server connections that a pool may have (pool_size).",
               [](const pool_snapshot& pool) { return as_double(pool.size_limit); });
    pool_gauge("sluice_pool_reserve_size",
               "Server connections that a pool may have beyond its size when clients wait too long "
               "(reserve_pool_size).",
               [](const pool_snapshot& pool) { return as_double(pool.reserve); });
    pool_gauge("sluice_pool_utilization_ratio",
               "Share of the pool size that is in use: connections that are not idle, divided by "
               "the size. Above 1 while the reserve is used.",
               [](const pool_snapshot& pool) {
                   const auto& now = pool.connections;
                   const auto busy = now.active + now.login + now.closing + now.cancelling;
                   return pool.size_limit == 0 ? 0.0 : as_double(busy) / as_double(pool.size_limit);
               });
    pool_gauge("sluice_pool_waiting_clients", "Clients that wait for a server connection.",
               [](const pool_snapshot& pool) { return as_double(pool.clients.waiting); });
    pool_gauge("sluice_pool_oldest_wait_seconds",
               "How long the client that has waited longest has been waiting; 0 if none waits.",
               [](const pool_snapshot& pool) { return pool.oldest_wait_seconds; });
}

void page::about_traffic() {
    for (const auto& row : pool_counter_rows) {
        auto& total = family(row.name, row.help, MetricType::Counter);
        for (const auto& [key, pool] : pools_) {
            std::uint64_t sum = 0;
            for (const auto* block : pool.workers)
                sum += (block->*row.member).value();
            sample(total, labels_of(key), as_double(sum));
        }
    }
    histograms();
}

void page::histograms() {
    for (const auto& row : pool_histogram_rows) {
        auto& durations = family(row.name, row.help, MetricType::Histogram);
        for (const auto& [key, pool] : pools_) {
            ClientMetric metric;
            metric.label = labels_of(key);
            // Every bucket is read once and the count is their sum, so that the sample is
            // consistent in itself while the workers go on counting.
            std::uint64_t cumulative = 0;
            for (std::size_t i = 0; i < histogram::buckets; ++i) {
                for (const auto* block : pool.workers)
                    cumulative += (block->*row.member).count(i);
                if (i + 1 < histogram::buckets) {
                    metric.histogram.bucket.push_back({cumulative, histogram::bound(i)});
                }
            }
            metric.histogram.sample_count = cumulative;
            for (const auto* block : pool.workers) {
                metric.histogram.sample_sum += (block->*row.member).sum_seconds();
            }
            durations.metric.push_back(std::move(metric));
        }
    }
}

void page::about_errors() {
    auto& errors =
        family("sluice_errors_total",
               "Errors sent to clients, PostgreSQL's own and sluice's, by kind and class "
               "of the SQLSTATE.",
               MetricType::Counter);
    for (const auto& [key, pool] : pools_) {
        for (const auto& row : error_kind_rows) {
            std::uint64_t sum = 0;
            for (const auto* block : pool.workers) {
                sum += block->errors_by_class[static_cast<std::size_t>(row.kind)].value();
            }
            auto labels = labels_of(key);
            labels.push_back({"kind", row.name});
            labels.push_back({"sqlstate_class", row.sqlstate_class});
            sample(errors, std::move(labels), as_double(sum));
        }
    }
    auto& broken = family("sluice_protocol_errors_total",
                          "Connections closed because the peer (client or server) sent messages "
                          "that break the protocol.",
                          MetricType::Counter);
    sample(broken, {{"peer", "client"}},
           as_double(over_workers(&worker_counters::protocol_errors)));
    sample(broken, {{"peer", "server"}},
           as_double(over_workers(&worker_counters::server_protocol_errors)));
}

void page::about_clients() {
    auto& clients = family("sluice_client_connections",
                           "Logged-in clients by state: active (holds a server connection), "
                           "waiting (for one), idle.",
                           MetricType::Gauge);
    for (const auto& [key, pool] : pools_) {
        sample(clients, labels_of(key, "active"), as_double(pool.clients.active));
        sample(clients, labels_of(key, "waiting"), as_double(pool.clients.waiting));
        sample(clients, labels_of(key, "idle"), as_double(pool.clients.idle));
    }
    process_value("sluice_client_connections_open",
                  "Client connections open in all, those that are logging in included.",
                  MetricType::Gauge, as_double(process_.client_connections));
    process_value("sluice_client_connections_max",
                  "Client connections that are allowed (max_client_conn).", MetricType::Gauge,
                  as_double(process_.max_client_conn));
    process_value("sluice_client_connections_logging_in", "Clients that have not logged in yet.",
                  MetricType::Gauge, as_double(process_.clients_logging_in));
    for (const auto& row : worker_counter_rows) {
        process_value(row.name, row.help, MetricType::Counter, as_double(over_workers(row.member)));
    }
}

void page::about_process() {
    const auto dropped =
        process_.log_lines_dropped + over_workers(&worker_counters::log_lines_dropped);
    process_value("sluice_log_lines_dropped_total",
                  "Log lines left out: too many of one kind, or the log was not read fast enough.",
                  MetricType::Counter, as_double(dropped));
    sample(family("sluice_build_info", "Always 1; the label is the version that runs.",
                  MetricType::Gauge),
           {{"version", label_value(process_.version)}}, 1);
    const auto& usage = process_.usage;
    process_value("process_cpu_seconds_total", "Processor time used, user and system.",
                  MetricType::Counter, usage.cpu_seconds);
    process_value("process_resident_memory_bytes", "Memory in use (resident set size).",
                  MetricType::Gauge, usage.resident_bytes);
    process_value("process_virtual_memory_bytes", "Address space in use.", MetricType::Gauge,
                  usage.virtual_bytes);
    process_value("process_open_fds", "File descriptors open.", MetricType::Gauge, usage.open_fds);
    process_value("process_max_fds", "File descriptors that may be open.", MetricType::Gauge,
                  usage.max_fds);
    process_value("process_threads", "Threads of the process.", MetricType::Gauge, usage.threads);
    process_value("process_start_time_seconds", "Start of the process, seconds since the epoch.",
                  MetricType::Gauge, usage.start_time_seconds);
}

}  // namespace

std::string render(const snapshot& state) {
    return page(state).text();
}

}  // namespace sluice::metrics
