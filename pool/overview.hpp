// A snapshot of everything that the admin console shows: sockets, pools, databases, users, totals.
// Plain values, gathered by the daemon a worker at a time: parts may be a moment apart.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pool/bounded_pool.hpp"
#include "pool/session_state.hpp"
#include "pool/statement_total.hpp"
#include "pool/stats_history.hpp"

namespace sluice::pool {

using wall_time = std::chrono::system_clock::time_point;

// A server connection that was idle for longer is shown as used: PgBouncer's default of a setting
// that is not needed here, where each connection is looked at when it is handed out.
constexpr auto server_check_delay = std::chrono::seconds(30);

enum class socket_state : std::uint8_t {
    login,  // a client that has not logged in yet
    active,
    idle,
    used,  // a server connection that was idle for longer than server_check_delay
    waiting,
    tested,          // a server connection that is being cleaned
    being_canceled,  // a server connection that nobody may have before a cancel is over
};

// A client, or a server connection.
struct socket_view {
    bool is_server = false;
    bool is_console = false;
    std::uint64_t id = 0;
    std::uint64_t link = 0;  // the id of the other side; 0: none
    socket_state state = socket_state::active;
    std::string user;
    std::string database;
    std::string replication = "none";
    std::string address;
    int port = 0;
    std::string local_address;
    int local_port = 0;
    clock_time connected{};
    clock_time requested{};  // epoch: never
    duration waited{};
    bool close_needed = false;
    int remote_pid = 0;
    std::string tls;
    std::string application_name;
    std::size_t prepared_statements = 0;
    std::size_t unread = 0;
    std::size_t unsent = 0;
    unsigned worker = 0;
    pin_set pins = 0;  // a client's; of a server connection, its client's
    clock_time pinned{};
    int server_pid = 0;  // of the server connection that the client has
};

struct pool_view {
    std::string database;
    std::string user;  // who logs in upstream
    std::string mode;
    pool_figures figures;
    std::uint32_t clients = 0;  // logged in
    std::uint32_t cleaning = 0;
    std::uint32_t used = 0;             // of those idle; see socket_state
    std::uint32_t cancels_waiting = 0;  // requests of clients that nobody sends yet
    std::uint32_t cancels_asked = 0;    // requests of clients that are being sent
    std::uint32_t cancels_sent = 0;     // all that are being sent, sluice's own too
    std::uint32_t pinned = 0;
    std::uint32_t listening_clients = 0;
    bool paused = false;
    std::string last_failure;  // since which no login has succeeded
    std::vector<pool_place> waiters;
    std::vector<pool_place> holders;
};

struct database_view {
    std::string name;
    std::string host;
    int port = 0;
    std::string database;
    std::string force_user;
    std::uint32_t pool_size = 0;
    std::uint32_t min_pool_size = 0;
    std::uint32_t reserve_pool_size = 0;
    std::chrono::seconds server_lifetime{};
    std::string mode;  // empty: inherited
    std::uint32_t max_connections = 0;
    std::uint32_t connections = 0;
    std::uint32_t max_clients = 0;
    std::uint32_t clients = 0;
    bool paused = false;
    bool disabled = false;
};

struct user_view {
    std::string name;
    std::string pool_size;  // empty: inherited
    std::string reserve_pool_size;
    std::string mode;
    std::uint32_t max_connections = 0;
    std::uint32_t connections = 0;
    std::uint32_t max_clients = 0;
    std::uint32_t clients = 0;
};

struct setting_view {
    std::string key;
    std::string value;
    std::string default_value;
    bool live = false;
};

struct memory_view {
    std::string name;
    std::size_t size = 0;  // of one
    std::size_t used = 0;
};

struct overview {
    clock_time now{};
    wall_time wall{};
    std::vector<socket_view> sockets;
    std::vector<pool_view> pools;
    std::vector<database_view> databases;
    std::vector<user_view> users;
    std::vector<setting_view> settings;
    std::vector<memory_view> memory;
    std::vector<statement_total> queries;
    stats_report stats;
    std::uint32_t logging_in = 0;
    bool paused = false;
    std::string version;

    // When something of the other clock was.
    [[nodiscard]] wall_time wall_of(clock_time when) const {
        return wall - std::chrono::duration_cast<wall_time::duration>(now - when);
    }
};

}  // namespace sluice::pool
