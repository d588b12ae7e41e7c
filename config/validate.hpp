// Mistakes that only several values together make. Single values are checked where they are read.
// Pure; tells which key is to blame, and the loader adds the line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/schema.hpp"

namespace sluice::config {

struct mistake {
    std::string key;  // full path; may be absent from the file when it is what lacks
    std::string found;
    std::string expected;
    std::string related = {};  // a key whose line helps when the file lacks the first
};

[[nodiscard]] std::optional<mistake> find_mistake(const settings& all);

// Whether the monitoring port listens where other machines reach it, and asks nobody who they are.
[[nodiscard]] bool is_open_to_all(const monitoring_settings& monitoring);

// What is allowed and probably not meant.
[[nodiscard]] std::vector<std::string> find_doubts(const settings& all);

}  // namespace sluice::config
