// What one statement, whatever its constants, has cost since the daemon started or the totals were
// reset. A plain value, shown by SHOW QUERIES and the dashboard.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice::pool {

struct statement_total {
    std::string database;
    std::string user;  // who logs in upstream
    std::string text;  // normalised: $1 for every constant; never a value
    std::uint64_t calls = 0;
    std::uint64_t errors = 0;
    std::chrono::microseconds total{};  // from its arrival at sluice to its end
    std::chrono::microseconds slowest{};
};

}  // namespace sluice::pool
