#include "metrics/exposition.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "metrics/kv_rows.hpp"
#include "metrics/pg_rows.hpp"
#include "metrics/utf8.hpp"

namespace sluice::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using label_list = std::vector<ClientMetric::Label>;

double as_double(std::uint64_t value) {
    return static_cast<double>(value);
}

// Pools by their labels. A page with the same series twice is rejected as a whole, so pools whose
// labels come out equal are added up.
using pool_key = std::pair<std::string, std::string>;
using pool_table = std::map<pool_key, pool_snapshot>;

void add(pool_snapshot& sum, const pool_snapshot& pool) {
    sum.workers.insert(sum.workers.end(), pool.workers.begin(), pool.workers.end());
    sum.size_limit += pool.size_limit;
    sum.reserve += pool.reserve;
    for (std::size_t i = 0; i < sum.pinned.size(); ++i)
        sum.pinned[i] += pool.pinned[i];
    sum.connections.active += pool.connections.active;
    sum.connections.idle += pool.connections.idle;
    sum.connections.login += pool.connections.login;
    sum.connections.closing += pool.connections.closing;
    sum.connections.cancelling += pool.connections.cancelling;
    sum.clients.active += pool.clients.active;
    sum.clients.waiting += pool.clients.waiting;
    sum.clients.idle += pool.clients.idle;
    sum.listening_clients += pool.listening_clients;
    sum.listen_connections += pool.listen_connections;
    sum.oldest_wait_seconds = std::max(sum.oldest_wait_seconds, pool.oldest_wait_seconds);
}

pool_table by_labels(const std::vector<pool_snapshot>& pools) {
    pool_table table;
    for (const auto& pool : pools) {
        add(table[{shown_text(pool.database), shown_text(pool.user)}], pool);
    }
    return table;
}

// Collects the families in the order in which they are printed.
class page {
  public:
    explicit page(const snapshot& state)
        : process_(state.process),
          certificates_(state.certificates),
          pools_(by_labels(state.pools)),
          kv_(state.kv) {}

    std::string text() && {
        about_pools();
        about_traffic();
        about_pins();
        about_errors();
        about_clients();
        if (kv_) about_kv(*kv_);
        about_certificates();
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
    void about_pins();
    void about_errors();
    void about_clients();
    void about_kv(const kv_snapshot& kv);
    void about_kv_commands(const kv_snapshot& kv);
    void about_certificates();
    void about_process();
    void histograms();

    static void add_buckets(MetricFamily& to, label_list labels,
                            const std::vector<const histogram*>& parts);
    template <class Rows>
    void kv_values(const kv_snapshot& kv, const Rows& rows);

    const process_snapshot& process_;
    const std::vector<certificate_snapshot>& certificates_;
    pool_table pools_;
    const std::optional<kv_snapshot>& kv_;
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
            std::vector<const histogram*> parts;
            for (const auto* block : pool.workers)
                parts.push_back(&(block->*row.member));
            add_buckets(durations, labels_of(key), parts);
        }
    }
}

// One sample: the parts added up.
void page::add_buckets(MetricFamily& to, label_list labels,
                       const std::vector<const histogram*>& parts) {
    ClientMetric metric;
    metric.label = std::move(labels);
    // Every bucket is read once and the count is their sum, so that the sample is consistent in
    // itself while the workers go on counting.
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < histogram::buckets; ++i) {
        for (const auto* part : parts)
            cumulative += part->count(i);
        if (i + 1 < histogram::buckets) {
            metric.histogram.bucket.push_back({cumulative, histogram::bound(i)});
        }
    }
    metric.histogram.sample_count = cumulative;
    for (const auto* part : parts)
        metric.histogram.sample_sum += part->sum_seconds();
    to.metric.push_back(std::move(metric));
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

