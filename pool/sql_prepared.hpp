// What decides how an SQL-level prepared statement is parsed, and what a server's answer about such
// statements means. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "pool/parameters.hpp"
#include "pool/statements.hpp"
#include "protocol/prepared_names.hpp"

namespace sluice::pool {

// A client's bounds; with more, or longer, it keeps its connection.
inline constexpr std::size_t most_own_statements = 200;
inline constexpr std::size_t most_own_bytes = 1U << 20;

// Those of the settings that decide how a statement is parsed, and who parses it.
[[nodiscard]] parameters parsing_part(parameter_table& table, const parameters& of);

// What sets them for the rest of a transaction, on a connection that has the settings `from`, or
// others (`unknown`).
[[nodiscard]] std::string parsing_sql(const parameter_set& from, const parameter_set& to,
                                      bool unknown);

// Whether a statement of that name and text, as a server lists it, is this one.
[[nodiscard]] bool is_listed_as(const statement& one, std::string_view text);

}  // namespace sluice::pool
