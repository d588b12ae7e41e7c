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
    bool authenticated = true;                  // false: 10 arguments, bulks of 16384 bytes
};

// Finds one command after the other at the front of what was received. It remembers how far it
// got, so that a command that comes in many pieces is looked at once: until a command is complete
// the caller keeps all unconsumed bytes and calls again with the same bytes and more behind them.
class resp_parser {
  public:
    enum class outcome {
        command,     // args() is one command (empty lines and empty arrays are passed over)
        incomplete,  // more bytes are needed
        broken,      // error() says why; nothing after it can be read
    };
    // `input` begins where the last consumed() ended.
    [[nodiscard]] outcome next(byte_span input, const resp_limits& limits);

    // Views into the input of the last next(), or into this parser for quoted inline words; until
    // the next call or until the input is touched.
    [[nodiscard]] std::span<const std::string_view> args() const noexcept { return args_; }
    // How many bytes of the input are done with: after `command` the command's, after `incomplete`
    // those of passed-over empty lines.
    [[nodiscard]] std::size_t consumed() const noexcept { return consumed_; }
    // After `incomplete`: the size that the input must reach at least before calling again is of
    // use (0: unknown). For a bulk of 100 MB this lets the receiver make room once.
    [[nodiscard]] std::size_t wanted() const noexcept { return wanted_; }
    // "Protocol error: invalid bulk length", without "-ERR ".
    [[nodiscard]] std::string_view error() const noexcept { return error_; }

  private:
    std::vector<std::string_view> args_;
    std::string error_;
    std::size_t consumed_ = 0;
    std::size_t wanted_ = 0;
    // the rest is the implementation's
};

// Appends replies to a string. `version` is 2 or 3.
class resp_writer {
  public:
    resp_writer(std::string& out, int version) noexcept : out_(out), version_(version) {}
    [[nodiscard]] int version() const noexcept { return version_; }

    void simple(std::string_view text);   // +OK
    void error(std::string_view text);    // -text; CR and LF become spaces
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
