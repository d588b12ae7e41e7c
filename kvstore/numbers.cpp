#include "kvstore/numbers.hpp"

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace sluice::kvstore {

namespace {

constexpr std::size_t float_room =
    5 * 1024;  // Redis's; the longest long double has 4951 characters

bool is_space(char c) noexcept {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
    const bool negative = text.starts_with('-');
    const auto digits = negative ? text.substr(1) : text;
    if (digits.empty() || digits.size() > 19) return std::nullopt;
    if (digits.front() == '0' && (negative || digits.size() > 1)) return std::nullopt;
    std::uint64_t value = 0;  // holds any 19 digits
    for (const char c : digits) {
        if (!is_digit(c)) return std::nullopt;
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value > most + (negative ? 1 : 0)) return std::nullopt;
    return static_cast<std::int64_t>(negative ? 0 - value : value);
}

std::string hexadecimal(std::uint64_t value) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text(hexadecimal_size, '0');
    for (auto at = text.rbegin(); value != 0; ++at, value >>= 4)
        *at = digits[value & 15];
    return text;
}

std::optional<long double> parse_float(std::string_view text) noexcept {
    std::array<char, float_room> buffer;
    if (text.empty() || text.size() >= buffer.size() || is_space(text.front())) return std::nullopt;
    std::memcpy(buffer.data(), text.data(), text.size());
    buffer[text.size()] = '\0';
    char* end = nullptr;
    errno = 0;
    const auto value = std::strtold(buffer.data(), &end);
    if (end != buffer.data() + text.size() || std::isnan(value)) return std::nullopt;
    // A number too near to zero for full precision is out of range for strtold and yet good.
    if (errno == ERANGE && (std::isinf(value) || value == 0)) return std::nullopt;
    return value;
}

std::string format_float(long double value) {
    std::array<char, float_room> buffer;
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                            std::chars_format::fixed, 17);
    if (!std::isfinite(value) || error != std::errc{}) return {};
    std::string_view text{buffer.data(), static_cast<std::size_t>(end - buffer.data())};
    text = text.substr(0, text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.remove_suffix(1);
    return std::string{text == "-0" ? "0" : text};
}

std::optional<std::uint64_t> parse_cursor(std::string_view text) noexcept {
    const bool negative = text.starts_with('-');
    const bool has_sign = negative || text.starts_with('+');
    const auto digits = has_sign ? text.substr(1) : text;
    if (digits.empty() && has_sign) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : digits) {
        const auto next = static_cast<std::uint64_t>(c - '0');
        constexpr auto most = std::numeric_limits<std::uint64_t>::max();
        if (!is_digit(c) || value > (most - next) / 10) return std::nullopt;
        value = value * 10 + next;
    }
    return negative ? 0 - value : value;
}

}  // namespace sluice::kvstore
