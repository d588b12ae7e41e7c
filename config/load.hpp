// Reads a configuration file into settings. Every mistake is a config_error that names file, line
// and key, what was found (never the value of a secret or of anything from outside) and what was
// expected. Driven by the table of fields.hpp. Start-up and reload only.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/environment.hpp"
#include "config/error.hpp"
#include "config/schema.hpp"

namespace sluice::config {

struct loaded {
    config::settings settings;
    std::vector<std::string> warnings;  // one line each, with the key in front
    std::map<std::string, int> lines;   // of the keys that the file has, by full path

    // The line of the key, or of the nearest section around it that the file has; 0: none.
    [[nodiscard]] int line_of(std::string path) const;
};

// Whether a database's URL can be used; the caller knows libpq, this folder does not.
using url_check = bool (*)(const std::string& url);

[[nodiscard]] loaded load_file(const std::string& path, const environment& env,
                               url_check usable = nullptr);
[[nodiscard]] loaded load_text(std::string_view yaml, std::string file_name, const environment& env,
                               url_check usable = nullptr);

}  // namespace sluice::config
