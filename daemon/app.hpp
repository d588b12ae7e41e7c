// The daemon as one call, from settings to exit code.
#pragma once

#include <string>

#include "config/schema.hpp"

namespace sluice::daemon {

struct run_options {
    config::settings settings;
    std::string config_file;  // empty: DATABASE_URL alone
};

// Runs until a signal ends it. 0: ended as asked; 1: it could not start or go on; 2: the settings
// cannot be used (a certificate that does not load, a DATABASE_URL that says nothing).
int run(const run_options& options);

}  // namespace sluice::daemon
