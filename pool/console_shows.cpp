#include "pool/console_shows.hpp"

#include <array>
#include <ctime>

namespace sluice::pool {

namespace {

struct family {
    console_columns (*columns)(show_kind);
    void (*render)(show_kind, const overview&, console_table&);
};

constexpr family pools{&pool_columns, &render_pools};
constexpr family sockets{&socket_columns, &render_sockets};
constexpr family stats{&stats_columns, &render_stats};
constexpr family queues{&queue_columns, &render_queues};
constexpr family settings{&settings_columns, &render_settings};

const family* family_of(show_kind what) {
    switch (what) {
        case show_kind::databases:
        case show_kind::lists:
        case show_kind::pools:
        case show_kind::users:
            return &pools;
        case show_kind::active_sockets:
        case show_kind::clients:
        case show_kind::servers:
        case show_kind::sockets:
            return &sockets;
        case show_kind::stats:
        case show_kind::stats_averages:
        case show_kind::stats_totals:
        case show_kind::totals:
            return &stats;
        case show_kind::pins:
        case show_kind::queries:
        case show_kind::waiters:
            return &queues;
        case show_kind::config:
        case show_kind::dns_hosts:
        case show_kind::dns_zones:
        case show_kind::mem:
        case show_kind::peer_pools:
        case show_kind::peers:
        case show_kind::state:
        case show_kind::version:
            return &settings;
        case show_kind::fds:
        case show_kind::help:
            break;
    }
    return nullptr;
}

}  // namespace

console_columns columns_of(show_kind what) {
    const auto* of = family_of(what);
    return of == nullptr ? console_columns{} : of->columns(what);
}

console_table render(show_kind what, const overview& from) {
    console_table out(columns_of(what));
    if (const auto* of = family_of(what)) of->render(what, from, out);
    return out;
}

std::string time_text(wall_time when) {
    const auto seconds = std::chrono::system_clock::to_time_t(when);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    std::array<char, 32> out{};
    const auto length = std::strftime(out.data(), out.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
    return {out.data(), length};
}

std::string console_help() {
    return "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION\n"
           "\tSHOW PINS|WAITERS|QUERIES\n"
           "\tSHOW PEERS|PEER_POOLS|LISTS|SOCKETS|ACTIVE_SOCKETS|MEM|STATE\n"
           "\tSHOW DNS_HOSTS|DNS_ZONES\n"
           "\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS\n"
           "\tSET <key> = <value>\n"
           "\tRESET QUERIES\n"
           "\tRELOAD\n"
           "\tPAUSE [<db>]\n"
           "\tRESUME [<db>]\n"
           "\tDISABLE <db>\n"
           "\tENABLE <db>\n"
           "\tRECONNECT [<db>]\n"
           "\tKILL [<db>]\n"
           "\tKILL_CLIENT <client_id>\n"
           "\tWAIT_CLOSE [<db>]\n"
           "\tSHUTDOWN\n"
           "\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS";
}

}  // namespace sluice::pool
