// SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS.
#include <algorithm>
#include <array>

#include "pool/console_shows.hpp"

namespace sluice::pool {

namespace {

constexpr auto i = column_type::int4;

constexpr std::array shared_columns{
    console_column{"type"},
    console_column{"user"},
    console_column{"database"},
    console_column{"replication"},
    console_column{"state"},
    console_column{"addr"},
    console_column{"port", i},
    console_column{"local_addr"},
    console_column{"local_port", i},
    console_column{"connect_time"},
    console_column{"request_time"},
    console_column{"wait", i},
    console_column{"wait_us", i},
    console_column{"close_needed", i},
    console_column{"ptr"},
    console_column{"link"},
    console_column{"remote_pid", i},
    console_column{"tls"},
    console_column{"application_name"},
    console_column{"prepared_statements", i},
    console_column{"id", i},
};

// What follows the shared columns.
template <std::size_t More>
constexpr auto followed_by(const std::array<console_column, More>& more) {
    std::array<console_column, shared_columns.size() + More> out;
    std::copy(more.begin(), more.end(),
              std::copy(shared_columns.begin(), shared_columns.end(), out.begin()));
    return out;
}

constexpr auto clients_columns =
    followed_by(std::array{console_column{"pins"}, console_column{"wait_reason"},
                           console_column{"server_pid", i}, console_column{"worker", i}});

constexpr auto servers_columns =
    followed_by(std::array{console_column{"pins"}, console_column{"worker", i}});

constexpr auto sockets_columns = followed_by(std::array{
    console_column{"recv_pos", i}, console_column{"pkt_pos", i}, console_column{"pkt_remain", i},
    console_column{"send_pos", i}, console_column{"send_remain", i}, console_column{"pkt_avail", i},
    console_column{"send_avail", i}});

std::string_view state_name(socket_state state) {
    switch (state) {
        case socket_state::login:
            return "login";
        case socket_state::idle:
            return "idle";
        case socket_state::used:
            return "used";
        case socket_state::waiting:
            return "waiting";
        case socket_state::tested:
            return "tested";
        case socket_state::being_canceled:
            return "being_canceled";
        case socket_state::active:
            break;
    }
    return "active";
}

// SHOW SOCKETS has the side in front, and calls a client that idles active.
std::string sided_state(const socket_view& of) {
    if (of.is_server) return "sv_" + std::string(state_name(of.state));
    if (of.state == socket_state::idle) return "idle";
    return "cl_" + std::string(state_name(of.state));
}

// Addresses in memory say nothing here: the id stands in for them.
std::string pointer(std::uint64_t id) {
    if (id == 0) return {};
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (; id != 0; id >>= 4)
        out.insert(out.begin(), digits[id & 15U]);
    return "0x" + out;
}

void common_columns(const overview& from, const socket_view& of, std::string_view state,
                    console_table& out) {
    const auto wait = std::chrono::duration_cast<std::chrono::microseconds>(of.waited).count();
    out.row().text(of.is_server ? "S" : "C");
    out.text(of.user.empty() ? "(nouser)" : of.user);
    out.text(of.database.empty() ? "(nodb)" : of.database);
    out.text(of.replication).text(state);
    out.text(of.address).number(of.port).text(of.local_address).number(of.local_port);
    out.text(time_text(from.wall_of(of.connected)));
    if (of.requested == clock_time{}) {
        out.null();
    } else {
        out.text(time_text(from.wall_of(of.requested)));
    }
    out.number(wait / 1'000'000).number(wait % 1'000'000).number(of.close_needed ? 1 : 0);
    out.text(pointer(of.id)).text(pointer(of.link)).number(of.remote_pid).text(of.tls);
    out.text(of.application_name).number(of.prepared_statements).number(of.id);
}

std::string_view wait_reason(const overview& from, const socket_view& of) {
    if (of.state != socket_state::waiting) return {};
    for (const auto& pool : from.pools) {
        const auto here = std::any_of(pool.waiters.begin(), pool.waiters.end(),
                                      [&](const auto& one) { return one.serial == of.id; });
        if (here) return wait_reason_of(pool);
    }
    return "server connection";
}

void debug_columns(const socket_view& of, console_table& out) {
    out.number(of.unread).number(0).number(0).number(0).number(of.unsent);
    out.number(of.unread).number(of.unsent);
}

}  // namespace

console_columns socket_columns(show_kind what) {
    switch (what) {
        case show_kind::clients:
            return clients_columns;
        case show_kind::servers:
            return servers_columns;
        default:
            return sockets_columns;
    }
}

void render_sockets(show_kind what, const overview& from, console_table& out) {
    for (const auto& one : from.sockets) {
        switch (what) {
            case show_kind::clients:
                if (one.is_server || one.state == socket_state::login) continue;
                common_columns(from, one, state_name(one.state), out);
                out.text(describe(one.pins)).text_or_null(wait_reason(from, one));
                out.number(one.server_pid).number(one.worker);
                continue;
            case show_kind::servers:
                if (!one.is_server) continue;
                common_columns(from, one, state_name(one.state), out);
                out.text(describe(one.pins)).number(one.worker);
                continue;
            case show_kind::active_sockets:
                if (one.unread == 0 && one.unsent == 0) continue;
                break;
            default:
                break;
        }
        common_columns(from, one, sided_state(one), out);
        debug_columns(one, out);
    }
}

}  // namespace sluice::pool
