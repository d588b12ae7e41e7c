// What commands tell of themselves, beside their rows: how they are written, what they do to their
// keys, their categories. Kept apart from the rows, since only COMMAND, ACL CAT and HELP read it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

#include "kvstore/command.hpp"

namespace sluice::kvstore {

struct command_details {
    std::string_view name;  // "config|get"
    // Of the arguments. A word in capitals is written so, another stands for something; what may
    // be left out is in brackets, what may come again is followed by dots:
    // "key value [NX | XX] [EX seconds | PX milliseconds]", "(key value)..."
    std::string_view syntax;
    // What it does to its keys, as COMMAND INFO has it: "RO access"; with ';' a text a key.
    std::string_view keys;
};

// Empty texts for a command that has none.
[[nodiscard]] command_details details_of(std::string_view full_name) noexcept;

// Every command that is not hidden, and its parts.
void for_each_command(const std::function<void(const command&)>& what);

// Redis's categories, as bits in this order.
inline constexpr std::array<std::string_view, 21> category_names{
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};
[[nodiscard]] std::uint32_t categories_of(const command& row) noexcept;
[[nodiscard]] std::uint32_t category(std::string_view name) noexcept;  // 0: there is none

// The function of every "…|help": the parts of the command and how they are written.
void show_help(call& c);

}  // namespace sluice::kvstore
