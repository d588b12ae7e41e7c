#include "protocol/sql_words.hpp"

namespace sluice::protocol::sql {

namespace {

constexpr std::size_t longest_name = 63;

const char* find(const char* p, const char* end, char c) noexcept {
    if (p == end) return end;
    const auto* at = std::memchr(p, c, static_cast<std::size_t>(end - p));
    return at == nullptr ? end : static_cast<const char*>(at);
}

constexpr bool ends_line(char c) noexcept {
    return c == '\n' || c == '\r';
}

// Nested, as the standard has it.
const char* skip_block_comment(const char* p, const char* end) noexcept {
    std::size_t depth = 1;
    p += 2;
    while (end - p >= 2) {
        if (p[0] == '*' && p[1] == '/') {
            p += 2;
            if (--depth == 0) return p;
        } else if (p[0] == '/' && p[1] == '*') {
            p += 2;
            ++depth;
        } else {
            ++p;
        }
    }
    return end;
}

// One piece of a string, p behind its opening quote.
const char* skip_piece(const char* p, const char* end, bool backslash, bool doubled) noexcept {
    for (;;) {
        const char* begin = p;
        p = find(p, end, '\'');
        if (p == end) return end;
        if (backslash) {
            // An odd number of backslashes in front of the quote makes it a character.
            const char* run = p;
            while (run != begin && run[-1] == '\\')
                --run;
            if ((p - run) % 2 != 0) {
                ++p;
                continue;
            }
        }
        ++p;
        if (!doubled || p == end || *p != '\'') return p;
        ++p;
    }
}

// The quote with which a string goes on: only white space with a line's end in it between.
const char* next_piece(const char* p, const char* end) noexcept {
    bool line_ended = false;
    while (p != end) {
        if (kind_of(*p) == char_kind::space) {
            line_ended = line_ended || ends_line(*p);
            ++p;
        } else if (*p == '-' && end - p >= 2 && p[1] == '-') {
            p = skip_comment(p, end);
        } else {
            return *p == '\'' && line_ended ? p : nullptr;
        }
    }
    return nullptr;
}

}  // namespace

std::string_view cut_name(std::string_view name) noexcept {
    if (name.size() <= longest_name) return name;
    std::size_t size = longest_name;
    while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0U) == 0x80U)
        --size;
    return name.substr(0, size == 0 ? longest_name : size);
}

std::string folded(std::string_view name) {
    std::string out{name};
    for (auto& c : out)
        c = lower(c);
    return out;
}

std::string halved(std::string_view text, char quote) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        out += text[i];
        if (text[i] == quote && i + 1 < text.size() && text[i + 1] == quote) ++i;
    }
    return out;
}

const char* skip_comment(const char* p, const char* end) noexcept {
    if (end - p < 2) return p;
    if (p[0] == '/' && p[1] == '*') return skip_block_comment(p, end);
    if (p[0] != '-' || p[1] != '-') return p;
    while (p != end && !ends_line(*p))
        ++p;
    return p;
}

const char* skip_blank(const char* p, const char* end) noexcept {
    while (p != end) {
        if (kind_of(*p) == char_kind::space) {
            ++p;
            continue;
        }
        const char* after = skip_comment(p, end);
        if (after == p) return p;
        p = after;
    }
    return p;
}

const char* skip_quoted_name(const char* p, const char* end) noexcept {
    ++p;
    for (;;) {
        p = find(p, end, '"');
        if (p == end) return end;
        ++p;
        if (p == end || *p != '"') return p;
        ++p;
    }
}

const char* skip_dollar(const char* p, const char* end, std::string_view& body) noexcept {
    body = {};
    const char* q = p + 1;
    if (q != end && kind_of(*q) == char_kind::word) {
        while (q != end && is_word_char(*q) && *q != '$')
            ++q;
    }
    if (q == end || *q != '$') return p + 1;
    ++q;
    const std::string_view mark{p, static_cast<std::size_t>(q - p)};
    const std::string_view rest{q, static_cast<std::size_t>(end - q)};
    // A mark holds no dollar within, so a failed comparison ends before the next one starts.
    const auto at = rest.find(mark);
    body = rest.substr(0, at);
    return at == std::string_view::npos ? end : q + at + mark.size();
}

