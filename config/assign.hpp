// One setting changed by its key, as SET of the admin console does: until the file is read again.
#pragma once

#include <string>

#include "config/schema.hpp"

namespace sluice::config {

struct assignment {
    std::string key;    // full path: postgres.pool_size
    std::string value;  // as the file would have it; items of a list with commas between them
};

// `running` with it. Throws config_error, whose file is SET, for a value that the file could not
// have, and for a key that does not change while the daemon runs.
[[nodiscard]] settings with(settings running, const assignment& what);

}  // namespace sluice::config
