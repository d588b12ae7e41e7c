#include "protocol/saslprep.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "protocol/secret.hpp"

namespace sluice::protocol {

namespace {

struct range {
    std::uint32_t first;
    std::uint32_t last;
};

// RFC 3454, tables C.1.2 and B.1, and the union of C.2.2, C.3, C.4, C.6, C.7, C.8 and C.9 (C.5,
// surrogates, is not UTF-8 to begin with).
constexpr range spaces[] = {{0x00A0, 0x00A0}, {0x1680, 0x1680}, {0x2000, 0x200B},
                            {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};

constexpr range dropped[] = {{0x00AD, 0x00AD}, {0x034F, 0x034F}, {0x1806, 0x1806},
                             {0x180B, 0x180D}, {0x200B, 0x200D}, {0x2060, 0x2060},
                             {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}};

constexpr range prohibited[] = {
    {0x0000, 0x001F},   {0x007F, 0x009F},   {0x0340, 0x0341},   {0x06DD, 0x06DD},
    {0x070F, 0x070F},   {0x180E, 0x180E},   {0x200C, 0x200F},   {0x2028, 0x202E},
    {0x2060, 0x2063},   {0x206A, 0x206F},   {0x2FF0, 0x2FFB},   {0xE000, 0xF8FF},
    {0xFDD0, 0xFDEF},   {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFF},   {0x1D173, 0x1D17A},
    {0x1FFFE, 0x1FFFF}, {0x2FFFE, 0x2FFFF}, {0x3FFFE, 0x3FFFF}, {0x4FFFE, 0x4FFFF},
    {0x5FFFE, 0x5FFFF}, {0x6FFFE, 0x6FFFF}, {0x7FFFE, 0x7FFFF}, {0x8FFFE, 0x8FFFF},
    {0x9FFFE, 0x9FFFF}, {0xAFFFE, 0xAFFFF}, {0xBFFFE, 0xBFFFF}, {0xCFFFE, 0xCFFFF},
    {0xDFFFE, 0xDFFFF}, {0xE0001, 0xE0001}, {0xE0020, 0xE007F}, {0xEFFFE, 0x10FFFF}};

bool within(std::span<const range> table, std::uint32_t code) noexcept {
    const auto at = std::lower_bound(table.begin(), table.end(), code,
                                     [](const range& r, std::uint32_t c) { return r.last < c; });
    return at != table.end() && at->first <= code;
}

struct code_point {
    std::uint32_t value;
    std::size_t size;  // in bytes
};

// The first character of `text`; nothing if that is not UTF-8 (too long a form and surrogates
// are not).
std::optional<code_point> first_character(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    const std::uint32_t head = byte(0);
    if (head < 0x80) return code_point{head, 1};
    const std::size_t size = head >= 0xF0 ? 4 : head >= 0xE0 ? 3 : 2;
    if (head < 0xC2 || head > 0xF4 || text.size() < size) return std::nullopt;
    std::uint32_t value = head & (0x7FU >> size);
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) return std::nullopt;
        value = (value << 6) | (byte(i) & 0x3FU);
    }
    const std::uint32_t least = size == 4 ? 0x10000 : size == 3 ? 0x800 : 0x80;
    const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    if (value < least || surrogate || value > 0x10FFFF) return std::nullopt;
    return code_point{value, size};
}

}  // namespace

std::string saslprep(std::string_view password) {
    const auto is_ascii = [](char c) { return static_cast<std::uint8_t>(c) < 0x80; };
    std::string out;
    out.reserve(password.size());  // the result is never longer: no copies are left by growing
    bool keep = std::all_of(password.begin(), password.end(), is_ascii);
    if (!keep) {
        auto rest = password;
        while (!rest.empty() && !keep) {
            const auto next = first_character(rest);
            if (!next) {
                keep = true;
                break;
            }
            if (within(spaces, next->value)) {
                out += ' ';
            } else if (!within(dropped, next->value)) {
                keep = within(prohibited, next->value);
                out += rest.substr(0, next->size);
            }
            rest.remove_prefix(next->size);
        }
        keep = keep || out.empty();
    }
    if (keep) {
        wipe(out);
        out = password;
    }
    return out;
}

}  // namespace sluice::protocol
