// What `sluice kv export` writes and `sluice kv import` reads, as text: docs/kv-cli.md, "Formats".
// No file is opened here; nothing is kept. Any thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kvstore/project_content.hpp"

namespace sluice::kvstore {

enum class transfer_format {
    automatic,
    json,    // a project's file, E-Code's or sluice's, or {"projects": [such, …]}
    lines,   // an object for each key
    replit,  // one object of keys and values
};

// One line of `lines`, with its end.
void append_key_line(std::string& out, project_id project, std::string_view key,
                     const kept_value& kept);

using imported_projects = std::map<project_id, project_content>;

// Adds what the text holds; a key that is there already gets the new value. `into`: the project for
// everything in it, whatever it says itself. Empty: it went well; else what is wrong and in which
// line, and `out` is of no use. Never a key or a value.
[[nodiscard]] std::string read_transfer(std::string_view text, transfer_format format,
                                        std::optional<project_id> into, imported_projects& out);

}  // namespace sluice::kvstore
