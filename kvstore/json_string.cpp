#include "kvstore/json_string.hpp"

#include <bit>
#include <cstdint>
#include <cstring>

namespace sluice::kvstore {

namespace {

constexpr char hex_digits[] = "0123456789abcdef";
constexpr unsigned no_digit = 16;

std::uint8_t byte(char c) noexcept {
    return static_cast<std::uint8_t>(c);
}

std::size_t left(const char* at, const char* end) noexcept {
    return static_cast<std::size_t>(end - at);
}

unsigned hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
    return no_digit;
}

// The value of four hexadecimal digits that are known to be there.
unsigned hex4(const char* at) noexcept {
    unsigned value = 0;
    for (int i = 0; i < 4; ++i)
        value = value << 4 | hex_digit(at[i]);
    return value;
}

bool is_high(unsigned unit) noexcept {
    return unit >= 0xd800 && unit <= 0xdbff;
}

bool is_low(unsigned unit) noexcept {
    return unit >= 0xdc00 && unit <= 0xdfff;
}

// The surrogate that three bytes of WTF-8 stand for; 0: these are not such.
unsigned surrogate_at(const char* at, const char* end) noexcept {
    if (left(at, end) < 3 || byte(at[0]) != 0xed) return 0;
    if (byte(at[1]) < 0xa0 || byte(at[1]) > 0xbf || (byte(at[2]) & 0xc0) != 0x80) return 0;
    return 0xd000U | (byte(at[1]) & 0x3fU) << 6 | (byte(at[2]) & 0x3fU);
}

// A surrogate that may stand in a string: not a high one with a low one behind it; else 0.
unsigned lone_surrogate_at(const char* at, const char* end) noexcept {
    const unsigned unit = surrogate_at(at, end);
    if (is_high(unit) && is_low(surrogate_at(at + 3, end))) return 0;
    return unit;
}

char short_escape(char c) noexcept {
    switch (c) {
        case '"':
        case '\\':
            return c;
        case '\b':
            return 'b';
        case '\f':
            return 'f';
        case '\n':
            return 'n';
        case '\r':
            return 'r';
        case '\t':
            return 't';
        default:
            return '\0';
    }
}

void append_u_escape(std::string& out, unsigned unit) {
    const char text[] = {'\\',
                         'u',
                         hex_digits[unit >> 12 & 15],
                         hex_digits[unit >> 8 & 15],
                         hex_digits[unit >> 4 & 15],
                         hex_digits[unit & 15]};
    out.append(text, sizeof text);
}

void append_utf8(std::string& out, unsigned code) {
    const auto put = [&out](unsigned value) { out += static_cast<char>(value); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xc0 | code >> 6);
        put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        put(0xe0 | code >> 12);
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    } else {
        put(0xf0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3f));
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    }
}

bool is_continuation(char c) noexcept {
    return (byte(c) & 0xc0) == 0x80;
}

// How many bytes the character at `at` has; 0: it is not valid UTF-8.
std::size_t utf8_length(const char* at, const char* end) noexcept {
    const auto first = byte(*at);
    const auto have = left(at, end);
    if (first < 0xc2 || first > 0xf4) return 0;
    if (have < 2 || !is_continuation(at[1])) return 0;
    if (first < 0xe0) return 2;
    const auto second = byte(at[1]);
    if (have < 3 || !is_continuation(at[2])) return 0;
    if (first < 0xf0) {
        if (first == 0xe0 && second < 0xa0) return 0;  // too long for its value
        if (first == 0xed && second > 0x9f) return 0;  // surrogates
        return 3;
    }
    if (have < 4 || !is_continuation(at[3])) return 0;
    if (first == 0xf0 && second < 0x90) return 0;
    if (first == 0xf4 && second > 0x8f) return 0;  // beyond U+10FFFF
    return 4;
}

}  // namespace

const char* find_special(const char* at, const char* end) noexcept {
    // Eight bytes at a time. A borrow of these subtractions goes only upwards, from a byte that is
    // special itself, so the lowest mark is right whatever those above it say.
    constexpr std::uint64_t ones = 0x0101010101010101;
    constexpr std::uint64_t tops = 0x8080808080808080;
    if constexpr (std::endian::native == std::endian::little) {
        while (left(at, end) >= 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, at, 8);
            const std::uint64_t quote = word ^ ones * '"';
            const std::uint64_t slash = word ^ ones * '\\';
            const std::uint64_t marks =
                (((word - ones * 0x20) | (quote - ones) | (slash - ones)) & ~word) | word;
            if ((marks & tops) != 0) return at + std::countr_zero(marks & tops) / 8;
            at += 8;
        }
    }
    while (at != end && byte(*at) >= 0x20 && byte(*at) < 0x80 && *at != '"' && *at != '\\')
        ++at;
    return at;
}

