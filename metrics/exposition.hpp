// Turns a snapshot of the daemon into the Prometheus text format. docs/metrics.md lists what comes
// out, and a test holds the two equal. prometheus-cpp is used here and nowhere else.
// Any thread: a snapshot is the caller's own; the counter blocks that it points to may be counting
// meanwhile, must live until render() returns, and are never written.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "metrics/counters.hpp"
#include "metrics/process.hpp"

namespace sluice::metrics {

// Server connections of a pool by what they are doing; their sum is what the pool has open.
struct connection_states {
    std::uint64_t active = 0;  // leased to a client
    std::uint64_t idle = 0;
    std::uint64_t login = 0;
    std::uint64_t closing = 0;
    std::uint64_t cancelling =
        0;  // the client has left; its query is being cancelled or rolled back
};

// Logged-in clients of a pool.
struct client_states {
    std::uint64_t active = 0;  // hold a server connection
    std::uint64_t waiting = 0;
    std::uint64_t idle = 0;
};

// How the last attempts to log in upstream went. Not on the page: the dashboard shows it.
struct upstream_snapshot {
    bool reached = false;  // a login succeeded and none has failed since
    std::string sqlstate;  // of the last failure; empty: there was none
    std::string message;   // and its text
    double failed_at = 0;  // Unix time
};

// One database and upstream user, over all workers.
struct pool_snapshot {
    std::string database;
    std::string user;
    std::vector<const pool_counters*> workers;
    std::uint64_t size_limit = 0;
    std::uint64_t reserve = 0;
    connection_states connections;
    client_states clients;
    double oldest_wait_seconds = 0;
    std::array<std::uint64_t, pin_reason_names.size()> pinned{};  // clients, by reason
    std::uint64_t listening_clients = 0;
    std::uint64_t listen_connections = 0;
    upstream_snapshot upstream;
};

struct process_snapshot {
    std::vector<const worker_counters*> workers;
    std::uint64_t clients_logging_in = 0;
    std::uint64_t client_connections = 0;  // all of them, those logging in included
    std::uint64_t max_client_conn = 0;
    std::uint64_t log_lines_dropped = 0;  // by the logger itself; added to the workers' own
    std::string version;
    process_usage usage;
};

// The key-value port and its store. Times are Unix times in seconds; 0: it has not happened yet.
struct kv_snapshot {
    // What the pointers below belong to: an upgrade gives the store away on a thread of its own.
    std::shared_ptr<const void> owner;
    std::vector<const kv_counters*> workers;
    std::vector<std::string> commands;  // names by index in kv_counters::commands; empty: unused

    std::uint64_t client_connections = 0;
    std::uint64_t max_clients = 0;

    std::uint64_t projects = 0;  // in memory; keys, stored_bytes and large_projects are theirs
    std::uint64_t keys = 0;
    std::uint64_t stored_bytes = 0;
    std::uint64_t large_projects = 0;
    std::uint64_t damaged_projects = 0;
    std::uint64_t project_loads = 0;
    std::uint64_t project_unloads = 0;
    std::uint64_t expired_keys = 0;

    bool writes_refused = false;
    std::uint64_t log_bytes = 0;
    std::uint64_t log_records = 0;
    std::uint64_t log_written_bytes = 0;
    std::uint64_t log_errors = 0;  // of writing, reserving, fsync
    const histogram* log_fsync_seconds = nullptr;

    std::uint64_t checkpoints = 0;  // project files written
    double checkpoint_seconds = 0;  // their time in all
    std::uint64_t checkpoint_failures = 0;
    double checkpoint_last_success = 0;
    std::uint64_t checkpoint_last_bytes = 0;

    std::uint64_t backups = 0;
    double backup_last_success = 0;
    std::uint64_t backup_last_bytes = 0;
    std::uint64_t backup_failures = 0;

    // Not on the page: the dashboard shows them.
    struct project {
        std::uint32_t id = 0;
        std::uint64_t keys = 0;
        std::uint64_t bytes = 0;
    };
    std::vector<project> largest;  // of those in memory, the largest first
    std::uint64_t known_projects = 0;
    std::uint64_t max_project_size = 0;  // 0: no limit, here and below
    std::uint64_t memory = 0;
    std::uint64_t max_memory = 0;
    double backup_every_seconds = 0;  // 0: none are scheduled
};

// The certificate that a listener shows to TLS clients.
struct certificate_snapshot {
    std::string listener;  // postgres, kv, monitoring
    double ends = 0;       // Unix time
};

struct snapshot {
    process_snapshot process;
    std::vector<certificate_snapshot> certificates;
    std::vector<pool_snapshot> pools;  // two with the same names are added up
    std::optional<kv_snapshot> kv;     // absent: the port is off, and the page says nothing of it
};

// Bytes in names that are not UTF-8 are shown as \xNN: scrapers reject a page that holds them.
std::string render(const snapshot& state);

}  // namespace sluice::metrics
