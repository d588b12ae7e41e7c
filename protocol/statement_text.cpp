#include "protocol/statement_text.hpp"

#include <pg_query.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/sql_words.hpp"

namespace sluice::protocol {

namespace {

// Numbers of libpg_query's tokens and kinds of words: pg_query.proto, enums Token and KeywordKind.
enum token_number : std::uint64_t {
    t_open = 40,
    t_close = 41,
    t_comma = 44,
    t_dot = 46,
    t_semicolon = 59,
    t_equals = 61,
    t_open_bracket = 91,
    t_close_bracket = 93,
    t_ident = 258,
    t_uident = 259,
    t_first_constant = 260,  // FCONST, SCONST, USCONST, BCONST, XCONST
    t_last_constant = 264,
    t_iconst = 266,
    t_param = 267,
    t_typecast = 268,
    t_sql_comment = 275,
    t_c_comment = 276,
};

enum class part : std::uint8_t { constant, param, name, word, sign };

struct piece {
    std::uint64_t number = 0;
    part what = part::sign;
    std::string_view text;  // as written
    [[nodiscard]] bool is(std::string_view lower_case) const noexcept {
        return what != part::constant && sql::equals_folded(text, lower_case);
    }
    [[nodiscard]] bool is_value() const noexcept {
        return what == part::constant || what == part::param;
    }
};

// Protocol Buffers' wire format, as far as the scan's answer needs it.
class wire {
  public:
    explicit wire(std::string_view bytes) : rest_(bytes) {}
    [[nodiscard]] bool done() const noexcept { return rest_.empty() || !ok_; }
    [[nodiscard]] bool ok() const noexcept { return ok_; }
    std::uint64_t number() {
        std::uint64_t out = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (rest_.empty()) break;
            const auto byte = static_cast<unsigned char>(rest_.front());
            rest_.remove_prefix(1);
            out |= std::uint64_t{byte & 0x7FU} << shift;
            if (byte < 0x80) return out;
        }
        ok_ = false;
        return 0;
    }
    std::string_view bytes() {
        const auto size = number();
        if (size > rest_.size()) ok_ = false;
        if (!ok_) return {};
        const auto out = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return out;
    }

  private:
    std::string_view rest_;
    bool ok_ = true;
};

part kind_of(std::uint64_t number, std::uint64_t keyword) noexcept {
    const bool constant =
        (number >= t_first_constant && number <= t_last_constant) || number == t_iconst;
    if (constant) return part::constant;
    if (number == t_param) return part::param;
    if (keyword != 0) return part::word;
    return number == t_ident || number == t_uident ? part::name : part::sign;
}

// message ScanToken { int32 start = 1; int32 end = 2; Token token = 4; KeywordKind keyword_kind = 5
// }
bool read_token(std::string_view bytes, std::string_view text, std::vector<piece>& to) {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t number = 0;
    std::uint64_t keyword = 0;
    wire in(bytes);
    while (!in.done()) {
        const auto tag = in.number();
        if ((tag & 7U) != 0) return false;
        const auto value = in.number();
        switch (tag >> 3U) {
            case 1:
                start = value;
                break;
            case 2:
                end = value;
                break;
            case 4:
                number = value;
                break;
            case 5:
                keyword = value;
                break;
            default:
                break;
        }
    }
    if (!in.ok() || start > end || end > text.size()) return false;
    if (number == t_sql_comment || number == t_c_comment) return true;
    to.push_back({number, kind_of(number, keyword), text.substr(start, end - start)});
    return true;
}

// message ScanResult { int32 version = 1; repeated ScanToken tokens = 2; }
bool read_tokens(std::string_view bytes, std::string_view text, std::vector<piece>& to) {
    wire in(bytes);
    while (!in.done()) {
        const auto tag = in.number();
        if (tag == 0x12) {
            if (!read_token(in.bytes(), text, to)) return false;
        } else if ((tag & 7U) == 0) {
            (void)in.number();
        } else {
            return false;
        }
    }
    return in.ok();
}

bool parses(const char* sql) {
    const auto result = pg_query_fingerprint(sql);
    const bool fine = result.error == nullptr;
    pg_query_free_fingerprint_result(result);
    return fine;
}

bool scan(const std::string& sql, std::vector<piece>& to) {
    const auto result = pg_query_scan(sql.c_str());
    const bool fine =
        result.error == nullptr && read_tokens({result.pbuf.data, result.pbuf.len}, sql, to);
    pg_query_free_scan_result(result);
    return fine;
}

// With standard_conforming_strings off the string would go on behind its quote.
bool is_doubtful(const piece& one) noexcept {
    return one.what == part::constant && one.text.find("\\'") != std::string_view::npos &&
           one.text.front() == '\'';
}

bool is_utf8(std::string_view text) noexcept {
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        std::size_t more = 0;
        if (c >= 0xC2 && c <= 0xDF)
            more = 1;
        else if (c >= 0xE0 && c <= 0xEF)
            more = 2;
        else if (c >= 0xF0 && c <= 0xF4)
            more = 3;
        else if (c >= 0x80)
            return false;
        if (more >= text.size() - i) return false;
        for (std::size_t k = 1; k <= more; ++k) {
            const auto next = static_cast<unsigned char>(text[i + k]);
            if ((next & 0xC0U) != 0x80) return false;
            if (k == 1 && ((c == 0xE0 && next < 0xA0) || (c == 0xED && next > 0x9F) ||
                           (c == 0xF0 && next < 0x90) || (c == 0xF4 && next > 0x8F))) {
                return false;
            }
        }
        i += more + 1;
    }
    return true;
}

