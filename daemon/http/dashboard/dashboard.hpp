// The dashboard's side of the daemon: keeps the history and renders what the page asks for.
// Confined to the main thread; nothing here blocks.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "daemon/http/dashboard/history.hpp"
#include "daemon/http/dashboard/reading.hpp"
#include "pool/statement_total.hpp"

namespace sluice::daemon {

class dashboard {
  public:
    static constexpr std::size_t most_statements = 20;

    // On the slow clock. `look` gives a reading, and is asked for one every five seconds only.
    template <class Look>
    void tick(sample_time when, Look look) {
        if (past_.is_due(when.steady)) past_.add(look(), when);
    }

    [[nodiscard]] std::string status(
        const reading& now, double unix_time,
        std::optional<std::vector<pool::statement_total>> statements) const;
    [[nodiscard]] std::string recent(double since, double unix_time) const;

  private:
    history past_;
};

}  // namespace sluice::daemon
