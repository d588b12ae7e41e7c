// The conversation with one client of the admin console after its login: bytes of the Postgres
// protocol, simple or extended, in; bytes and commands to run out. What a command gave is fed back
// with answer(). Knows no commands but those that need nobody (BEGIN, SELECT version(), …).
// Confined to the client's worker.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/console_command.hpp"
#include "pool/console_table.hpp"
#include "protocol/bytes.hpp"

namespace sluice::pool {

enum class console_want : std::uint8_t {
    bytes,      // everything whole was taken: read on
    answer,     // command() is to be run
    goodbye,    // Terminate
    rejection,  // broken: send rejection() and close
};

struct console_notice {
    std::string message;
    std::string detail;
};

// What came of a command.
struct console_answer {
    std::string_view sqlstate;  // of an error; empty: there is none
    std::string message;
    std::string detail;
    std::string hint;
    std::vector<console_notice> notices;
    std::optional<console_table> table;
    std::string tag;

    static console_answer error(std::string_view sqlstate, std::string message,
                                std::string hint = {}, std::string detail = {}) {
        console_answer out;
        out.sqlstate = sqlstate;
        out.message = std::move(message);
        out.hint = std::move(hint);
        out.detail = std::move(detail);
        return out;
    }
};

class console_protocol {
  public:
    static constexpr std::uint32_t largest_message = 65536;
    static constexpr std::size_t most_statements = 1000;  // prepared ones, and portals

    console_protocol(std::string user, std::string database)
        : user_(std::move(user)), database_(std::move(database)) {}

    // Takes messages from the front of `in` until one of them needs something; returns how many
    // bytes were taken. To be called again after answer(), even with nothing new.
    std::size_t receive(protocol::byte_span in, std::string& out);
    [[nodiscard]] console_want want() const noexcept { return want_; }
    // Bytes from the front of the buffer that the next receive() needs to get anywhere.
    [[nodiscard]] std::size_t needed() const noexcept { return needed_; }
    [[nodiscard]] const console_command& command() const noexcept { return running_; }
    [[nodiscard]] const std::string& rejection() const noexcept { return rejection_; }

    void answer(console_answer what, std::string& out);

  private:
    struct portal {
        console_command command;
        binary_columns binary;
        std::optional<console_table> table;  // once it has run
        std::size_t sent = 0;                // rows of it
        std::string tag;
    };

    void on_message(char type, protocol::byte_span body, std::string& out);
    void on_query(protocol::byte_span body);
    void on_parse(protocol::byte_span body, std::string& out);
    void on_bind(protocol::byte_span body, std::string& out);
    void on_describe(protocol::byte_span body, std::string& out);
    void on_execute(protocol::byte_span body, std::string& out);
    void on_close(protocol::byte_span body, std::string& out);
    void next_statement(std::string& out);
    void run(const console_command& what, std::string& out);
    void finish(console_answer what, std::string& out);
    void send_rows(portal& from, std::string& out) const;
    void end_batch(std::string& out);
    void fail(std::string_view sqlstate, std::string message, std::string hint, std::string& out);
    void broken(const char* what, std::string& out);
    void reject(std::string message);
    [[nodiscard]] console_table table_of(const console_command& constant) const;

    std::string user_;
    std::string database_;
    std::map<std::string, console_command, std::less<>> statements_;
    std::map<std::string, portal, std::less<>> portals_;
    std::deque<console_command> queue_;  // of a simple query
    console_command running_;
    std::string executing_;        // the portal that it is for
    std::uint32_t most_rows_ = 0;  // of this Execute; 0: all
    std::string rejection_;
    std::size_t needed_ = 0;
    console_want want_ = console_want::bytes;
    bool in_query_ = false;
    bool skip_to_sync_ = false;
    char status_ = 'I';
};

}  // namespace sluice::pool