// Statements of which everything but the constants is shown.
constexpr std::array<std::string_view, 32> shown{
    "select",  "insert",  "update", "delete",   "merge",   "values",   "with",       "table",
    "explain", "begin",   "start",  "commit",   "end",     "abort",    "execute",    "prepare",
    "copy",    "call",    "do",     "show",     "listen",  "unlisten", "notify",     "vacuum",
    "analyze", "analyse", "lock",   "truncate", "refresh", "discard",  "checkpoint", "reset"};
// ... and those whose names are made up for the moment.
constexpr std::array<std::string_view, 8> nameless{
    "savepoint", "release", "rollback", "declare", "fetch", "move", "close", "deallocate"};
// ... and those of which only what they do, and to what kind of thing, is.
constexpr std::array<std::string_view, 12> headed{"create", "alter",   "drop",     "grant",
                                                  "revoke", "comment", "set",      "security",
                                                  "import", "load",    "reassign", "reindex"};
constexpr std::array<std::string_view, 52> things{
    "role",       "user",      "group",     "mapping",      "database",    "schema",
    "table",      "index",     "unique",    "view",         "or",          "replace",
    "function",   "procedure", "aggregate", "trigger",      "event",       "type",
    "domain",     "extension", "sequence",  "temp",         "temporary",   "unlogged",
    "foreign",    "data",      "wrapper",   "server",       "policy",      "rule",
    "operator",   "class",     "family",    "cast",         "collation",   "language",
    "tablespace", "text",      "search",    "materialized", "publication", "subscription",
    "statistics", "system",    "default",   "privileges",   "owned",       "concurrently",
    "on",         "label",     "column",    "constraint"};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& words, const piece& one) noexcept {
    return one.what != part::name &&
           std::any_of(words.begin(), words.end(), [&](auto word) { return one.is(word); });
}

// Writes tokens with one spacing. Constants become parameters, numbered behind those there are.
class writer {
  public:
    explicit writer(std::size_t limit, unsigned used) : limit_(limit), last_(used) {}

    void put(const piece& one) {
        if (full_) return;
        space_before(one);
        if (one.what == part::constant) {
            out_ += '$' + std::to_string(++last_);
        } else if (one.what == part::name && !one.text.empty() &&
                   one.text.find('"') != std::string_view::npos) {
            out_ += one.text;
        } else {
            for (const char c : one.text)
                out_ += sql::lower(c);
        }
        before_ = one;
        any_ = true;
        if (out_.size() > limit_) {
            full_ = true;
            auto end = limit_;  // a name may be very long; not within a character
            while (end > 0 && (static_cast<unsigned char>(out_[end]) & 0xc0U) == 0x80U)
                --end;
            out_.resize(end);
            out_ += " ...";
        }
    }
    void put_rest() {  // of a list, or of what is not shown
        if (full_) return;
        if (any_ && out_.back() != '(' && out_.back() != ' ') out_ += ' ';
        out_ += "...";
        before_ = {};
        before_.what = part::name;
    }
    void put_list_rest() {
        if (full_) return;
        out_ += ", ...";
    }
    void separate() {
        if (full_) return;
        out_ += "; ";
        any_ = false;
    }
    [[nodiscard]] std::string take() { return std::move(out_); }

  private:
    void space_before(const piece& next) {
        if (!any_) return;
        const auto is = [](const piece& one, std::uint64_t number) { return one.number == number; };
        const auto joins_left = is(next, t_comma) || is(next, t_close) || is(next, t_dot) ||
                                is(next, t_close_bracket) || is(next, t_open_bracket) ||
                                is(next, t_typecast);
        const auto joins_right = is(before_, t_open) || is(before_, t_dot) ||
                                 is(before_, t_open_bracket) || is(before_, t_typecast);
        const bool call =
            is(next, t_open) &&
            (before_.what == part::name || (before_.what == part::word && !takes_space(before_)));
        if (!joins_left && !joins_right && !call) out_ += ' ';
    }
    static bool takes_space(const piece& word) noexcept {
        static constexpr std::array<std::string_view, 22> words{
            "in",  "values", "and",  "or",        "not",    "as",   "from",  "where",
            "on",  "using",  "over", "when",      "then",   "else", "union", "all",
            "any", "except", "by",   "returning", "select", "with"};
        return among(words, word);
    }

    std::string out_;
    std::size_t limit_;
    unsigned last_;
    piece before_;
    bool any_ = false;
    bool full_ = false;
};

using pieces = std::span<const piece>;