const char* skip_string(const char* p, const char* end, string_kind kind,
                        bool standard_strings) noexcept {
    const bool backslash =
        kind == string_kind::escape || (kind == string_kind::plain && !standard_strings);
    for (;;) {
        p = skip_piece(p + 1, end, backslash, kind != string_kind::bits);
        // A further piece of an ordinary string reads like another string.
        if (kind == string_kind::plain) return p;
        const char* further = next_piece(p, end);
        if (further == nullptr) return p;
        p = further;
    }
}

quote_prefix read_prefix(const char* word, const char* word_end, const char* end) noexcept {
    using enum quote_prefix::kind;
    if (word_end - word != 1 || word_end == end) return {};
    const char letter = lower(*word);
    if (*word_end == '\'') {
        if (letter == 'e') return {string, string_kind::escape, word_end};
        if (letter == 'b' || letter == 'x') return {string, string_kind::bits, word_end};
        return {};
    }
    if (letter != 'u' || *word_end != '&' || end - word_end < 2) return {};
    if (word_end[1] == '\'') return {string, string_kind::unicode, word_end + 1};
    if (word_end[1] == '"') return {name, string_kind::plain, word_end + 1};
    return {};
}

std::string token::value() const {
    if (what == kind::word) return folded(text);
    return dollar ? std::string{text} : halved(text, what == kind::quoted ? '"' : '\'');
}

token reader::string_at(const char* quote, string_kind kind) noexcept {
    p_ = skip_string(quote, end_, kind, standard_);
    const char* begin = quote + 1;
    // A string that is not closed goes to the end; its last character may be a quote of its own.
    const bool closed = p_ > begin && p_[-1] == '\'';
    const char* last = closed ? p_ - 1 : p_;
    token out{token::kind::string, {begin, static_cast<std::size_t>(last - begin)}};
    const bool backslash = kind == string_kind::escape || kind == string_kind::unicode ||
                           (kind == string_kind::plain && !standard_);
    out.escaped = kind == string_kind::unicode ||
                  (backslash && out.text.find('\\') != std::string_view::npos) ||
                  (kind != string_kind::plain && out.text.find('\'') != std::string_view::npos) ||
                  next_piece(p_, end_) != nullptr;
    return out;
}

token reader::name_at(const char* quote, bool escaped) noexcept {
    p_ = skip_quoted_name(quote, end_);
    const char* begin = quote + 1;
    const char* last = p_ > begin && p_[-1] == '"' ? p_ - 1 : p_;
    return {token::kind::quoted, {begin, static_cast<std::size_t>(last - begin)}, escaped};
}

token reader::next() noexcept {
    p_ = skip_blank(p_, end_);
    if (p_ == end_) return {};
    const char* begin = p_;
    switch (kind_of(*p_)) {
        case char_kind::word: {
            const char* after = word_end(p_, end_);
            const auto prefix = read_prefix(p_, after, end_);
            if (prefix.what == quote_prefix::kind::string)
                return string_at(prefix.quote, prefix.string);
            if (prefix.what == quote_prefix::kind::name) return name_at(prefix.quote, true);
            p_ = after;
            return {token::kind::word, {begin, static_cast<std::size_t>(p_ - begin)}};
        }
        case char_kind::quote:
            return string_at(p_, string_kind::plain);
        case char_kind::double_quote:
            return name_at(p_, false);
        case char_kind::dollar: {
            std::string_view body;
            p_ = skip_dollar(p_, end_, body);
            if (p_ - begin > 1) return {token::kind::string, body, false, true};
            break;
        }
        case char_kind::digit:
            while (p_ != end_ && kind_of(*p_) == char_kind::digit)
                ++p_;
            return {token::kind::number, {begin, static_cast<std::size_t>(p_ - begin)}};
        default:
            ++p_;
            break;
    }
    return {token::kind::other, {begin, 1}};
}

}  // namespace sluice::protocol::sql
