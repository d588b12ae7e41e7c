// `sluice upgrade`, `sluice reload` and `sluice status`: the command line's side of the control
// socket (daemon/control_socket.hpp). Blocking.
#pragma once

#include <string>

#include "daemon/cli.hpp"

namespace sluice::daemon {

struct control_options {
    std::string file;    // --config
    std::string socket;  // --socket; empty: where the configuration has it
};

// Sends the command and prints what is answered. The exit code.
[[nodiscard]] int run_control_command(const std::string& command, const control_options& options,
                                      const command_line& with);

}  // namespace sluice::daemon
