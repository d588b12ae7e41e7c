// Turns a snapshot of the daemon into the Prometheus text format. docs/metrics.md lists what comes
// out, and a test holds the two equal. prometheus-cpp is used here and nowhere else.
// Any thread: a snapshot is the caller's own; the counter blocks that it points to may be counting
// meanwhile, must live until render() returns, and are never written.
#pragma once

#include <cstdint>
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

struct snapshot {
    process_snapshot process;
    std::vector<pool_snapshot> pools;  // two with the same names are added up
};

// Bytes in names that are not UTF-8 are shown as \xNN: scrapers reject a page that holds them.
std::string render(const snapshot& state);

}  // namespace sluice::metrics
