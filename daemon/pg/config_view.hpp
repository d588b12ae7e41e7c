// The configuration in force as SHOW CONFIG shows it: what PgBouncer has, under PgBouncer's names
// and in its units (seconds, 0 and 1); the rest under the keys of sluice.yaml. No secrets. And
// SET, which takes what SHOW CONFIG shows.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/assign.hpp"
#include "config/schema.hpp"
#include "pool/overview.hpp"

namespace sluice::daemon {

[[nodiscard]] std::vector<pool::setting_view> view_of(const config::settings& settings);

// What SET name = value of the console means; nullopt: there is no such setting.
[[nodiscard]] std::optional<config::assignment> assignment_of(const std::string& name,
                                                              const std::string& value);

}  // namespace sluice::daemon
