// The startup packet's `options` parameter: command-line switches of a PostgreSQL server process
// ("-c work_mem=1MB --statement-timeout=5s -e"), read as PostgreSQL reads them and turned into the
// settings they stand for. Names are not checked: the server says what it does not know, so whoever
// puts them into SQL must quote them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/login_error.hpp"

namespace sluice::protocol {

using setting = std::pair<std::string, std::string>;  // name, value

// Splits at white space; a backslash takes the next character as it is (so "\ " is a space within a
// word and "\\" a backslash).
[[nodiscard]] std::vector<std::string> split_options(std::string_view options);

// Appends the settings in order. Every switch of PostgreSQL 15 to 18 is known: -c and -- are
// settings themselves; -B -d -e -F -f -h -i -k -l -N -O -P -p -S -s -t -W are turned into the
// settings they abbreviate (a server refuses some of those in its own words, as it would at login);
// -b -C -D -E -j -n -r -T -v do nothing in a server process and so nothing here. Anything else is
// an error, with PostgreSQL's SQLSTATE 42601.
[[nodiscard]] std::optional<login_error> parse_options(std::string_view options,
                                                       std::vector<setting>& settings);

}  // namespace sluice::protocol
