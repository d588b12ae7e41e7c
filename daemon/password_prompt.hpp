// Reads a password: twice from a terminal without echo, or the first line of what is not a
// terminal. Never from the command line, where every process of the machine can read it.
#pragma once

#include <optional>
#include <string>

namespace sluice::daemon {

// From standard input; asks on standard error. nullopt at the end of the input or after Ctrl-C,
// with the terminal as it was. Throws std::runtime_error when the two entries differ.
[[nodiscard]] std::optional<std::string> read_password();

}  // namespace sluice::daemon
