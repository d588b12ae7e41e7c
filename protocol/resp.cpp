// The rules are those of networking.c and sds.c of Redis 7.0, as its server was seen to behave: a
// zero byte hides the rest of a line, and the byte behind a header's CR and the two behind a bulk
// are whatever they are.
#include "protocol/resp.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <limits>
#include <optional>

namespace sluice::protocol {

namespace {

constexpr std::size_t longest_line = 65536;  // of an inline command or a header, without its end
constexpr std::size_t most_args_of_all = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t most_args_before_login = 10;
constexpr std::size_t smallest_bulk = 6;                       // $0 CR LF CR LF
constexpr std::size_t most_digits = 18;                        // any 18 digits are a 64-bit integer
constexpr std::size_t longest_bulk = 999'999'999'999'999'999;  // whatever the limits say
// What is kept from one command to the next.
constexpr std::size_t kept_args = 512;
constexpr std::size_t kept_unquoted = 4096;

constexpr std::size_t digit(char c) noexcept {
    return static_cast<unsigned char>(c - '0');  // above 9: none
}

std::size_t most_args(const resp_limits& limits) noexcept {
    return limits.authenticated ? most_args_of_all : most_args_before_login;
}

std::size_t most_bulk(const resp_limits& limits) noexcept {
    return std::min(limits.bulk, longest_bulk);
}

// Takes a canonical length, the CR behind it and one byte more, if `at` begins with that.
inline bool take_length(const char*& at, const char* end, std::size_t& length) noexcept {
    if (at == end) return false;
    std::size_t value = digit(*at);
    if (value > 9) return false;
    const char* p = at + 1;
    if (value != 0) {
        const char* const stop =
            static_cast<std::size_t>(end - at) > most_digits ? at + most_digits : end;
        for (; p != stop && digit(*p) <= 9; ++p)
            value = value * 10 + digit(*p);
    }
    if (end - p < 2 || *p != '\r') return false;
    at = p + 2;
    length = value;
    return true;
}

// The one form that Redis takes as an integer: no space, plus, leading zero or "-0".
std::optional<std::int64_t> canonical(std::string_view text) noexcept {
    const auto digits = text.starts_with('-') ? text.substr(1) : text;
    const bool leads = !digits.empty() && digits.front() >= '1' && digits.front() <= '9';
    if (!leads && text != "0") return std::nullopt;
    std::int64_t value = 0;
    const auto* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return value;
}

bool is_space(char c) noexcept {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

char escaped(char c) noexcept {
    switch (c) {
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        case 'b':
            return '\b';
        case 'a':
            return '\a';
        default:
            return c;
    }
}

// Appends what stands behind the quote before `at` to `out` and moves `at` to the closing quote.
bool unquote(std::string_view line, std::size_t& at, char quote, std::string& out) {
    for (; at < line.size(); ++at) {
        const char c = line[at];
        if (c == quote) return true;
        const bool paired = c == '\\' && at + 1 < line.size();
        if (paired && quote == '\'' && line[at + 1] == '\'') {
            out += line[++at];
        } else if (paired && quote == '"') {
            ++at;
            const bool hex = line[at] == 'x' && at + 2 < line.size() &&
                             hex_digit(line[at + 1]) >= 0 && hex_digit(line[at + 2]) >= 0;
            out += hex ? static_cast<char>(hex_digit(line[at + 1]) * 16 + hex_digit(line[at + 2]))
                       : escaped(line[at]);
            if (hex) at += 2;
        } else {
            out += c;
        }
    }
    return false;
}

}  // namespace

struct resp_parser::bounds {
    std::size_t args = most_args_of_all;
    std::size_t bulk = longest_bulk;
    std::size_t bytes = std::numeric_limits<std::size_t>::max();
};

resp_parser::outcome resp_parser::next(byte_span input, const resp_limits& limits) {
    if (args_.capacity() > kept_args || unquoted_.capacity() > kept_unquoted) [[unlikely]] {
        std::vector<std::string_view>{}.swap(args_);  // assignment from {} would keep the room
        std::string{}.swap(unquoted_);
    }
    consumed_ = 0;
    wanted_ = 0;
    const auto text = as_text(input);
    bounds most{most_args(limits), most_bulk(limits)};
    if (!limits.authenticated) most.bytes = most_before_login;
    if (stage_ == stage::start && take_array(text, most)) [[likely]]
        return outcome::command;
    return resume(text, limits);
}

// The common case: an array that is all there. Gives false, with nothing changed but args_, for
// whatever else stands there.
bool resp_parser::take_array(std::string_view text, const bounds& most) {
    const char* at = text.data();
    const char* const end = at + text.size();
    if (at == end || *at != '*') return false;
    ++at;
    std::size_t count = 0;
    if (!take_length(at, end, count) || count == 0 || count > most.args) return false;
    // The vector grows only for bytes that came.
    if (count > static_cast<std::size_t>(end - at) / smallest_bulk) return false;
    args_.resize(count);
    for (auto& arg : args_) {
        if (at == end || *at != '$') return false;
        ++at;
        std::size_t size = 0;
        if (!take_length(at, end, size) || size > most.bulk) return false;
        const auto left = static_cast<std::size_t>(end - at);
        if (left < 2 || size > left - 2) return false;
        arg = {at, size};
        at += size + 2;
    }
    const auto whole = static_cast<std::size_t>(at - text.data());
    if (whole > most.bytes) return false;
    consumed_ = whole;
    return true;
}

// Everything else, step by step. Each step keeps where it stopped.
resp_parser::outcome resp_parser::resume(std::string_view text, const resp_limits& limits) {
    args_.clear();
    std::size_t passed = 0;
    for (;;) {
        const auto command = text.substr(passed);
        auto result = outcome::incomplete;
        switch (advance(command, limits)) {
            case step::on:
                continue;
            case step::empty:
                passed += at_;
                restart();
                continue;
            case step::whole:
                if (command.front() == '*') take_again(command.substr(0, at_));
                passed += at_;
                restart();
                result = outcome::command;
                break;
            case step::more:
                break;
            case step::broken:
                result = outcome::broken;
                break;
        }
        consumed_ = passed;
        return result;
    }
}

// Finds the arguments of an array that was gone over and found good. Limits were looked at then;
// they may have changed since.
void resp_parser::take_again(std::string_view command) {
    [[maybe_unused]] const bool whole = take_array(command, bounds{});
    assert(whole && consumed_ == command.size());
}

resp_parser::step resp_parser::advance(std::string_view text, const resp_limits& limits) {
    switch (stage_) {
        case stage::start:
            if (text.empty()) return step::more;
            stage_ = text.front() == '*' ? stage::count : stage::line;
            return step::on;
        case stage::line:
            return on_line(text, limits);
        case stage::count:
            return on_count(text, limits);
        case stage::length:
            return on_length(text, limits);
        case stage::bulk:
            return on_bulk(text);
        case stage::broken:
            break;
    }
    return step::broken;
}

resp_parser::step resp_parser::on_line(std::string_view text, const resp_limits& limits) {
    const auto end = find_end(text, '\n', limits);
    if (end == line_end::too_far) return fail("too big inline request");
    if (end == line_end::missing) return step::more;
    auto line = text.substr(0, scanned_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    at_ = scanned_ + 1;
    if (!split_words(line, most_args(limits))) return fail("unbalanced quotes in request");
    // Redis has no such limit, but it has no use either for so many words before a login.
    if (args_.size() > most_args(limits)) return fail("unauthenticated multibulk length");
    return args_.empty() ? step::empty : step::whole;
}

resp_parser::step resp_parser::on_count(std::string_view text, const resp_limits& limits) {
    const auto end = find_end(text, '\r', limits);
    if (end == line_end::too_far) return fail("too big mbulk count string");
    if (end == line_end::missing) return step::more;
    if (text.size() - scanned_ < 2) {
        wanted_ = scanned_ + 2;
        return step::more;
    }
    const auto count = canonical(text.substr(1, scanned_ - 1));
    if (!count || *count > static_cast<std::int64_t>(most_args_of_all))
        return fail("invalid multibulk length");
    if (*count > static_cast<std::int64_t>(most_args(limits)))
        return fail("unauthenticated multibulk length");
    at_ = scanned_ = scanned_ + 2;
    if (*count <= 0) return step::empty;
    left_ = static_cast<std::size_t>(*count);
    stage_ = stage::length;
    return step::on;
}

resp_parser::step resp_parser::on_length(std::string_view text, const resp_limits& limits) {
    const auto end = find_end(text, '\r', limits);
    if (end == line_end::too_far) return fail("too big bulk count string");
    if (end == line_end::missing) return step::more;
    if (text.size() - scanned_ < 2) {
        wanted_ = scanned_ + 2;
        return step::more;
    }
    if (text[at_] != '$') {
        std::string reason = "expected '$', got '?'";
        reason[reason.size() - 2] = text[at_];
        return fail(reason);
    }
    const auto length = canonical(text.substr(at_ + 1, scanned_ - at_ - 1));
    if (!length || *length < 0) return fail("invalid bulk length");
    bulk_ = static_cast<std::size_t>(*length);
    if (bulk_ > most_bulk(limits)) return fail("invalid bulk length");
    at_ = scanned_ + 2;
    // With what the bulks that are still to come need at least.
    const auto least = at_ + bulk_ + 2 + (left_ - 1) * smallest_bulk;
    if (!limits.authenticated && least > most_before_login)
        return fail("unauthenticated bulk length");
    stage_ = stage::bulk;
    return step::on;
}

resp_parser::step resp_parser::on_bulk(std::string_view text) noexcept {
    const auto behind = at_ + bulk_ + 2;
    if (text.size() < behind) {
        wanted_ = behind;
        return step::more;
    }
    at_ = scanned_ = behind;
    stage_ = stage::length;
    return --left_ == 0 ? step::whole : step::on;
}

// Moves scanned_ to `end`, or to where it must be looked for when more has come.
resp_parser::line_end resp_parser::find_end(std::string_view text, char end,
                                            const resp_limits& limits) noexcept {
    // Before a login the line's end has to fit in as well: a command is refused before more than
    // most_before_login of it is waited for.
    const auto longest = limits.authenticated          ? longest_line
                         : at_ + 2 < most_before_login ? most_before_login - 2 - at_
                                                       : 0;
    const auto stop = std::min(text.size(), at_ + longest + 1);
    for (; scanned_ < stop && text[scanned_] != '\0'; ++scanned_) {
        if (text[scanned_] == end) return line_end::found;
    }
    return text.size() - at_ > longest ? line_end::too_far : line_end::missing;
}

// A word without quotes is a view of the line. The others are put into unquoted_, which has room
// for all of them from the first on, because unquoting never makes longer. Ends early with one word
// more than `most`.
bool resp_parser::split_words(std::string_view line, std::size_t most) {
    unquoted_.clear();
    for (std::size_t at = 0;;) {
        while (at < line.size() && is_space(line[at]))
            ++at;
        if (at == line.size() || args_.size() > most) return true;
        const auto end = std::min(line.find_first_of(" \n\r\t\"'", at), line.size());
        if (end == line.size() || is_space(line[end])) {
            args_.push_back(line.substr(at, end - at));
            at = end;
        } else {
            unquoted_.reserve(line.size());
            if (!unquote_word(line, at)) return false;
        }
    }
}

// A word ends behind its closing quote, where white space must follow; a vertical tab or form feed
// ends it only there.
bool resp_parser::unquote_word(std::string_view line, std::size_t& at) {
    const auto begin = unquoted_.size();
    while (line[at] != '"' && line[at] != '\'')
        unquoted_ += line[at++];
    const char quote = line[at++];
    if (!unquote(line, at, quote, unquoted_)) return false;
    ++at;
    if (at < line.size() && !is_space(line[at])) return false;
    args_.push_back(std::string_view{unquoted_}.substr(begin));
    return true;
}

resp_parser::step resp_parser::fail(std::string_view reason) {
    args_.clear();
    error_ = "Protocol error: ";
    error_ += reason;
    stage_ = stage::broken;
    return step::broken;
}

void resp_parser::restart() noexcept {
    stage_ = stage::start;
    at_ = scanned_ = 0;
}

namespace {

// A mark, a number and CR LF.
class header {
  public:
    header(char mark, std::int64_t number) noexcept {
        text_[0] = mark;
        end_ = std::to_chars(text_.data() + 1, text_.data() + text_.size() - 2, number).ptr;
        *end_++ = '\r';
        *end_++ = '\n';
    }
    [[nodiscard]] std::string_view text() const noexcept {
        return {text_.data(), static_cast<std::size_t>(end_ - text_.data())};
    }

  private:
    std::array<char, 24> text_;
    char* end_;
};

void append_header(std::string& out, char mark, std::size_t number) {
    out += header(mark, static_cast<std::int64_t>(number)).text();
}

}  // namespace

void resp_writer::simple(std::string_view text) {
    out_ += '+';
    out_ += text;
    out_ += "\r\n";
}

void resp_writer::error(std::string_view text) {
    const auto first = text.find_first_not_of("\r\n");
    text = first == std::string_view::npos
               ? std::string_view()
               : text.substr(first, text.find_last_not_of("\r\n") + 1 - first);
    out_ += '-';
    const auto begin = out_.size();
    out_ += text;
    for (auto at = begin; at < out_.size(); ++at) {
        if (out_[at] == '\r' || out_[at] == '\n') out_[at] = ' ';
    }
    out_ += "\r\n";
}

void resp_writer::integer(std::int64_t value) {
    out_ += header(':', value).text();
}

void resp_writer::bulk(std::string_view bytes) {
    bulk_header(bytes.size());
    out_ += bytes;
    out_ += "\r\n";
}

void resp_writer::bulk_header(std::size_t bytes) {
    append_header(out_, '$', bytes);
}

void resp_writer::nil() {
    out_ += version_ == 3 ? "_\r\n" : "$-1\r\n";
}

void resp_writer::nil_array() {
    out_ += version_ == 3 ? "_\r\n" : "*-1\r\n";
}

void resp_writer::array(std::size_t items) {
    append_header(out_, '*', items);
}

void resp_writer::map(std::size_t pairs) {
    if (version_ == 3)
        append_header(out_, '%', pairs);
    else
        append_header(out_, '*', 2 * pairs);
}

void resp_writer::set(std::size_t items) {
    append_header(out_, version_ == 3 ? '~' : '*', items);
}

void resp_writer::boolean(bool value) {
    if (version_ == 3)
        out_ += value ? "#t\r\n" : "#f\r\n";
    else
        out_ += value ? ":1\r\n" : ":0\r\n";
}

void resp_writer::verbatim(std::string_view text) {
    if (version_ != 3) return bulk(text);
    append_header(out_, '=', text.size() + 4);
    out_ += "txt:";
    out_ += text;
    out_ += "\r\n";
}

}  // namespace sluice::protocol
