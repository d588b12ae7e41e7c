#include "protocol/statement_shape.hpp"

#include <algorithm>
#include <cstring>

#include "protocol/sql_words.hpp"

namespace sluice::protocol {

namespace {

using sql::char_kind;

constexpr std::uint64_t spread = 0x9E3779B97F4A7C15U;

// One multiplication a word; the last mixing is in `end`.
inline std::uint64_t mix(std::uint64_t hash, std::uint64_t value) noexcept {
    hash = (hash ^ value) * spread;
    return hash ^ (hash >> 29);
}

inline std::uint64_t end(std::uint64_t hash) noexcept {
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93U;
    hash ^= hash >> 32;
    return hash == 0 ? 1 : hash;
}

// Names that are made up anew each time: SAVEPOINT s140_x7, DECLARE "_cursor_42".
constexpr bool names_are_passing(std::uint64_t verb) noexcept {
    return verb == sql::word_key("savepoint") || verb == sql::word_key("release") ||
           verb == sql::word_key("rollback") || verb == sql::word_key("declare") ||
           verb == sql::word_key("fetch") || verb == sql::word_key("move") ||
           verb == sql::word_key("close") || verb == sql::word_key("deallocate");
}

bool looks_made_up(const char* p, const char* to) noexcept {
    return std::any_of(p, to, [](char c) { return c == '_' || (c >= '0' && c <= '9'); });
}

std::uint64_t mix_bytes(std::uint64_t hash, const char* p, const char* to) noexcept {
    for (; to - p >= 8; p += 8) {
        std::uint64_t part = 0;
        std::memcpy(&part, p, 8);
        hash = mix(hash, part);
    }
    std::uint64_t part = 0;
    std::memcpy(&part, p, static_cast<std::size_t>(to - p));
    return mix(hash, part);
}

inline std::uint64_t mix_word(std::uint64_t hash, const char* p, const char* to,
                              const char* text_end) noexcept {
    const auto size = static_cast<std::size_t>(to - p);
    hash = mix(hash, sql::word_key(p, size, text_end));
    for (std::size_t at = 8; at < size; at += 8) {
        const auto left = std::min<std::size_t>(8, size - at);
        hash = mix(hash, sql::word_key(p + at, left, text_end));
    }
    return hash;
}

// 12, 1.5, 1e-9, 0x1F, and what follows a dollar in $1.
const char* number_end(const char* p, const char* to) noexcept {
    while (p != to) {
        const bool sign = (*p == '+' || *p == '-') && (p[-1] == 'e' || p[-1] == 'E');
        if (!sql::is_word_char(*p) && *p != '.' &&
            !(sign && p + 1 != to && sql::kind_of(p[1]) == char_kind::digit)) {
            break;
        }
        ++p;
    }
    return p;
}

inline std::uint64_t eight_bytes(const char* p) noexcept {
    std::uint64_t out = 0;
    std::memcpy(&out, p, 8);
    return out;
}

}  // namespace

std::uint64_t exact_statement(std::string_view sql, std::uint64_t seed) noexcept {
    const char* p = sql.data();
    auto left = sql.size();
    // Two chains, so that the second multiplication need not wait for the first.
    std::uint64_t one = seed ^ (std::uint64_t{left} * spread);
    std::uint64_t two = ~seed;
    for (; left >= 16; left -= 16, p += 16) {
        one = mix(one, eight_bytes(p));
        two = mix(two, eight_bytes(p + 8));
    }
    if (left >= 8) {
        one = mix(one, eight_bytes(p));
        p += 8;
        left -= 8;
    }
    std::uint64_t rest = 0;
    if (left > 0) std::memcpy(&rest, p, left);
    return end(mix(one, two) + mix(two, rest));
}

std::uint64_t statement_shape(std::string_view sql, bool standard_strings,
                              std::uint64_t seed) noexcept {
    constexpr std::uint64_t constant = 1;
    const char* p = sql.data();
    const char* const to = p + sql.size();
    std::uint64_t hash = seed ^ spread;
    bool first = true;
    bool passing = false;
    while (p != to) {
        const char* const at = p;
        switch (sql::kind_of(*at)) {
            case char_kind::space:
                ++p;
                break;
            case char_kind::word: {
                p = sql::word_end(at + 1, to);
                if (p - at == 1) {
                    const auto prefix = sql::read_prefix(at, p, to);
                    if (prefix.what == sql::quote_prefix::kind::string) {
                        p = sql::skip_string(prefix.quote, to, prefix.string, standard_strings);
                        hash = mix(hash, constant);
                        break;
                    }
                }
                if (first)
                    passing =
                        names_are_passing(sql::word_key(at, static_cast<std::size_t>(p - at), to));
                first = false;
                if (passing && looks_made_up(at, p)) break;
                hash = mix_word(hash, at, p, to);
                break;
            }
            case char_kind::digit:
                p = number_end(at + 1, to);
                hash = mix(hash, constant);
                break;
            case char_kind::quote:
                p = sql::skip_string(at, to, sql::string_kind::plain, standard_strings);
                hash = mix(hash, constant);
                break;
            case char_kind::double_quote:
                p = sql::skip_quoted_name(at, to);
                if (!passing) hash = mix_bytes(hash, at, p);
                break;
            case char_kind::dollar: {
                std::string_view body;
                p = sql::skip_dollar(at, to, body);
                if (p == at + 1) p = number_end(p, to);  // $1
                hash = mix(hash, constant);
                break;
            }
            case char_kind::minus:
            case char_kind::slash:
                p = sql::skip_comment(at, to);
                if (p != at) break;
                [[fallthrough]];
            case char_kind::open:
            case char_kind::close:
            case char_kind::semicolon:
            case char_kind::other:
                ++p;
                if (*at == ';') first = true, passing = false;
                hash = mix(hash, static_cast<unsigned char>(*at) + std::uint64_t{256});
                break;
        }
    }
    return end(hash);
}

}  // namespace sluice::protocol
