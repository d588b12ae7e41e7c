// A project's file as a whole in memory, outside a running store: what exports, imports, backups
// and the statistics look at. Plain data; any thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "kvstore/project_file.hpp"

namespace sluice::kvstore {

struct kept_value {
    std::string value;
    time_ms expires = never;
    value_form form = value_form::undecided;

    bool operator==(const kept_value&) const = default;
};

struct project_content {
    project_header header;
    std::map<std::string, kept_value, std::less<>> keys;  // in the order of a file of sluice's

    [[nodiscard]] std::uint64_t bytes() const noexcept;  // of keys and values
};

// As read_project_file(). After `damaged`, `out` is of no use.
[[nodiscard]] project_file_outcome read_project(std::string_view text, project_id expected,
                                                project_content& out);

// The text of its file.
[[nodiscard]] std::string project_text(const project_content& of);

}  // namespace sluice::kvstore
