// One change of the data, as commands make it, as the log holds it and as recovery applies it:
// there is one way into a project's data, so that a restart leads where the live daemon was.
// A change says what came of a command, never what was asked ("INCR n" is a put of 42; a relative
// expiry is an absolute time), so it can be applied again without knowing the clock.
// Plain views: the bytes are the caller's and live as long as the call that takes them.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

namespace sluice::kvstore {

using project_id = std::uint32_t;  // 0 .. 2147483647
inline constexpr project_id most_project_id = 2147483647;

// Number of a record in the log; the first is 1. Zero: before all of them.
using log_number = std::uint64_t;

// Milliseconds since 1970, as in Redis. A key without an expiry has `never`.
using time_ms = std::int64_t;
inline constexpr time_ms never = std::numeric_limits<time_ms>::max();

// How a project's file holds a value (docs/kv-files.md). A value that was loaded keeps its form
// until it is overwritten; what clients set is decided when the file is written.
enum class value_form : std::uint8_t { undecided = 0, text = 1, json = 2 };

enum class change_kind : std::uint8_t {
    put = 1,        // key, value, form, expires
    splice = 2,     // key, value put at `offset` over what is there (zero bytes fill a gap)
    erase = 3,      // key
    expire = 4,     // key, expires (`never`: it no longer expires)
    rename = 5,     // key becomes `value` with its expiry, which is replaced
    clear = 6,      // every key of the project
    clear_all = 7,  // every key of every project, also of those that are not in memory
};

struct change {
    change_kind kind = change_kind::put;
    value_form form = value_form::undecided;
    project_id project = 0;
    std::string_view key;
    std::string_view value;
    std::uint64_t offset = 0;
    time_ms expires = never;

    bool operator==(const change&) const = default;
};

}  // namespace sluice::kvstore
