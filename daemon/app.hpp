// The daemon as one call, from settings to exit code.
#pragma once

#include <string>

#include "config/schema.hpp"

namespace sluice::daemon {

struct run_options {
    config::settings settings;
    std::string config_file;  // empty: DATABASE_URL alone
};

// Runs until a signal ends it. 0: ended as asked; 1: it could not start or go on.
int run(const run_options& options);

}  // namespace sluice::daemon
