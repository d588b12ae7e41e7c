// Every key of the configuration with its default, for docs/configuration.md and its test.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/fields.hpp"

namespace sluice::config {

struct reference_row {
    std::string key;  // full path; <name> where a database or a user is named
    std::string_view type;
    std::string default_value;
    std::string_view unit;  // of a plain number
    applies change = applies::restart;
    std::string_view text;
};

// In the order of the documentation.
[[nodiscard]] std::vector<reference_row> reference();

// The row as a line of a Markdown table:
// | `key` | type | `default` | unit | live or restart | text |
[[nodiscard]] std::string markdown_line(const reference_row& row);

}  // namespace sluice::config
