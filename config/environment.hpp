// What a configuration may read from outside itself: environment variables and files. Passed in, so
// that tests and the fuzzer touch neither. Start-up and reload only.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <system_error>

namespace sluice::config {

struct file_text {
    std::string text;
    std::error_code error;  // set: the file could not be read
};

struct environment {
    std::function<std::optional<std::string>(const std::string& name)> variable;
    std::function<file_text(const std::string& path)> read_file;
};

// The process's own environment and file system. A file over 1 MiB is an error.
[[nodiscard]] environment process_environment();

}  // namespace sluice::config
