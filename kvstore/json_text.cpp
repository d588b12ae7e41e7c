#include "kvstore/json_text.hpp"

#include <algorithm>
#include <bitset>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <vector>

#include "kvstore/json_string.hpp"

namespace sluice::kvstore {

namespace {

// What a fault of the walk names beyond the deepest value: a project's file has two more levels.
constexpr std::size_t deepest_walk = 1024;
constexpr std::string_view too_deep = "arrays and objects are nested too deep";

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_space(char c) noexcept {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

// Goes over one value and tells the visitor each token. The visitor stops the walk by giving false.
//   bool open(char, bool empty), close(char, bool empty), comma()
//   bool name(const json_token&), string(const json_token&), scalar(std::string_view)
template <class Visitor>
class walk {
  public:
    walk(json_scanner& scanner, Visitor& visitor, std::size_t nested) noexcept
        : scanner_(scanner), visitor_(visitor), nested_(std::min(nested, deepest_walk)) {}

    bool run() {
        for (;;) {
            bool opened = false;
            if (!value(opened)) return false;
            if (opened) continue;
            for (;;) {  // behind a value
                if (depth_ == 0) return true;
                const bool object = objects_[depth_ - 1];
                if (scanner_.take(',')) {
                    if (!visitor_.comma() || (object && !name())) return false;
                    break;
                }
                if (!scanner_.take(object ? '}' : ']')) {
                    return scanner_.fail(object ? "a comma or } expected"
                                                : "a comma or ] expected");
                }
                --depth_;
                if (!visitor_.close(object ? '}' : ']', false)) return false;
            }
        }
    }

  private:
    // A scalar or an empty array or object as a whole; else up to the first value within.
    bool value(bool& opened) {
        const char first = scanner_.peek();
        if (first == '"') {
            json_token token;
            return scanner_.string(token) && visitor_.string(token);
        }
        if (first == '{' || first == '[') return open(first, opened);
        std::string_view text;
        if (first == '-' || is_digit(first)) return scanner_.number(text) && visitor_.scalar(text);
        return scanner_.literal(text) && visitor_.scalar(text);
    }

    bool open(char bracket, bool& opened) {
        const bool object = bracket == '{';
        const char closing = object ? '}' : ']';
        if (depth_ == nested_) return scanner_.fail(too_deep);
        (void)scanner_.take(bracket);
        const bool empty = scanner_.take(closing);
        if (!visitor_.open(bracket, empty)) return false;
        if (empty) return visitor_.close(closing, true);
        objects_[depth_++] = object;
        opened = true;
        return !object || name();
    }

    bool name() {
        json_token token;
        if (scanner_.peek() != '"') return scanner_.fail("a member's name expected");
        if (!scanner_.string(token) || !visitor_.name(token)) return false;
        return scanner_.take(':') || scanner_.fail("a colon expected");
    }

    json_scanner& scanner_;
    Visitor& visitor_;
    std::size_t nested_;
    std::size_t depth_ = 0;
    std::bitset<deepest_walk> objects_;
};

template <class Visitor>
bool walk_value(json_scanner& scanner, Visitor& visitor, std::size_t nested) {
    return walk<Visitor>(scanner, visitor, nested).run();
}

struct check_visitor {
    bool open(char, bool) noexcept { return true; }
    bool close(char, bool) noexcept { return true; }
    bool comma() noexcept { return true; }
    bool name(const json_token&) noexcept { return true; }
    bool string(const json_token&) noexcept { return true; }
    bool scalar(std::string_view) noexcept { return true; }
};

void append_quoted(std::string& out, std::string_view inside) {
    out += '"';
    out += inside;
    out += '"';
}

struct compact_visitor {
    std::string& out;

    bool open(char bracket, bool) { return put(bracket); }
    bool close(char bracket, bool) { return put(bracket); }
    bool comma() { return put(','); }
    bool name(const json_token& token) {
        append_quoted(out, token.text);
        return put(':');
    }
    bool string(const json_token& token) {
        append_quoted(out, token.text);
        return true;
    }
    bool scalar(std::string_view text) {
        out += text;
        return true;
    }
    bool put(char c) {
        out += c;
        return true;
    }
};

// Counts what a compact text of the same tokens would have, too: where that is less than the text,
// there was white space.
struct pretty_visitor {
    std::string& out;
    std::size_t level;
    std::size_t most;  // size that `out` may reach
    std::size_t compact = 0;

    bool open(char bracket, bool empty) {
        put(bracket);
        if (empty) return true;
        ++level;
        return line();
    }
    bool close(char bracket, bool empty) {
        if (!empty) {
            --level;
            if (!line()) return false;
        }
        put(bracket);
        return fits();
    }
    bool comma() {
        put(',');
        return line();
    }
    bool name(const json_token& token) {
        append_quoted(out, token.text);
        out += ": ";
        compact += token.text.size() + 3;
        return fits();
    }
    bool string(const json_token& token) {
        append_quoted(out, token.text);
        compact += token.text.size() + 2;
        return fits();
    }
    bool scalar(std::string_view text) {
        out += text;
        compact += text.size();
        return fits();
    }

    void put(char c) {
        out += c;
        ++compact;
    }
    bool line() {
        out += '\n';
        out.append(level * 2, ' ');
        return fits();
    }
    [[nodiscard]] bool fits() const noexcept { return out.size() <= most; }
};

bool is_canonical_whole(std::string_view digits) noexcept {
    constexpr std::string_view largest = "9007199254740991";
    return digits.size() < largest.size() || (digits.size() == largest.size() && digits <= largest);
}

// `text` is a number by RFC 8259.
bool is_canonical_number(std::string_view text) noexcept {
    const auto digits = text.substr(text[0] == '-' ? 1 : 0);
    const auto dot = digits.find('.');
    if (dot == std::string_view::npos) {
        if (digits.find_first_of("eE") != std::string_view::npos) return false;
        return is_canonical_whole(digits) && text != "-0";
    }
    char shortest[48];
    if (text.size() >= sizeof shortest || text.back() == '0') return false;
    double value = 0;
    const auto read =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return false;
    if (!(std::fabs(value) >= 1e-6 && std::fabs(value) < 1e21)) return false;
    const auto written =
        std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::fixed);
    return written.ec == std::errc() &&
           std::string_view(shortest, static_cast<std::size_t>(written.ptr - shortest)) == text;
}

// Stops at what JSON.stringify would not write so. White space shows as in pretty_visitor.
struct canonical_visitor {
    std::size_t compact = 0;
    std::vector<std::string_view> names;  // of the objects that are open
    std::vector<std::size_t> first_name;  // where those of each open object or array begin

