// SHOW CONFIG, VERSION, STATE and MEM; and PEERS, PEER_POOLS, DNS_HOSTS and DNS_ZONES, which have
// no rows: sluice has no peers, and leaves names to libpq.
#include <array>

#include "pool/console_shows.hpp"

namespace sluice::pool {

namespace {

constexpr auto i = column_type::int4;
constexpr auto q = column_type::int8;

constexpr std::array config_columns{console_column{"key"}, console_column{"value"},
                                    console_column{"default"}, console_column{"changeable"}};
constexpr std::array version_columns{console_column{"version"}};
constexpr std::array state_columns{console_column{"key"}, console_column{"value"}};
constexpr std::array mem_columns{console_column{"name"}, console_column{"size", i},
                                 console_column{"used", i}, console_column{"free", i},
                                 console_column{"memtotal", i}};
constexpr std::array peers_columns{console_column{"peer_id", i}, console_column{"host"},
                                   console_column{"port", i}, console_column{"pool_size", i}};
constexpr std::array peer_pools_columns{
    console_column{"peer_id", i}, console_column{"cl_active_cancel_req", i},
    console_column{"cl_waiting_cancel_req", i}, console_column{"sv_active_cancel", i},
    console_column{"sv_login", i}};
constexpr std::array dns_hosts_columns{console_column{"hostname"}, console_column{"ttl", q},
                                       console_column{"addrs"}};
constexpr std::array dns_zones_columns{console_column{"zonename"}, console_column{"serial", q},
                                       console_column{"count", i}};

}  // namespace

console_columns settings_columns(show_kind what) {
    switch (what) {
        case show_kind::config:
            return config_columns;
        case show_kind::state:
            return state_columns;
        case show_kind::mem:
            return mem_columns;
        case show_kind::peers:
            return peers_columns;
        case show_kind::peer_pools:
            return peer_pools_columns;
        case show_kind::dns_hosts:
            return dns_hosts_columns;
        case show_kind::dns_zones:
            return dns_zones_columns;
        default:
            return version_columns;
    }
}

void render_settings(show_kind what, const overview& from, console_table& out) {
    switch (what) {
        case show_kind::config:
            for (const auto& one : from.settings) {
                out.row().text(one.key).text(one.value).text(one.default_value);
                out.text(one.live ? "yes" : "no");
            }
            return;
        case show_kind::state:
            out.row().text("active").text(from.paused ? "no" : "yes");
            out.row().text("paused").text(from.paused ? "yes" : "no");
            out.row().text("suspended").text("no");
            return;
        case show_kind::mem:
            for (const auto& one : from.memory) {
                out.row().text(one.name).number(one.size).number(one.used).number(0);
                out.number(one.size * one.used);
            }
            return;
        case show_kind::version:
            out.row().text(from.version);
            return;
        default:
            return;
    }
}

}  // namespace sluice::pool
