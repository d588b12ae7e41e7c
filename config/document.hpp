// A YAML file as a plain tree with line numbers, so that everything else in this folder is free of
// the YAML library. Refused here: duplicate keys, a second document, keys that are not text,
// anchors, aliases and tags (a configuration needs none, and aliases can blow up in memory).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::config {

struct member;

struct node {
    enum class kind { nothing, scalar, list, mapping };
    kind type = kind::nothing;
    int line = 0;                 // from 1
    std::string text;             // scalar
    std::vector<node> items;      // list
    std::vector<member> members;  // mapping, in the order of the file
};

struct member {
    std::string key;
    int line = 0;
    node value;
};

// Throws config_error, whose text never holds a value of the file.
[[nodiscard]] node parse_document(std::string_view yaml, const std::string& file_name);

// "a list", "a text"... for error messages.
[[nodiscard]] std::string_view kind_name(node::kind kind) noexcept;

// Full paths for error messages: postgres.databases."my app".pool_size, postgres.listen[1].
[[nodiscard]] std::string key_path(const std::string& parent, std::string_view key);
[[nodiscard]] std::string item_path(const std::string& parent, std::size_t index);

}  // namespace sluice::config
