// What a command is: a row of the table (name, arity, flags, where its keys are, its function) and
// the call that such a function gets. Names, arities and flags are redis-server 7.0's, since
// clients ask for them (COMMAND).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kvstore/batch.hpp"
#include "kvstore/reply.hpp"
#include "protocol/resp.hpp"

namespace sluice::kvstore {

class client;
struct command;
struct turn;

namespace flag {
inline constexpr std::uint32_t write = 1U << 0;     // changes data
inline constexpr std::uint32_t readonly = 1U << 1;  // reads data
inline constexpr std::uint32_t denyoom = 1U << 2;   // refused when memory is full
inline constexpr std::uint32_t admin = 1U << 3;
inline constexpr std::uint32_t noscript = 1U << 4;
inline constexpr std::uint32_t loading = 1U << 5;
inline constexpr std::uint32_t stale = 1U << 6;
inline constexpr std::uint32_t fast = 1U << 7;
inline constexpr std::uint32_t no_auth = 1U << 8;   // before AUTH too
inline constexpr std::uint32_t no_multi = 1U << 9;  // not between MULTI and EXEC
inline constexpr std::uint32_t skip_monitor = 1U << 10;
inline constexpr std::uint32_t skip_slowlog = 1U << 11;
inline constexpr std::uint32_t pubsub = 1U << 12;
inline constexpr std::uint32_t data = 1U << 13;      // not Redis's: works on the selected project
inline constexpr std::uint32_t everyone = 1U << 14;  // not Redis's: locks every project
inline constexpr std::uint32_t several = 1U << 15;   // not Redis's: names other projects too
inline constexpr std::uint32_t at_once = 1U << 16;   // not Redis's: is not queued by MULTI
inline constexpr std::uint32_t hidden = 1U << 17;    // not Redis's: only on the control socket
inline constexpr std::uint32_t counts = 1U << 18;    // not Redis's: looks at every project
}  // namespace flag

// One command being carried out, with the locks of its projects held.
struct call {
    std::span<const std::string_view> args;  // the command's name included
    client& self;
    turn& in;
    protocol::resp_writer out;
    project* here = nullptr;  // the selected one, for commands that have flag::data

    [[nodiscard]] time_ms now() const noexcept;
    [[nodiscard]] std::string_view arg(std::size_t i) const noexcept { return args[i]; }
    // args[i] is this option, in any case.
    [[nodiscard]] bool is(std::size_t i, std::string_view upper) const noexcept;

    void answer_in(int version);  // HELLO and RESET

    // --- errors that several commands share, as Redis words them ---
    void syntax_error() { out.error("ERR syntax error"); }
    void not_an_integer() { out.error("ERR value is not an integer or out of range"); }
    void no_such_key() { out.error("ERR no such key"); }
    void unknown_part();  // a subcommand, or its arguments, that it does not know
    // Whether the client may see and do what concerns other users; or it answers NOPERM.
    [[nodiscard]] bool may_administer();
    [[nodiscard]] bool is_administrator() const noexcept;
    [[nodiscard]] bool may_open(project_id id);                      // or it answers NOPERM
    [[nodiscard]] bool integer(std::size_t i, std::int64_t& value);  // or answers not_an_integer

    // --- data; `here` or another project that is held ---
    // Room in the log for more than the arguments: MOVE writes a value that it was not sent.
    // False: return at once, it has answered or will be run again.
    [[nodiscard]] bool reserve(std::uint64_t bytes);
    [[nodiscard]] const entry* read(std::string_view key);        // counts a hit or a miss
    [[nodiscard]] const entry* peek(std::string_view key) const;  // leaves no trace
    [[nodiscard]] const entry* look(std::string_view key);  // counts, but is no access: as TTL
    void value(const entry& from);                          // a bulk reply
    // Whether the project may grow so: quotas of keys, sizes and bytes. False: it has answered.
    [[nodiscard]] bool may_store(std::string_view key, std::uint64_t new_size,
                                 std::uint64_t old_size, bool is_new);
    // The parts of it: sizes of the key and its value; growth of the project.
    [[nodiscard]] bool may_have_size(std::string_view key, std::uint64_t size);
    [[nodiscard]] bool may_grow(const project& where, std::uint64_t bytes, std::uint64_t keys);
    [[nodiscard]] bool may_put(const project::place& at, std::string_view key, std::uint64_t size);
    // The same of any project that is held; `freed`: bytes of keys and values that go for it.
    [[nodiscard]] bool may_store_in(const project& where, std::string_view key,
                                    std::uint64_t value_size, std::uint64_t freed, bool is_new);
    // Checks the quotas, then puts. False: it has answered.
    [[nodiscard]] bool put(std::string_view key, std::string_view value, time_ms expires);
    [[nodiscard]] bool put(const project::place& at, std::string_view key, std::string_view value,
                           time_ms expires);
    void commit_put(const project::place& at, std::string_view key, std::string_view value,
                    time_ms expires);
    void erase(std::string_view key);
    void commit(const change& what);
};

using command_function = void (*)(call&);

// One row of the table.
struct command {
    std::string_view name;  // lower case
    int arity;              // with the name; negative: at least
    std::uint32_t flags;
    int first_key;
    int last_key;  // negative: from the end
    int key_step;
    command_function run;
    std::string_view group;       // "string", "generic", …
    std::string_view since;       // Redis's version
    std::string_view summary;     // our words
    std::string_view complexity;  // may be empty
    std::uint16_t number = 0;     // in the table: of counters
    // CONFIG, CLIENT, …: what the first argument chooses from. A part is named "config|get" and is
    // counted with the whole, which has no function of its own.
    std::span<const command> (*parts)() = nullptr;

    [[nodiscard]] bool has(std::uint32_t which) const noexcept { return (flags & which) != 0; }
};

// All of them, in no order that matters; the address of a row does not change.
[[nodiscard]] std::span<const command> all_commands();
// By name in any case; null when there is none.
[[nodiscard]] const command* find_command(std::string_view name) noexcept;
[[nodiscard]] const command* find_part(const command& of, std::string_view name) noexcept;
[[nodiscard]] const command* find_by_full_name(std::string_view name) noexcept;  // "config|get"
// What these words call: the command, or the part of it that they choose. Null: there is none.
[[nodiscard]] const command* find_called(std::span<const std::string_view> words) noexcept;

// The rows of each file.
[[nodiscard]] std::span<const command> string_commands();
[[nodiscard]] std::span<const command> counter_commands();
[[nodiscard]] std::span<const command> key_commands();
[[nodiscard]] std::span<const command> expiry_commands();
[[nodiscard]] std::span<const command> scan_commands();
[[nodiscard]] std::span<const command> object_commands();
[[nodiscard]] std::span<const command> transaction_commands();
[[nodiscard]] std::span<const command> connection_commands();
[[nodiscard]] std::span<const command> database_commands();
[[nodiscard]] std::span<const command> client_commands();
[[nodiscard]] std::span<const command> config_commands();
[[nodiscard]] std::span<const command> acl_commands();
[[nodiscard]] std::span<const command> info_commands();
[[nodiscard]] std::span<const command> command_commands();
[[nodiscard]] std::span<const command> server_commands();
[[nodiscard]] std::span<const command> control_commands();

[[nodiscard]] bool to_integer(std::string_view text, std::int64_t& value) noexcept;
[[nodiscard]] bool equals_in_any_case(std::string_view text, std::string_view lower) noexcept;

}  // namespace sluice::kvstore
