// What /api/status and /api/history answer (docs/dashboard.md), as text. Pure; Boost.JSON is used
// in json.cpp and nowhere else of this folder. Durations in seconds, times as Unix times, figures
// that are not known as null.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/http/dashboard/health.hpp"
#include "daemon/http/dashboard/history.hpp"
#include "daemon/http/dashboard/reading.hpp"
#include "pool/statement_total.hpp"

namespace sluice::daemon {

struct status_facts {
    const reading& now;
    const history& past;
    double unix_time = 0;
    // None: whoever asks may not see them.
    std::optional<std::vector<pool::statement_total>> statements;
};

// Pools beyond `most_pools` are left out: those in trouble and the busiest come first.
[[nodiscard]] std::string status_json(const status_facts& facts,
                                      std::size_t most_pools = history::most_pools);

// The points later than `since`.
[[nodiscard]] std::string history_json(const history& past, double since, double unix_time);

}  // namespace sluice::daemon
