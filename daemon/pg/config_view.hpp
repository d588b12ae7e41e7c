// The configuration in force as SHOW CONFIG shows it: what PgBouncer has, under PgBouncer's names
// and in its units (seconds, 0 and 1); the rest under the keys of sluice.yaml. No secrets.
#pragma once

#include <vector>

#include "config/schema.hpp"
#include "pool/overview.hpp"

namespace sluice::daemon {

[[nodiscard]] std::vector<pool::setting_view> view_of(const config::settings& settings);

}  // namespace sluice::daemon
