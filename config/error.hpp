// What goes wrong in a configuration: config_error for the person who wrote the file, bad_value for
// the parsers of single values, which know neither file nor key.
// Texts quote what was found, except values that may be secrets.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice::config {

struct config_error : std::runtime_error {
    config_error(std::string file_name, int line_number, std::string key_path,
                 std::string found_text, std::string expected_text);

    std::string file;
    int line;         // from 1; 0 when the mistake has no line
    std::string key;  // full path, e.g. postgres.databases.app.pool_size; empty for the whole file
    std::string found;
    std::string expected;
};

// Thrown by value parsers. Says what would have been right and never what was found: only the
// loader knows whether the value may be shown.
struct bad_value : std::runtime_error {
    explicit bad_value(const std::string& expected) : std::runtime_error(expected) {}
};

// "text" in quotes, control bytes as \xNN, cut after 60 bytes.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace sluice::config