const char* skip_utf8(const char* at, const char* end) noexcept {
    while (at != end && byte(*at) >= 0x80) {
        const auto length = utf8_length(at, end);
        if (length == 0) break;
        at += length;
    }
    return at;
}

std::size_t escape_length(const char* at, const char* end) noexcept {
    if (left(at, end) < 2) return 0;
    if (at[1] != 'u') return at[1] != '\0' && std::strchr("\"\\/bfnrt", at[1]) != nullptr ? 2 : 0;
    if (left(at, end) < 6) return 0;
    for (int i = 2; i < 6; ++i) {
        if (hex_digit(at[i]) == no_digit) return 0;
    }
    return 6;
}

bool can_be_json_string(std::string_view bytes) noexcept {
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    while ((at = find_special(at, end)) != end) {
        if (byte(*at) < 0x80) {
            ++at;
        } else if (const char* const next = skip_utf8(at, end); next != at) {
            at = next;
        } else if (lone_surrogate_at(at, end) != 0) {
            at += 3;
        } else {
            return false;
        }
    }
    return true;
}

bool append_json_string(std::string& out, std::string_view bytes) {
    const auto before = out.size();
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    const char* from = at;  // what is not in `out` yet
    out += '"';
    while ((at = find_special(at, end)) != end) {
        if (byte(*at) >= 0x80) {
            if (const char* const next = skip_utf8(at, end); next != at) {
                at = next;
                continue;
            }
            const auto unit = lone_surrogate_at(at, end);
            if (unit == 0) {
                out.resize(before);
                return false;
            }
            out.append(from, left(from, at));
            append_u_escape(out, unit);
            at += 3;
        } else {
            out.append(from, left(from, at));
            if (const char escape = short_escape(*at)) {
                out += '\\';
                out += escape;
            } else {
                append_u_escape(out, byte(*at));
            }
            ++at;
        }
        from = at;
    }
    out.append(from, left(from, end));
    out += '"';
    return true;
}

void append_unescaped(std::string& out, std::string_view inside) {
    const char* at = inside.data();
    const char* const end = at + inside.size();
    while (at != end) {
        const void* const found = std::memchr(at, '\\', left(at, end));
        const char* const slash = found == nullptr ? end : static_cast<const char*>(found);
        out.append(at, left(at, slash));
        if (slash == end) return;
        at = slash + 2;
        switch (slash[1]) {
            case 'b':
                out += '\b';
                break;
            case 'f':
                out += '\f';
                break;
            case 'n':
                out += '\n';
                break;
            case 'r':
                out += '\r';
                break;
            case 't':
                out += '\t';
                break;
            case 'u': {
                unsigned code = hex4(at);
                at += 4;
                if (is_high(code) && left(at, end) >= 6 && at[0] == '\\' && at[1] == 'u' &&
                    is_low(hex4(at + 2))) {
                    code = 0x10000 + ((code - 0xd800) << 10) + (hex4(at + 2) - 0xdc00);
                    at += 6;
                }
                append_utf8(out, code);
                break;
            }
            default:  // a quote, a slash, a backslash
                out += slash[1];
        }
    }
}

bool is_minimal_escaping(std::string_view inside) noexcept {
    const char* at = inside.data();
    const char* const end = at + inside.size();
    while (at != end) {
        const void* const found = std::memchr(at, '\\', left(at, end));
        if (found == nullptr) return true;
        at = static_cast<const char*>(found);
        if (at[1] == '/') return false;
        if (at[1] != 'u') {
            at += 2;
            continue;
        }
        for (int i = 2; i < 6; ++i) {
            if (at[i] >= 'A' && at[i] <= 'F') return false;
        }
        const unsigned unit = hex4(at + 2);
        at += 6;
        const bool paired = is_high(unit) && left(at, end) >= 6 && at[0] == '\\' && at[1] == 'u' &&
                            is_low(hex4(at + 2));
        const bool control = unit < 0x20 && short_escape(static_cast<char>(unit)) == '\0';
        if (paired || !(control || is_high(unit) || is_low(unit))) return false;
    }
    return true;
}

}  // namespace sluice::kvstore
