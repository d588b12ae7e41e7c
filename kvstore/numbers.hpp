// Numbers as Redis reads them from values and arguments and writes them into values, and those in
// the texts of our own files.
// Pure functions of bytes; the locale of the program must be "C" (it is, nothing sets another).
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace sluice::kvstore {

// The canonical form only: "-12", but no space, "+1", "01", "-0" or "".
[[nodiscard]] std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;

inline constexpr std::size_t most_integer_size = 20;  // of the text of any 64-bit integer

inline void append_integer(std::string& out, std::int64_t value) {
    char text[most_integer_size];
    out.append(text, std::to_chars(text, text + most_integer_size, value).ptr);
}

// An integer that is all of the text; a minus only for a signed one.
template <class Integer>
[[nodiscard]] bool parse_whole(std::string_view text, Integer& out, int base = 10) noexcept {
    const auto* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, out, base);
    return read.ec == std::errc() && read.ptr == end;
}

inline constexpr std::size_t hexadecimal_size = 16;
// So many lower-case digits: a checksum as it stands in files.
[[nodiscard]] std::string hexadecimal(std::uint64_t value);

// Whatever strtold reads to the end (also "1e3", "0x1p3" and "-inf"), but no leading space, no NaN,
// nothing out of range and no more than 5119 bytes.
[[nodiscard]] std::optional<long double> parse_float(std::string_view text) noexcept;

// 17 digits behind the point, without zeros at the end: what INCRBYFLOAT stores. Only for finite
// numbers; "" for others.
[[nodiscard]] std::string format_float(long double value);

// A cursor of SCAN, as strtoul reads it: "" is 0, zeros may lead and a minus wraps around.
[[nodiscard]] std::optional<std::uint64_t> parse_cursor(std::string_view text) noexcept;

}  // namespace sluice::kvstore