    bool open(char, bool empty) {
        ++compact;
        if (!empty) first_name.push_back(names.size());
        return true;
    }
    bool close(char, bool empty) {
        ++compact;
        if (empty) return true;
        const auto from = names.begin() + static_cast<std::ptrdiff_t>(first_name.back());
        if (names.end() - from > 1) {
            std::sort(from, names.end());
            if (std::adjacent_find(from, names.end()) != names.end()) return false;
        }
        names.resize(first_name.back());
        first_name.pop_back();
        return true;
    }
    bool comma() {
        ++compact;
        return true;
    }
    bool name(const json_token& token) {
        compact += token.text.size() + 3;
        names.push_back(token.text);  // where escapes are minimal, equal names have equal text
        return !token.escaped || is_minimal_escaping(token.text);
    }
    bool string(const json_token& token) {
        compact += token.text.size() + 2;
        return !token.escaped || is_minimal_escaping(token.text);
    }
    bool scalar(std::string_view text) {
        compact += text.size();
        return !(text[0] == '-' || is_digit(text[0])) || is_canonical_number(text);
    }
};

}  // namespace

char json_scanner::peek() noexcept {
    while (at_ != end_ && is_space(*at_))
        ++at_;
    return at_ == end_ ? '\0' : *at_;
}

bool json_scanner::take(char c) noexcept {
    if (peek() != c || at_ == end_) return false;
    ++at_;
    return true;
}

bool json_scanner::fail(std::string_view what) noexcept {
    if (fault_.what.empty()) fault_ = {offset(), at_ == end_ ? "the text ends too early" : what};
    return false;
}

bool json_scanner::string(json_token& out) noexcept {
    if (peek() != '"') return fail("a string expected");
    const char* const from = ++at_;
    out.escaped = false;
    for (;;) {
        at_ = find_special(at_, end_);
        if (at_ == end_) return fail({});
        if (*at_ == '"') {
            out.text = {from, static_cast<std::size_t>(at_ - from)};
            ++at_;
            return true;
        }
        if (*at_ == '\\') {
            const auto length = escape_length(at_, end_);
            if (length == 0) return fail("an escape that JSON does not have");
            out.escaped = true;
            at_ += length;
        } else {
            const char* const next = skip_utf8(at_, end_);
            if (next == at_) return fail("a byte that a JSON string may not hold");
            at_ = next;
        }
    }
}

bool json_scanner::number(std::string_view& out) noexcept {
    constexpr std::string_view malformed = "a number that is no JSON number";
    (void)peek();
    const char* const from = at_;
    const auto digits = [this] {
        const char* const first = at_;
        while (at_ != end_ && is_digit(*at_))
            ++at_;
        return at_ != first;
    };
    const auto is = [this](char a, char b) { return at_ != end_ && (*at_ == a || *at_ == b); };
    if (is('-', '-')) ++at_;
    if (is('0', '0')) {
        ++at_;
    } else if (!digits()) {
        return fail(malformed);
    }
    if (is('.', '.')) {
        ++at_;
        if (!digits()) return fail(malformed);
    }
    if (is('e', 'E')) {
        ++at_;
        if (is('+', '-')) ++at_;
        if (!digits()) return fail(malformed);
    }
    out = {from, static_cast<std::size_t>(at_ - from)};
    return true;
}

bool json_scanner::literal(std::string_view& out) noexcept {
    (void)peek();
    const std::string_view rest(at_, static_cast<std::size_t>(end_ - at_));
    for (const std::string_view word : {"null", "true", "false"}) {
        if (rest.starts_with(word)) {
            out = rest.substr(0, word.size());
            at_ += word.size();
            return true;
        }
    }
    return fail("a value expected");
}

bool json_scanner::value(std::string* out, std::size_t nested) {
    if (out != nullptr) {
        compact_visitor visitor{*out};
        return walk_value(*this, visitor, nested);
    }
    check_visitor visitor;
    return walk_value(*this, visitor, nested);
}

bool json_scanner::skip_string_unchecked() noexcept {
    ++at_;
    for (;;) {
        const void* const quote = std::memchr(at_, '"', static_cast<std::size_t>(end_ - at_));
        if (quote == nullptr) {
            at_ = end_;
            return fail({});
        }
        const char* slashes = static_cast<const char*>(quote);
        at_ = slashes + 1;
        while (slashes[-1] == '\\')  // the opening quote stops it
            --slashes;
        if ((at_ - slashes) % 2 == 1) return true;  // an even number of backslashes before it
    }
}

bool json_scanner::skip_unchecked() noexcept {
    std::size_t depth = 0;
    for (; at_ != end_; ++at_) {
        const char c = *at_;
        if (c == '"') {
            if (!skip_string_unchecked()) return false;
            --at_;
        } else if (c == '{' || c == '[') {
            ++depth;
        } else if (c == '}' || c == ']') {
            if (--depth == 0) {
                ++at_;
                return true;
            }
        }
    }
    return fail({});
}

bool json_scanner::end_of_text() noexcept {
    (void)peek();
    return at_ == end_ || fail("more text behind the end");
}

bool is_canonical_json(std::string_view text) {
    if (text.empty()) return false;
    json_scanner scanner(text);
    std::string_view scalar;
    switch (text.front()) {
        case '{':
        case '[':
            if (text.back() != (text.front() == '{' ? '}' : ']')) return false;
            break;
        case 't':
        case 'f':
        case 'n':
            return text == "true" || text == "false" || text == "null";
        default:
            if (text.front() != '-' && !is_digit(text.front())) return false;
            return is_digit(text.back()) && scanner.number(scalar) &&
                   scalar.size() == text.size() && is_canonical_number(text);
    }
    canonical_visitor visitor;
    return walk_value(scanner, visitor, json_most_nested) && visitor.compact == text.size();
}

bool compact_json(std::string_view text, std::string& out, json_fault& fault) {
    json_scanner scanner(text);
    if (scanner.value(&out) && scanner.end_of_text()) return true;
    fault = scanner.fault();
    return false;
}

bool check_json(std::string_view text, std::size_t nested, json_fault& fault) {
    json_scanner scanner(text);
    if (scanner.value(nullptr, nested) && scanner.end_of_text()) return true;
    fault = scanner.fault();
    return false;
}

bool pretty_json(std::string_view compact, std::size_t level, std::string& out, std::size_t most) {
    const auto before = out.size();
    const auto limit = most < std::string::npos - before ? before + most : std::string::npos;
    json_scanner scanner(compact);
    pretty_visitor visitor{out, level, limit};
    if (walk_value(scanner, visitor, json_most_nested) && visitor.compact == compact.size()) {
        return true;
    }
    out.resize(before);
    return false;
}

}  // namespace sluice::kvstore
