// The command line: which command, which configuration, which exit code. What the commands do and
// where they read and write comes in as `command_line`, so that tests run all of it in-process.
// Exit codes: 0 fine, 1 runtime failure, 2 usage or configuration.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "config/environment.hpp"
#include "config/load.hpp"
#include "daemon/app.hpp"

namespace sluice::daemon {

inline constexpr int exit_fine = 0;
inline constexpr int exit_failure = 1;
inline constexpr int exit_usage = 2;

struct command_line {
    config::environment env;
    std::ostream& out;
    std::ostream& err;
    std::function<int(const run_options&)> serve;
    // nullopt: no password was given. Throws std::runtime_error for what is worth a message.
    std::function<std::optional<std::string>()> read_password;
    std::function<std::string(std::string_view password)> make_verifier;
};

[[nodiscard]] int run_command_line(const std::vector<std::string>& arguments,
                                   const command_line& with);

// The configuration that `explicit_file` (empty: none) and the environment ask for; file is empty
// when it is DATABASE_URL alone. Throws config::config_error, and no_configuration when there is
// nothing to load.
struct found_configuration {
    std::string file;
    config::loaded content;
};
struct no_configuration : std::runtime_error {
    using std::runtime_error::runtime_error;
};
[[nodiscard]] found_configuration find_configuration(const std::string& explicit_file,
                                                     const config::environment& env);

}  // namespace sluice::daemon
