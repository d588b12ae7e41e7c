// Totals by database, and what they were when the last two statistics periods ended, from which
// averages are made as PgBouncer makes them: over the last whole period. Thread-safe by a lock;
// time is an argument.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "pool/bounded_pool.hpp"

namespace sluice::pool {

struct database_totals {
    std::uint64_t assignments = 0;
    std::uint64_t transactions = 0;
    std::uint64_t queries = 0;
    std::uint64_t received = 0;  // bytes from clients
    std::uint64_t sent = 0;      // bytes to clients
    std::uint64_t transaction_us = 0;
    std::uint64_t query_us = 0;
    std::uint64_t wait_us = 0;
    std::uint64_t client_parses = 0;
    std::uint64_t server_parses = 0;
    std::uint64_t binds = 0;
    std::uint64_t logins = 0;

    database_totals& operator+=(const database_totals& other) noexcept;
    bool operator==(const database_totals&) const = default;
};

using totals_by_database = std::map<std::string, database_totals>;

struct stats_report {
    struct line {
        database_totals totals;
        database_totals averages;  // counts and bytes a second; times of one
    };
    std::map<std::string, line> databases;
    line all;
};

class stats_history {
  public:
    static constexpr auto period = std::chrono::seconds(60);

    // Whether a period has ended, so that end_period() is due.
    [[nodiscard]] bool is_due(clock_time now) const;
    void end_period(totals_by_database now_are, clock_time now);
    [[nodiscard]] stats_report report(const totals_by_database& now_are) const;

  private:
    struct mark {
        totals_by_database totals;
        clock_time at{};
    };
    mutable std::mutex mutex_;
    mark older_;
    mark newer_;
};

// What changed between two times, a second or of one.
[[nodiscard]] database_totals averages_of(const database_totals& before,
                                          const database_totals& after, duration between);

}  // namespace sluice::pool
