// The plain numbers of the key-value port in the order of the page: name, meaning, where they come
// from. Families with labels and histograms are in exposition.cpp, the only one that includes this.
#pragma once

#include <array>
#include <cstdint>

#include "metrics/counters.hpp"
#include "metrics/exposition.hpp"

namespace sluice::metrics {

enum class kv_row_kind { counter, gauge };

struct kv_row {
    const char* name;
    const char* help;
    kv_row_kind kind;
    double (*value)(const kv_snapshot&);
};

template <counter kv_counters::*Member>
double kv_sum(const kv_snapshot& now) {
    std::uint64_t sum = 0;
    for (const auto* block : now.workers)
        sum += (block->*Member).value();
    return static_cast<double>(sum);
}

template <auto Member>
double kv_figure(const kv_snapshot& now) {
    return static_cast<double>(now.*Member);
}

// Counted by workers, kept by the store.
template <counter kv_counters::*Member>
constexpr kv_row kv_worker_row(const char* name, const char* help) {
    return {name, help, kv_row_kind::counter, kv_sum<Member>};
}
template <auto Member>
constexpr kv_row kv_total_row(const char* name, const char* help) {
    return {name, help, kv_row_kind::counter, kv_figure<Member>};
}
template <auto Member>
constexpr kv_row kv_gauge_row(const char* name, const char* help) {
    return {name, help, kv_row_kind::gauge, kv_figure<Member>};
}

using kc = kv_counters;
using ks = kv_snapshot;

constexpr std::array kv_port_rows{
    kv_gauge_row<&ks::client_connections>("sluice_kv_client_connections",
                                          "Client connections open on the key-value port."),
    kv_gauge_row<&ks::max_clients>("sluice_kv_client_connections_max",
                                   "Client connections that are allowed (kv.maxclients)."),
    kv_worker_row<&kc::clients_accepted>("sluice_kv_clients_accepted_total",
                                         "Client connections accepted."),
    kv_worker_row<&kc::clients_refused>(
        "sluice_kv_clients_refused_total",
        "Client connections refused because of kv.maxclients, protected mode or a shutdown."),
    kv_worker_row<&kc::auth_failures>("sluice_kv_auth_failures_total",
                                      "Logins refused because of a wrong user or password."),
    kv_worker_row<&kc::protocol_errors>(
        "sluice_kv_protocol_errors_total",
        "Connections closed because the client sent bytes that break the protocol."),
    kv_worker_row<&kc::bytes_received>("sluice_kv_received_bytes_total",
                                       "Bytes received from clients."),
    kv_worker_row<&kc::bytes_sent>("sluice_kv_sent_bytes_total", "Bytes sent to clients."),
};

constexpr std::array kv_store_rows{
    kv_worker_row<&kc::hits>("sluice_kv_keyspace_hits_total",
                             "Keys that a reading command looked for and found."),
    kv_worker_row<&kc::misses>("sluice_kv_keyspace_misses_total",
                               "Keys that a reading command looked for and did not find."),
    kv_total_row<&ks::expired_keys>("sluice_kv_expired_keys_total",
                                    "Keys removed because their time was over."),
    kv_gauge_row<&ks::projects>("sluice_kv_projects_in_memory", "Projects that are in memory."),
    kv_gauge_row<&ks::keys>("sluice_kv_keys", "Keys of the projects in memory."),
    kv_gauge_row<&ks::stored_bytes>("sluice_kv_stored_bytes",
                                    "Bytes of keys and values of the projects in memory."),
    kv_gauge_row<&ks::large_projects>(
        "sluice_kv_large_projects",
        "Projects in memory that are larger than kv.project_size_warning."),
    kv_gauge_row<&ks::damaged_projects>(
        "sluice_kv_damaged_projects",
        "Projects whose file was found damaged and set aside; they are refused."),
    kv_total_row<&ks::project_loads>("sluice_kv_project_loads_total", "Projects read into memory."),
    kv_total_row<&ks::project_unloads>("sluice_kv_project_unloads_total",
                                       "Projects that left memory."),
    kv_gauge_row<&ks::writes_refused>(
        "sluice_kv_writes_refused",
        "1 while writes are refused because the disk failed or is full, else 0."),
    kv_worker_row<&kc::refused_writes>(
        "sluice_kv_misconf_errors_total",
        "Commands answered with MISCONF because the disk failed or was full."),
    kv_gauge_row<&ks::log_bytes>("sluice_kv_log_bytes",
                                 "Size of the write-ahead log's files on the disk."),
    kv_total_row<&ks::log_records>("sluice_kv_log_records_total",
                                   "Records written to the write-ahead log."),
    kv_total_row<&ks::log_written_bytes>("sluice_kv_log_written_bytes_total",
                                         "Bytes written to the write-ahead log."),
    kv_total_row<&ks::log_errors>(
        "sluice_kv_log_errors_total",
        "Times that the log could not be written, reserved on the disk or brought to it (fsync)."),
};

constexpr std::array kv_copy_rows{
    kv_gauge_row<&ks::checkpoint_last_success>(
        "sluice_kv_checkpoint_last_success_timestamp_seconds",
        "When a project's file was last written, seconds since the epoch; 0 if not yet."),
    kv_gauge_row<&ks::checkpoint_last_bytes>("sluice_kv_checkpoint_last_size_bytes",
                                             "Size of the project file that was written last."),
    kv_total_row<&ks::checkpoint_failures>("sluice_kv_checkpoint_failures_total",
                                           "Project files that could not be written."),
    kv_total_row<&ks::backups>("sluice_kv_backups_total", "Backups completed."),
    kv_gauge_row<&ks::backup_last_success>(
        "sluice_kv_backup_last_success_timestamp_seconds",
        "When the last backup was complete, seconds since the epoch; 0 if there was none yet."),
    kv_gauge_row<&ks::backup_last_bytes>("sluice_kv_backup_last_size_bytes",
                                         "Size of the last complete backup."),
    kv_total_row<&ks::backup_failures>("sluice_kv_backup_failures_total",
                                       "Backups that could not be completed."),
};

}  // namespace sluice::metrics