// The place behind a list "(value, value, ...)" that begins at `at`, or `at`.
std::size_t list_end(pieces from, std::size_t at) noexcept {
    if (at >= from.size()) return at;
    if (from[at].number != t_open && from[at].number != t_open_bracket) return at;
    const auto close = from[at].number == t_open ? t_close : t_close_bracket;
    auto i = at + 1;
    for (;;) {
        if (i + 1 >= from.size() || !from[i].is_value()) return at;
        if (from[i + 1].number == close) return i + 2;
        if (from[i + 1].number != t_comma) return at;
        i += 2;
    }
}

// IN ($1, $2, $3) and ARRAY[$1, $2, $3] of any length are one, and so are VALUES of any rows.
void write_all(pieces from, bool names_shown, writer& to) {
    for (std::size_t i = 0; i < from.size(); ++i) {
        if (!names_shown && from[i].what == part::name) {
            to.put_rest();
            continue;
        }
        to.put(from[i]);
        const bool values = from[i].is("values");
        if (!values && !from[i].is("in") && !from[i].is("array")) continue;
        auto end = list_end(from, i + 1);
        if (end == i + 1) continue;
        to.put(from[i + 1]);
        to.put(from[i + 2]);
        if (values) {
            for (auto k = i + 3; k + 1 < end; ++k)
                to.put(from[k]);
        } else if (end > i + 4) {
            to.put_list_rest();
        }
        to.put(from[end - 1]);
        if (values) {
            const auto first_row = end;
            for (auto next = end; next < from.size() && from[next].number == t_comma;) {
                const auto behind = list_end(from, next + 1);
                if (behind == next + 1) break;
                end = next = behind;
            }
            if (end != first_row) to.put_list_rest();
        }
        i = end - 1;
    }
}

void write_head(pieces from, writer& to) {
    to.put(from[0]);
    if (from[0].is("set")) {  // the name, never the value
        std::size_t i = 1;
        while (i < from.size() && !from[i].is("to") && from[i].number != t_equals && i < 6) {
            if (!from[i].is_value()) to.put(from[i]);
            ++i;
        }
        if (i < from.size()) to.put_rest();
        return;
    }
    std::size_t i = 1;
    while (i < from.size() && i < 6 && from[i].what == part::word && among(things, from[i]))
        to.put(from[i++]);
    if (i < from.size()) to.put_rest();
}

bool write_statement(pieces from, writer& to) {
    if (from.empty()) return true;
    if (from[0].number == t_open || among(shown, from[0])) {
        write_all(from, true, to);
    } else if (from[0].is("declare")) {
        to.put(from[0]);
        to.put_rest();
        write_all(from.subspan(std::min<std::size_t>(2, from.size())), true, to);
    } else if (among(nameless, from[0])) {
        write_all(from, false, to);
    } else if (among(headed, from[0])) {
        write_head(from, to);
    } else {
        return false;
    }
    return true;
}

unsigned highest_param(pieces from) noexcept {
    unsigned out = 0;
    for (const auto& one : from) {
        if (one.what != part::param) continue;
        unsigned number = 0;
        for (const char c : one.text.substr(1)) {
            if (c >= '0' && c <= '9' && number < 100000)
                number = number * 10 + static_cast<unsigned>(c - '0');
        }
        out = std::max(out, number);
    }
    return out;
}

// Splits at semicolons outside of brackets. False: something in it may not be shown.
bool write_statements(pieces from, writer& to) {
    int depth = 0;
    bool any = false;
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= from.size(); ++i) {
        if (i < from.size()) {
            if (from[i].number == t_open) ++depth;
            if (from[i].number == t_close) --depth;
            if (from[i].number != t_semicolon || depth > 0) continue;
        }
        const auto one = from.subspan(begin, i - begin);
        begin = i + 1;
        if (one.empty()) continue;
        if (any) to.separate();
        if (!write_statement(one, to)) return false;
        any = true;
    }
    return true;
}

}  // namespace

std::string unparsed_statement(std::string_view sql) {
    const char* const end = sql.data() + sql.size();
    const char* const begin = sql::skip_blank(sql.data(), end);
    const char* const word_end = sql::word_end(begin, end);
    const piece word{0, part::word, {begin, static_cast<std::size_t>(word_end - begin)}};
    std::string out;
    if (among(shown, word) || among(nameless, word) || among(headed, word)) {
        out = sql::folded(word.text) + ' ';
    }
    return out + "<unparsed>";
}

std::string normalised_statement(std::string_view sql, std::size_t limit) {
    if (sql.size() > longest_statement || sql.find('\0') != std::string_view::npos) {
        return unparsed_statement(sql);
    }
    const std::string text(sql);
    std::vector<piece> found;
    if (!parses(text.c_str()) || !scan(text, found)) return unparsed_statement(sql);
    if (found.empty()) return "<empty>";
    if (std::any_of(found.begin(), found.end(), is_doubtful)) return unparsed_statement(sql);
    writer out(limit, highest_param(found));
    if (!write_statements(found, out)) return unparsed_statement(sql);
    auto shown_text = out.take();
    if (shown_text.empty()) return "<empty>";
    return is_utf8(shown_text) ? shown_text : unparsed_statement(sql);
}

}  // namespace sluice::protocol
