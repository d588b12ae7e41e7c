// What the dashboard knows of the daemon at one moment: the figures of a metrics snapshot, summed
// over the workers, as plain values that may be kept. Names are UTF-8 already, as in /metrics.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/exposition.hpp"

namespace sluice::daemon {

using bucket_counts = std::array<std::uint64_t, metrics::histogram::buckets>;

inline constexpr std::array<const char*, 8> error_kinds{
    "connection", "authorization", "resources",   "intervention",
    "syntax",     "integrity",     "transaction", "other"};

// Counters of a pool since the daemon began.
struct pool_counts {
    std::uint64_t queries = 0;
    std::uint64_t transactions = 0;
    std::uint64_t logins = 0;
    std::uint64_t login_failures = 0;
    std::array<std::uint64_t, error_kinds.size()> errors{};
    std::array<std::uint64_t, metrics::pin_reason_names.size()> pins{};
    bucket_counts query_seconds{};
    bucket_counts wait_seconds{};

    void add(const pool_counts& other) noexcept;
    [[nodiscard]] std::uint64_t all_errors() const noexcept;
};

enum class upstream_state { asleep, waking, awake, failing };

struct pool_reading {
    std::string database;
    std::string user;
    std::uint64_t size = 0;
    std::uint64_t reserve = 0;
    metrics::connection_states connections;
    metrics::client_states clients;
    double oldest_wait_seconds = 0;
    std::array<std::uint64_t, metrics::pin_reason_names.size()> pinned{};
    std::uint64_t listening_clients = 0;
    std::uint64_t listen_connections = 0;
    metrics::upstream_snapshot upstream;
    pool_counts counts;

    [[nodiscard]] std::uint64_t busy_connections() const noexcept;
    [[nodiscard]] std::uint64_t all_connections() const noexcept;
    [[nodiscard]] std::uint64_t all_pinned() const noexcept;
    [[nodiscard]] double utilization() const noexcept;  // as sluice_pool_utilization_ratio
    [[nodiscard]] upstream_state state() const noexcept;
};

// What belongs to no pool.
struct whole_reading {
    std::uint64_t client_connections = 0;
    std::uint64_t max_client_conn = 0;
    std::uint64_t logging_in = 0;
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;
    std::uint64_t login_failures = 0;
    std::uint64_t protocol_errors = 0;
    std::uint64_t server_protocol_errors = 0;
    std::uint64_t internal_errors = 0;
    std::uint64_t log_lines_dropped = 0;
};

struct kv_reading {
    metrics::kv_snapshot plain;  // without its pointers
    std::uint64_t commands = 0;
    std::uint64_t command_errors = 0;
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;
    std::uint64_t auth_failures = 0;
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    bucket_counts command_seconds{};
};

struct reading {
    bool ready = false;
    std::string why_not;
    std::string version;
    metrics::process_usage usage;
    whole_reading whole;
    std::vector<pool_reading> pools;
    std::optional<kv_reading> kv;
};

[[nodiscard]] reading read(const metrics::snapshot& from);

[[nodiscard]] const char* name_of(upstream_state state) noexcept;

// The duration below which the share `q` of what was counted lies, in seconds, evenly spread within
// a bucket; none if nothing was counted. The bucket without a bound counts as its lower one.
[[nodiscard]] std::optional<double> quantile(const bucket_counts& counts, double q) noexcept;

}  // namespace sluice::daemon
