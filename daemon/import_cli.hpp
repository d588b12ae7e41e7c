// `sluice import-pgbouncer`: reads PgBouncer's configuration, writes sluice's, and says what does
// not come over. The file that --output names is new and readable by its owner only.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "daemon/cli.hpp"

namespace sluice::daemon {

struct import_options {
    std::string ini;
    std::string output;  // empty: standard output
};

void add_import_command(CLI::App& command, import_options& to);
[[nodiscard]] int run_import_command(const import_options& options, const command_line& with);

}  // namespace sluice::daemon