void page::about_pins() {
    auto& pins = family("sluice_pins_total",
                        "Clients that began to keep their server connection between transactions.",
                        MetricType::Counter);
    for (const auto& [key, pool] : pools_) {
        for (std::size_t i = 0; i < pin_reason_names.size(); ++i) {
            std::uint64_t sum = 0;
            for (const auto* block : pool.workers)
                sum += block->pins[i].value();
            auto labels = labels_of(key);
            labels.push_back({"reason", std::string(pin_reason_names[i])});
            sample(pins, std::move(labels), as_double(sum));
        }
    }
    auto& pinned = family("sluice_pinned_clients",
                          "Clients that keep their server connection between transactions.",
                          MetricType::Gauge);
    for (const auto& [key, pool] : pools_) {
        for (std::size_t i = 0; i < pin_reason_names.size(); ++i) {
            auto labels = labels_of(key);
            labels.push_back({"reason", std::string(pin_reason_names[i])});
            sample(pinned, std::move(labels), as_double(pool.pinned[i]));
        }
    }
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
    pool_gauge("sluice_listening_clients",
               "Clients that listen through the connection that their pool shares for it.",
               [](const pool_snapshot& pool) { return as_double(pool.listening_clients); });
    pool_gauge("sluice_listen_connections",
               "Server connections open, outside of the pool size, for clients that listen.",
               [](const pool_snapshot& pool) { return as_double(pool.listen_connections); });
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

template <class Rows>
void page::kv_values(const kv_snapshot& kv, const Rows& rows) {
    for (const auto& row : rows) {
        process_value(row.name, row.help,
                      row.kind == kv_row_kind::counter ? MetricType::Counter : MetricType::Gauge,
                      row.value(kv));
    }
}

void page::about_kv(const kv_snapshot& kv) {
    kv_values(kv, kv_port_rows);
    about_kv_commands(kv);
    kv_values(kv, kv_store_rows);
    auto& fsyncs = family("sluice_kv_log_fsync_duration_seconds",
                          "Time to bring the log to the disk (fsync).", MetricType::Histogram);
    std::vector<const histogram*> parts;
    if (kv.log_fsync_seconds != nullptr) parts.push_back(kv.log_fsync_seconds);
    add_buckets(fsyncs, {}, parts);
    ClientMetric checkpoints;
    checkpoints.summary.sample_count = kv.checkpoints;
    checkpoints.summary.sample_sum = kv.checkpoint_seconds;
    family("sluice_kv_checkpoint_duration_seconds", "Time to write a project's file.",
           MetricType::Summary)
        .metric.push_back(std::move(checkpoints));
    kv_values(kv, kv_copy_rows);
}

void page::about_kv_commands(const kv_snapshot& kv) {
    using value = double (*)(const kv_counters::command_counters&);
    const auto by_command = [&](const char* name, const char* help, value get) {
        auto& total = family(name, help, MetricType::Counter);
        for (std::size_t i = 0; i < std::min(kv.commands.size(), kv_counters::most_commands); ++i) {
            if (kv.commands[i].empty()) continue;
            double sum = 0;
            for (const auto* block : kv.workers)
                sum += get(block->commands[i]);
            sample(total, {{"command", shown_text(kv.commands[i])}}, sum);
        }
    };
    by_command(
        "sluice_kv_commands_total", "Commands that ran, by name.",
        [](const kv_counters::command_counters& one) { return as_double(one.calls.value()); });
    by_command("sluice_kv_command_errors_total",
               "Commands answered with an error, by name: those that failed and those refused "
               "before they ran.",
               [](const kv_counters::command_counters& one) {
                   return as_double(one.failures.value() + one.rejections.value());
               });
    by_command("sluice_kv_command_seconds_total", "Time that commands took to run, by name.",
               [](const kv_counters::command_counters& one) {
                   return as_double(one.nanoseconds.value()) * 1e-9;
               });
    auto& durations =
        family("sluice_kv_command_duration_seconds",
               "Time that a command took to run, all commands together.", MetricType::Histogram);
    std::vector<const histogram*> parts;
    for (const auto* block : kv.workers)
        parts.push_back(&block->command_seconds);
    add_buckets(durations, {}, parts);
}

void page::about_certificates() {
    auto& ends =
        family("sluice_tls_certificate_expiry_seconds",
               "When the certificate in use ends, seconds since the epoch.", MetricType::Gauge);
    for (const auto& one : certificates_)
        sample(ends, {{"listener", one.listener}}, one.ends);
}

void page::about_process() {
    const auto dropped =
        process_.log_lines_dropped + over_workers(&worker_counters::log_lines_dropped);
    process_value("sluice_log_lines_dropped_total",
                  "Log lines left out: too many of one kind, or the log was not read fast enough.",
                  MetricType::Counter, as_double(dropped));
    sample(family("sluice_build_info", "Always 1; the label is the version that runs.",
                  MetricType::Gauge),
           {{"version", shown_text(process_.version)}}, 1);
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
