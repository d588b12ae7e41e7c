// A world of variables and files for configuration tests, and the loader on top of it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "config/load.hpp"

namespace sluice::config {

struct fake_world {
    std::map<std::string, std::string> variables;
    std::map<std::string, std::string> files;

    [[nodiscard]] environment env() const {
        return {.variable = [this](const std::string& name) -> std::optional<std::string> {
                    const auto at = variables.find(name);
                    if (at == variables.end()) return std::nullopt;
                    return at->second;
                },
                .read_file = [this](const std::string& path) -> file_text {
                    const auto at = files.find(path);
                    if (at != files.end()) return {at->second, {}};
                    return {{}, std::make_error_code(std::errc::no_such_file_or_directory)};
                }};
    }
};

inline loaded load(const std::string& yaml, const fake_world& world = {}) {
    return load_text(yaml, "sluice.yaml", world.env());
}

// The error that a text must cause.
inline config_error error_of(const std::string& yaml, const fake_world& world = {}) {
    try {
        static_cast<void>(load(yaml, world));
    } catch (const config_error& error) {
        return error;
    }
    ADD_FAILURE() << "loads without an error:\n" << yaml;
    return {"", 0, "", "", ""};
}

}  // namespace sluice::config
