// The last quarter of an hour in steps of five seconds: a ring for the daemon as a whole, and one
// for each of the busiest pools, so that memory stays bounded however many pools there are (100
// pools: 0.7 MB). Rates and quantiles are of the step, from differences of counters. Confined to
// its owner (the main thread); the time is an argument.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/http/dashboard/reading.hpp"

namespace sluice::daemon {

inline constexpr float no_figure = std::numeric_limits<float>::quiet_NaN();

// NaN: nothing is known of that time, or nothing happened that the figure could be of.
struct pool_point {
    float queries_per_second = no_figure;
    float p50 = no_figure;  // of queries, in seconds
    float p95 = no_figure;
    float p99 = no_figure;
    float errors_per_second = no_figure;
    float utilization = no_figure;
    float waiting = no_figure;
    float oldest_wait = no_figure;
    float wait_p99 = no_figure;
};

struct whole_point {
    double unix_time = 0;
    pool_point pools;  // all of them together
    std::array<float, error_kinds.size()> errors_per_second{};
    float client_connections = no_figure;
    float kv_commands_per_second = no_figure;
    float kv_p99 = no_figure;
    float kv_stored_bytes = no_figure;
    float resident_bytes = no_figure;
};

// Counters whose growth means that something is wrong.
struct trouble_counts {
    std::uint64_t clients_refused = 0;
    std::uint64_t client_login_failures = 0;
    std::uint64_t internal_errors = 0;
    std::uint64_t server_protocol_errors = 0;
    std::uint64_t upstream_login_failures = 0;
    std::uint64_t resource_errors = 0;
    std::uint64_t log_lines_dropped = 0;
    std::uint64_t kv_clients_refused = 0;
    std::uint64_t kv_auth_failures = 0;
    std::uint64_t kv_log_errors = 0;
    std::uint64_t kv_checkpoint_failures = 0;
    std::uint64_t kv_backup_failures = 0;
};

struct sample_time {
    std::chrono::steady_clock::time_point steady;
    double unix_time = 0;
};

class history {
  public:
    static constexpr std::size_t points = 180;
    static constexpr std::chrono::seconds step{5};
    static constexpr std::size_t most_pools = 100;

    [[nodiscard]] bool is_due(std::chrono::steady_clock::time_point now) const noexcept;
    void add(const reading& now, sample_time when);

    // Places of the ring, the oldest first, of the points later than `since`.
    [[nodiscard]] std::vector<std::size_t> places(double since = 0) const;
    [[nodiscard]] const whole_point& whole(std::size_t place) const { return whole_[place]; }

    using pool_name = std::pair<std::string, std::string>;  // database and user
    struct kept_pool {
        std::vector<pool_point> ring;  // by place
        pool_counts before;
        double score = 0;  // fading number of queries
    };
    [[nodiscard]] const std::map<pool_name, kept_pool>& pools() const noexcept { return tracks_; }
    [[nodiscard]] const kept_pool* find(const pool_name& name) const;
    // The pool's last point; none if it has none.
    [[nodiscard]] std::optional<pool_point> latest(const pool_name& name) const;
    [[nodiscard]] std::optional<whole_point> latest() const;

    // What was counted in the last `back` seconds, or since the first sample.
    [[nodiscard]] trouble_counts trouble_within(std::chrono::seconds back) const;
    // The mean utilization of the last `back` seconds; none if that is not known for half of them.
    [[nodiscard]] std::optional<double> utilization_within(const pool_name& name,
                                                           std::chrono::seconds back) const;
    // Errors by kind of the whole ring.
    [[nodiscard]] std::array<std::uint64_t, error_kinds.size()> errors_within() const;

  private:
    struct rank {
        std::uint64_t queries = 0;
        double score = 0;
        std::uint64_t first_turn = 0;
        std::uint64_t turn = 0;  // of the last sample that had it
    };
    static constexpr std::size_t most_ranks = 20000;

    void choose(const reading& now);
    void rank_pools(const reading& now);
    whole_point whole_of(const reading& now, const pool_counts& sum, double seconds) const;

    std::vector<whole_point> whole_;
    std::vector<trouble_counts> trouble_;
    std::vector<std::array<std::uint64_t, error_kinds.size()>> errors_;
    std::map<pool_name, kept_pool> tracks_;
    std::map<pool_name, rank> ranks_;
    std::optional<pool_counts> before_;
    std::optional<kv_reading> kv_before_;
    std::uint64_t turn_ = 0;  // samples so far; the next one's place is turn_ % points
    std::chrono::steady_clock::time_point last_{};
};

}  // namespace sluice::daemon
