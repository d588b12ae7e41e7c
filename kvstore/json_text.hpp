// JSON as text (RFC 8259, strict), for what libraries do not keep: how a number is written, the
// order of members, lone surrogates in escapes. Nothing here is recursive; arrays and objects nest
// up to json_most_nested deep. A text's bytes never get into an error. Stateless, any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::kvstore {

inline constexpr std::size_t json_most_nested = 1000;

struct json_fault {
    std::size_t offset = 0;
    std::string_view what;  // "a comma or ] expected"; lives for ever
};

// One value, not a string, that JSON.stringify(JSON.parse(text)) would write just so: no white
// space, no needless escape, no name twice in an object, whole numbers up to 2^53 - 1 either side
// or decimals without an exponent that are the shortest text of their double. (JavaScript moves
// names that are whole numbers to the front; that is let pass.) Most texts are refused by a byte or
// two.
[[nodiscard]] bool is_canonical_json(std::string_view text);

// Appends one value without the white space between its tokens; else says what is wrong. After an
// error `out` may have grown.
[[nodiscard]] bool compact_json(std::string_view text, std::string& out, json_fault& fault);

// Whether the whole text is one value, nested up to `nested` deep.
[[nodiscard]] bool check_json(std::string_view text, std::size_t nested, json_fault& fault);

// Appends compact JSON as JSON.stringify(x, null, 2) lays it out when x is `level` objects and
// arrays deep; the first line is not indented. False, and `out` as it was, when the text is not
// JSON without white space, or would become longer than `most` bytes.
[[nodiscard]] bool pretty_json(std::string_view compact, std::size_t level, std::string& out,
                               std::size_t most = std::string::npos);

struct json_token {
    std::string_view text;  // of a string: what is between the quotes
    bool escaped = false;   // a string with a backslash
};

// Goes over a text token by token. White space before a token is passed over. What gives false has
// set fault(), and the scanner is of no more use.
class json_scanner {
  public:
    explicit json_scanner(std::string_view text) noexcept
        : begin_(text.data()), at_(begin_), end_(begin_ + text.size()) {}

    // The first byte of the next token; NUL at the end of the text (and where a NUL stands).
    [[nodiscard]] char peek() noexcept;
    // True, and it is behind it, if the next token is this byte; never a fault.
    [[nodiscard]] bool take(char c) noexcept;
    [[nodiscard]] bool string(json_token& out) noexcept;
    [[nodiscard]] bool number(std::string_view& out) noexcept;
    [[nodiscard]] bool literal(std::string_view& out) noexcept;  // true, false, null
    // A whole value; `out`, if there is one, gets it without white space.
    [[nodiscard]] bool value(std::string* out, std::size_t nested = json_most_nested);
    // From a { or [ to behind what closes it, by looking at brackets and quotes alone: fast, and no
    // proof that it is JSON.
    [[nodiscard]] bool skip_unchecked() noexcept;
    [[nodiscard]] bool end_of_text() noexcept;  // nothing but white space is left, else a fault

    [[nodiscard]] std::size_t offset() const noexcept {
        return static_cast<std::size_t>(at_ - begin_);
    }
    void seek(std::size_t offset) noexcept { at_ = begin_ + offset; }
    bool fail(std::string_view what) noexcept;  // false, for `return fail(...)`
    [[nodiscard]] const json_fault& fault() const noexcept { return fault_; }

  private:
    bool skip_string_unchecked() noexcept;

    const char* begin_;
    const char* at_;
    const char* end_;
    json_fault fault_;
};

}  // namespace sluice::kvstore
