// SQL-level prepared statements in a text: the names that it uses, and the one PREPARE of a name.
// For statements that have a hint of it (session_hints.hpp); they allocate. Pure functions, any
// thread; any bytes are a text. Source: PostgreSQL documentation, PREPARE, EXECUTE, DEALLOCATE.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::protocol {

// Each name once, as the server reads it: folded, unquoted, cut to 63 bytes.
struct prepared_names {
    std::vector<std::string> executed;  // behind EXECUTE
    std::vector<std::string> changed;   // behind PREPARE or DEALLOCATE
    bool any = false;                   // what is meant cannot be told, or is all of them
};

// `standard_strings`: standard_conforming_strings is on.
[[nodiscard]] prepared_names prepared_names_in(std::string_view sql, bool standard_strings);

// What has to be sent to prepare `name` again, where `source` is the text that it came in: all of
// it if it is nothing else, or the one PREPARE of that name in it. Empty if that is not clear.
[[nodiscard]] std::string_view prepare_statement_in(std::string_view source, std::string_view name);

// Whether a text that changes settings may change one that decides how a statement is parsed.
[[nodiscard]] bool may_change_parsing(std::string_view sql, bool standard_strings);

// Settings that decide how a statement is parsed, in lower case; role and session authorization
// not among them.
[[nodiscard]] bool decides_parsing(std::string_view setting) noexcept;
[[nodiscard]] const std::vector<std::string_view>& parsing_settings();

}  // namespace sluice::protocol
