// PostgreSQL's lexical rules as far as a scan needs them: where words, names, strings and comments
// begin and end. Pure functions over a text that the caller keeps; nothing is read past `end`, what
// is not closed lasts to the end, and the time is linear. Not known: client encodings in which a
// byte of a character looks like ASCII (SJIS and the like).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sluice::protocol::sql {

enum class char_kind : std::uint8_t {
    other,
    space,
    word,  // what a word begins with
    digit,
    quote,
    double_quote,
    dollar,
    minus,
    slash,
    open,
    close,
    semicolon
};

constexpr std::array<char_kind, 256> make_kinds() {
    std::array<char_kind, 256> out{};
    for (std::size_t c = 0; c < 256; ++c) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (letter || c == '_' || c >= 0x80) out[c] = char_kind::word;
        if (c >= '0' && c <= '9') out[c] = char_kind::digit;
    }
    for (const unsigned char c : {' ', '\t', '\n', '\r', '\f', '\v'})
        out[c] = char_kind::space;
    out['\''] = char_kind::quote;
    out['"'] = char_kind::double_quote;
    out['$'] = char_kind::dollar;
    out['-'] = char_kind::minus;
    out['/'] = char_kind::slash;
    out['('] = char_kind::open;
    out[')'] = char_kind::close;
    out[';'] = char_kind::semicolon;
    return out;
}

constexpr std::array<bool, 256> make_word_chars() {
    std::array<bool, 256> out{};
    const auto kinds = make_kinds();
    for (std::size_t c = 0; c < 256; ++c)
        out[c] = kinds[c] == char_kind::word || kinds[c] == char_kind::digit || c == '$';
    return out;
}

inline constexpr auto kinds = make_kinds();
inline constexpr auto word_chars = make_word_chars();

inline char_kind kind_of(char c) noexcept {
    return kinds[static_cast<unsigned char>(c)];
}
inline bool is_word_char(char c) noexcept {
    return word_chars[static_cast<unsigned char>(c)];
}

constexpr char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

inline const char* word_end(const char* p, const char* end) noexcept {
    while (p != end && is_word_char(*p))
        ++p;
    return p;
}

inline constexpr std::uint64_t case_bits = 0x2020202020202020U;

// The first eight bytes of a word, without case, zeros behind a shorter one. Setting the bit of
// lower case keeps all characters of words apart, but for those that are not ASCII.
constexpr std::uint64_t word_key(std::string_view word) noexcept {
    std::uint64_t key = 0;
    for (std::size_t i = 0; i < word.size() && i < 8; ++i) {
        const auto byte = static_cast<unsigned char>(word[i]) | 0x20U;
        key |= std::uint64_t{byte} << (8 * i);
    }
    return key;
}

// The same for a word within a text, in one load where the text goes on.
inline std::uint64_t word_key(const char* p, std::size_t size, const char* end) noexcept {
    if constexpr (std::endian::native == std::endian::little) {
        if (end - p >= 8) [[likely]] {
            std::uint64_t key = 0;
            std::memcpy(&key, p, 8);
            key |= case_bits;
            return size >= 8 ? key : key & ((std::uint64_t{1} << (8 * size)) - 1);
        }
    }
    return word_key(std::string_view{p, size});
}

// Whether `text` is `lower_case` when folded as the server folds names.
inline bool equals_folded(std::string_view text, std::string_view lower_case) noexcept {
    if (text.size() != lower_case.size()) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (lower(text[i]) != lower_case[i]) return false;
    }
    return true;
}

// Names are cut to what the server keeps of them, not within a character of UTF-8.
[[nodiscard]] std::string_view cut_name(std::string_view name) noexcept;
[[nodiscard]] std::string folded(std::string_view name);
// Halves doubled quotes.
[[nodiscard]] std::string halved(std::string_view text, char quote);

// All of these take where the thing begins and give where it ends.

// Spaces and comments; nothing if there are none.
[[nodiscard]] const char* skip_blank(const char* p, const char* end) noexcept;
// A comment whose first character is at p; p itself if it is none.
[[nodiscard]] const char* skip_comment(const char* p, const char* end) noexcept;
// A quoted name, its opening quote at p.
[[nodiscard]] const char* skip_quoted_name(const char* p, const char* end) noexcept;
// A dollar-quoted string, its first dollar at p; `body` is what is in it. p + 1 if it is none.
[[nodiscard]] const char* skip_dollar(const char* p, const char* end,
                                      std::string_view& body) noexcept;

enum class string_kind { plain, escape, bits, unicode };

// A string with its continuations on further lines, its opening quote (behind the prefix) at p.
[[nodiscard]] const char* skip_string(const char* p, const char* end, string_kind kind,
                                      bool standard_strings) noexcept;

// The prefix of a string or name that a word of one letter may be: E'', B'', X'', U&'', U&"".
struct quote_prefix {
    enum class kind { none, string, name } what = kind::none;
    string_kind string = string_kind::plain;
    const char* quote = nullptr;  // where its opening quote is
};
[[nodiscard]] quote_prefix read_prefix(const char* word, const char* word_end,
                                       const char* end) noexcept;

struct token {
    enum class kind { end, word, quoted, string, number, other } what = kind::end;
    // Words as written; names and strings without their quotes, doubled ones still doubled.
    std::string_view text;
    // The text is not the value: escapes, or a string in several pieces.
    bool escaped = false;
    bool dollar = false;

    [[nodiscard]] bool is(std::string_view lower_case) const noexcept {
        return what == kind::word && equals_folded(text, lower_case);
    }
    [[nodiscard]] bool is(char c) const noexcept {
        return what == kind::other && text.front() == c;
    }
    // Of a string or quoted name that is not escaped.
    [[nodiscard]] std::string value() const;
};

// One token after the other, where speed does not count.
class reader {
  public:
    reader(std::string_view text, bool standard_strings) noexcept
        : p_(text.data()), end_(text.data() + text.size()), standard_(standard_strings) {}

    [[nodiscard]] token next() noexcept;

  private:
    [[nodiscard]] token string_at(const char* quote, string_kind kind) noexcept;
    [[nodiscard]] token name_at(const char* quote, bool escaped) noexcept;

    const char* p_;
    const char* end_;
    bool standard_;
};

}  // namespace sluice::protocol::sql
