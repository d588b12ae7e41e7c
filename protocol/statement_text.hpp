// A statement's text as people may see it: $1 for every constant, one spacing, no comments, lists
// of constants cut to their first. Read by PostgreSQL's own grammar (libpg_query); 10 to 30 µs, so
// once for each shape and not on a worker. No constant ever passes: a text that the grammar
// refuses, and the values and names in statements that set or define things, are left out. Pure,
// any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::protocol {

// Texts longer than this are not read.
inline constexpr std::size_t longest_statement = 16384;

// At most about `limit` bytes of valid UTF-8.
[[nodiscard]] std::string normalised_statement(std::string_view sql, std::size_t limit);
// What stands for a text that is not to be read: its first word, if that is SQL's.
[[nodiscard]] std::string unparsed_statement(std::string_view sql);

}  // namespace sluice::protocol
