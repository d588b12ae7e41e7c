// Bytes as JSON strings and back, as JavaScript's JSON.stringify and JSON.parse do it. JavaScript's
// strings may hold lone surrogates: in bytes they are the three bytes that UTF-8's rule would give
// (WTF-8), in JSON text they are \udxxx escapes. Stateless, any thread, nothing throws but memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::kvstore {

// Valid UTF-8, or WTF-8 in which no high surrogate is directly followed by a low one: that pair
// would come back from JSON as one character of four bytes.
[[nodiscard]] bool can_be_json_string(std::string_view bytes) noexcept;

// With the quotes. False, and `out` as it was, if the bytes cannot be a JSON string.
[[nodiscard]] bool append_json_string(std::string& out, std::string_view bytes);

// The bytes that a literal stands for, appended to `out`; `inside` is the literal without its
// quotes, as a scanner found it good (json_scanner::string).
void append_unescaped(std::string& out, std::string_view inside);

// Whether JSON.stringify would write the literal so; `inside` as above.
[[nodiscard]] bool is_minimal_escaping(std::string_view inside) noexcept;

// The first byte that is a quote, a backslash, a control character or no ASCII; else `end`.
[[nodiscard]] const char* find_special(const char* at, const char* end) noexcept;

// Behind the valid UTF-8 characters at `at` that are no ASCII; `at` itself if there are none.
[[nodiscard]] const char* skip_utf8(const char* at, const char* end) noexcept;

// How many bytes the escape at `at` has, which points to the backslash; 0: JSON has no such.
[[nodiscard]] std::size_t escape_length(const char* at, const char* end) noexcept;

}  // namespace sluice::kvstore
