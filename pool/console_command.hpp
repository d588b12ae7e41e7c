// The admin console's language: text to commands. PgBouncer's commands, what drivers ask of every
// server when they connect, and our own. Keywords in any case, names with or without quotes,
// comments, several commands in one text. Plain values, no state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pool/console_table.hpp"

namespace sluice::pool {

// What SHOW shows.
enum class show_kind : std::uint8_t {
    active_sockets,
    clients,
    config,
    databases,
    dns_hosts,
    dns_zones,
    fds,
    help,
    lists,
    mem,
    peer_pools,
    peers,
    pins,
    pools,
    queries,
    servers,
    sockets,
    state,
    stats,
    stats_averages,
    stats_totals,
    totals,
    users,
    version,
    waiters,
};

enum class console_verb : std::uint8_t {
    empty,
    invalid,      // problem says why
    constant,     // one row that needs nobody: SHOW client_encoding, SELECT version()
    acknowledge,  // nothing to be done: tag
    begin,
    commit,
    rollback,
    show,
    set,
    reset_queries,
    reload,
    pause,
    resume,
    disable,
    enable,
    reconnect,
    kill,
    kill_client,
    wait_close,
    shutdown,
    suspend,
};

enum class constant_of : std::uint8_t { text, user, database };

// Where drivers look for PostgreSQL's version.
inline constexpr std::string_view console_server_version = "15.0 (sluice console)";

struct console_command {
    console_verb verb = console_verb::empty;
    show_kind show = show_kind::help;
    constant_of source = constant_of::text;
    console_column column;  // constant
    std::string argument;   // a database, a client, a mode, a key; of constant, its value
    std::string value;      // SET's
    std::string_view tag;   // of CommandComplete; the whole of it but for SET
    std::string_view sqlstate;
    std::string problem;
    std::string hint;
};

// One command for each statement that is not empty; one that is empty for a text without any.
[[nodiscard]] std::vector<console_command> parse_console(std::string_view text);

}  // namespace sluice::pool
