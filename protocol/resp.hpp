// RESP as a server speaks it: requests (arrays of bulk strings, and inline lines) in, replies of
// version 2 or 3 out. https://redis.io/docs/reference/protocol-spec/; texts and limits are those of
// redis-server 7.0 (networking.c), which clients match on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

struct resp_limits {
    std::size_t bulk = std::size_t{512} << 20;  // proto-max-bulk-len, inclusive
    // false: 10 arguments, most_before_login bytes of a whole command.
    bool authenticated = true;
};

// Bytes of one command, its headers too, of a client that has not authenticated. HELLO with AUTH,
// a password of 4 KiB and SETNAME fits in.
inline constexpr std::size_t most_before_login = std::size_t{8} << 10;

// Finds one command after the other at the front of what was received. It remembers how far it
// got, so a command that comes in many pieces costs time linear in its size: until a command is
// complete the caller keeps all unconsumed bytes and calls again with the same bytes and more
// behind them. Nothing is allocated for what a client declares, only for what it sent: less than
// three bytes for each byte of an array, 512 KiB for an inline line (before a login as much again
// as the line, which is short then), until the next call of next().
class resp_parser {
  public:
    enum class outcome {
        command,     // args() is one command (empty lines and empty arrays are passed over)
        incomplete,  // more bytes are needed
        broken,      // error() says why; nothing after it can be read, every later call says so too
    };
    // `input` begins where the last consumed() ended.
    [[nodiscard]] outcome next(byte_span input, const resp_limits& limits);

    // Views into the input of the last next(), or into this parser for quoted inline words; until
    // the next call or until the input is touched. Empty but after `command`.
    [[nodiscard]] std::span<const std::string_view> args() const noexcept { return args_; }
    // How many bytes of the input are done with: after `command` the command's, after `incomplete`
    // those of passed-over empty lines.
    [[nodiscard]] std::size_t consumed() const noexcept { return consumed_; }
    // After `incomplete`: the size that the input, without the consumed bytes, must reach at least
    // before calling again is of use (0: unknown). For a bulk of 100 MB this lets the receiver make
    // room once. Never more than one bulk beyond what was received.
    [[nodiscard]] std::size_t wanted() const noexcept { return wanted_; }
    // "Protocol error: invalid bulk length", without "-ERR ". It may hold one byte of the input,
    // even a CR: resp_writer::error makes it fit to send.
    [[nodiscard]] std::string_view error() const noexcept { return error_; }

  private:
    // What stands at at_.
    enum class stage : std::uint8_t {
        start,   // a command of which nothing was looked at
        line,    // an inline command
        count,   // the header of an array
        length,  // the header of a bulk
        bulk,    // a bulk
        broken,
    };
    // What one step came to.
    enum class step : std::uint8_t { on, whole, empty, more, broken };
    enum class line_end : std::uint8_t { found, missing, too_far };

    // The most that a command may have.
    struct bounds;
    bool take_array(std::string_view text, const bounds& most);
    void take_again(std::string_view command);
    outcome resume(std::string_view text, const resp_limits& limits);
    step advance(std::string_view text, const resp_limits& limits);
    step on_line(std::string_view text, const resp_limits& limits);
    step on_count(std::string_view text, const resp_limits& limits);
    step on_length(std::string_view text, const resp_limits& limits);
    step on_bulk(std::string_view text) noexcept;
    line_end find_end(std::string_view text, char end, const resp_limits& limits) noexcept;
    bool split_words(std::string_view line, std::size_t most);
    bool unquote_word(std::string_view line, std::size_t& at);
    step fail(std::string_view reason);
    void restart() noexcept;

    std::vector<std::string_view> args_;
    std::size_t consumed_ = 0;
    std::size_t wanted_ = 0;
    // All offsets are from the begin of the command. None are kept of its arguments: once it is
    // known to be whole, take_array goes over its headers again.
    stage stage_ = stage::start;
    std::size_t at_ = 0;
    std::size_t scanned_ = 0;  // from at_ to here the line or header does not end
    std::size_t bulk_ = 0;     // size of the bulk at at_
    std::size_t left_ = 0;     // bulks from at_ on
    std::string unquoted_;     // the quoted words of an inline command, one behind the other
    std::string error_;
};

// Appends replies to a string. `version` is 2 or 3.
class resp_writer {
  public:
    resp_writer(std::string& out, int version) noexcept : out_(out), version_(version) {}
    [[nodiscard]] int version() const noexcept { return version_; }

    void simple(std::string_view text);   // +OK
    void error(std::string_view text);    // -text; CR and LF are trimmed or become spaces
    void integer(std::int64_t value);     // :1
    void bulk(std::string_view bytes);    // $n
    void bulk_header(std::size_t bytes);  // the caller appends the bytes and CR LF
    void nil();                           // $-1 or _
    void nil_array();                     // *-1 or _
    void array(std::size_t items);
    void map(std::size_t pairs);  // *2n or %n
    void set(std::size_t items);  // *n or ~n
    void boolean(bool value);     // :0/:1 or #f/#t
    // A text for people: a bulk string, or =n txt: in version 3.
    void verbatim(std::string_view text);

  private:
    std::string& out_;
    int version_;
};

}  // namespace sluice::protocol
