// What is counted on the request path: plain numbers with one writer each.
// A block belongs to one worker, which alone adds to it; any thread may read it at any time and
// sums over workers. Reads may be a moment apart from each other, never torn.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::metrics {

class counter {
  public:
    void add(std::uint64_t n = 1) noexcept {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t value() const noexcept {
        return value_.load(std::memory_order_relaxed);
    }

  private:
    std::atomic<std::uint64_t> value_{0};
};

// Durations in power-of-two buckets: bucket i holds durations below 2^i * 16 us, the last one
// the rest (2^21 * 16 us is 33 s).
class histogram {
  public:
    static constexpr std::size_t buckets = 23;

    void record(std::chrono::nanoseconds elapsed) noexcept {
        const auto ns = elapsed.count() < 0 ? 0U : static_cast<std::uint64_t>(elapsed.count());
        const auto width = static_cast<std::size_t>(std::bit_width(ns / 16000));
        counts_[width < buckets - 1 ? width : buckets - 1].add();
        sum_ns_.add(ns);
    }

    // Upper bound of bucket i in seconds; the last bucket has none.
    static constexpr double bound(std::size_t i) noexcept {
        return 16e-6 * static_cast<double>(std::uint64_t{1} << i);
    }
    [[nodiscard]] std::uint64_t count(std::size_t i) const noexcept { return counts_[i].value(); }
    [[nodiscard]] std::uint64_t total() const noexcept {
        std::uint64_t out = 0;
        for (const auto& one : counts_)
            out += one.value();
        return out;
    }
    [[nodiscard]] double sum_seconds() const noexcept {
        return static_cast<double>(sum_ns_.value()) * 1e-9;
    }

  private:
    std::array<counter, buckets> counts_;
    counter sum_ns_;
};

// Why clients keep their server connection between transactions: pool::pin_reason.
inline constexpr std::array<std::string_view, 11> pin_reason_names{
    "prepared", "temporary", "cursor", "lock",       "listening", "setting",
    "sequence", "library",   "seed",   "process_id", "unknown"};

// One block per worker and pool (database and upstream user).
struct alignas(64) pool_counters {
    counter queries;       // simple queries and extended batches that reached ReadyForQuery
    counter transactions;  // leases of a server connection that ended
    counter client_bytes_received;
    counter client_bytes_sent;
    counter server_bytes_received;
    counter server_bytes_sent;
    counter statement_hits;    // Parse or Bind of a statement the server connection had
    counter statement_misses;  // Parse sent upstream for it
    counter statement_evictions;
    counter statement_replans;  // batches run again after "cached plan must not change"
    counter client_parses;      // Parse messages of clients
    counter server_parses;      // ... and those sent to servers
    counter binds;              // Bind messages
    counter client_logins;
    counter upstream_logins;
    counter upstream_login_failures;
    counter cancels;  // cancel requests sent upstream
    counter
        rescued_connections;    // clients that left in a transaction without costing the connection
    counter moved_connections;  // server connections handed to another worker
    counter notifications_delivered;         // a notification counts once for each listener
    std::array<counter, 8> errors_by_class;  // error_class below
    std::array<counter, pin_reason_names.size()> pins;
    histogram query_seconds;
    histogram transaction_seconds;
    histogram wait_seconds;
    histogram login_seconds;
};

// SQLSTATE classes an operator tells apart; the index into errors_by_class.
enum class error_class : std::uint8_t {
    connection,     // 08
    authorization,  // 28
    resources,      // 53
    intervention,   // 57
    syntax,         // 42
    integrity,      // 23
    transaction,    // 25, 40
    other,
};

// One block per worker: the key-value port's.
struct alignas(64) kv_counters {
    static constexpr std::size_t most_commands = 128;  // by the number of the command's row
    struct command_counters {
        counter calls;
        counter nanoseconds;
        counter failures;    // answered with an error
        counter rejections;  // not carried out: arity, permission, …
    };
    std::array<command_counters, most_commands> commands;
    histogram command_seconds;
    counter clients_accepted;
    counter clients_refused;
    counter bytes_received;
    counter bytes_sent;
    counter hits;
    counter misses;
    counter protocol_errors;
    counter auth_failures;
    counter refused_writes;  // MISCONF
    static constexpr std::size_t error_kinds = 10;
    std::array<counter, error_kinds> error_replies;  // by their first word: kvstore/info.hpp

    void count(std::size_t command, std::uint64_t took_ns, bool failed) noexcept {
        auto& one = commands[command < most_commands ? command : most_commands - 1];
        one.calls.add();
        one.nanoseconds.add(took_ns);
        if (failed) one.failures.add();
        command_seconds.record(std::chrono::nanoseconds(took_ns));
    }
    void count_rejected(std::size_t command) noexcept {
        commands[command < most_commands ? command : most_commands - 1].rejections.add();
    }
};

// One block per worker: what belongs to no pool.
struct alignas(64) worker_counters {
    counter clients_accepted;
    counter clients_refused;  // limits and shutdown
    counter client_login_failures;
    counter protocol_errors;         // broken messages from clients
    counter server_protocol_errors;  // broken messages from servers
    counter cancel_requests;         // received from clients
    counter internal_errors;
    counter log_lines_dropped;
};

}  // namespace sluice::metrics
