// What differs between two configurations, for a reload: keys whose new value applies to the
// running daemon and keys that wait for a restart. Keys only, no values: they may be secrets.
#pragma once

#include <string>
#include <vector>

#include "config/schema.hpp"

namespace sluice::config {

struct changes {
    std::vector<std::string> live;
    std::vector<std::string> restart;

    [[nodiscard]] bool empty() const noexcept { return live.empty() && restart.empty(); }
};

// Full paths, in the order of the reference. A database or user that appears or goes is named
// without a key below it: postgres.databases.app.
[[nodiscard]] changes diff(const settings& before, const settings& after);

// Gives `next` the running values of all that waits for a restart.
void keep_what_waits(settings& next, const settings& running);

}  // namespace sluice::config
