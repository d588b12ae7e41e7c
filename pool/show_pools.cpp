// SHOW POOLS, DATABASES, USERS and LISTS.
#include <algorithm>
#include <array>

#include "pool/console_shows.hpp"

namespace sluice::pool {

namespace {

constexpr auto i = column_type::int4;

constexpr std::array pools_columns{
    console_column{"database"},
    console_column{"user"},
    console_column{"cl_active", i},
    console_column{"cl_waiting", i},
    console_column{"cl_active_cancel_req", i},
    console_column{"cl_waiting_cancel_req", i},
    console_column{"sv_active", i},
    console_column{"sv_active_cancel", i},
    console_column{"sv_being_canceled", i},
    console_column{"sv_idle", i},
    console_column{"sv_used", i},
    console_column{"sv_tested", i},
    console_column{"sv_login", i},
    console_column{"maxwait", i},
    console_column{"maxwait_us", i},
    console_column{"pool_mode"},
    console_column{"load_balance_hosts"},
    // ours
    console_column{"pool_size", i},
    console_column{"cl_pinned", i},
    console_column{"cl_listening", i},
    console_column{"paused", i},
    console_column{"last_error"},
};

constexpr std::array databases_columns{
    console_column{"name"},
    console_column{"host"},
    console_column{"port", i},
    console_column{"database"},
    console_column{"force_user"},
    console_column{"pool_size", i},
    console_column{"min_pool_size", i},
    console_column{"reserve_pool_size", i},
    console_column{"server_lifetime", i},
    console_column{"pool_mode"},
    console_column{"load_balance_hosts"},
    console_column{"max_connections", i},
    console_column{"current_connections", i},
    console_column{"max_client_connections", i},
    console_column{"current_client_connections", i},
    console_column{"paused", i},
    console_column{"disabled", i},
};

constexpr std::array users_columns{
    console_column{"name"},
    console_column{"pool_size"},
    console_column{"reserve_pool_size"},
    console_column{"pool_mode"},
    console_column{"max_user_connections", i},
    console_column{"current_connections", i},
    console_column{"max_user_client_connections", i},
    console_column{"current_client_connections", i},
};

constexpr std::array lists_columns{console_column{"list"}, console_column{"items", i}};

// Connections that nobody may have before a cancel is over.
struct held_back {
    std::uint32_t with_client = 0;
    std::uint32_t in_cleaning = 0;
};

held_back held_back_of(const overview& from, const pool_view& pool) {
    held_back out;
    for (const auto& one : from.sockets) {
        if (!one.is_server || one.database != pool.database || one.user != pool.user) continue;
        if (one.state != socket_state::being_canceled) continue;
        ++(one.link != 0 ? out.with_client : out.in_cleaning);
    }
    // The figures may be of a moment later.
    out.in_cleaning = std::min(out.in_cleaning, pool.cleaning);
    const auto leased = pool.figures.leased - std::min(pool.figures.leased, pool.cleaning);
    out.with_client = std::min(out.with_client, leased);
    return out;
}

void render_pool(const overview& from, const pool_view& pool, console_table& out) {
    const auto& figures = pool.figures;
    const auto held = held_back_of(from, pool);
    const auto used = std::min(pool.used, figures.idle);
    const auto leased = figures.leased - std::min(figures.leased, pool.cleaning);
    const auto waited = figures.waiting == 0
                            ? std::chrono::microseconds{}
                            : std::chrono::duration_cast<std::chrono::microseconds>(
                                  from.now - figures.oldest_waiter);
    const auto us = std::max<std::int64_t>(0, waited.count());
    out.row().text(pool.database).text(pool.user);
    out.number(pool.clients - std::min(pool.clients, figures.waiting));
    out.number(figures.waiting).number(pool.cancels_asked).number(pool.cancels_waiting);
    out.number(leased - held.with_client);
    out.number(pool.cancels_sent).number(held.with_client + held.in_cleaning);
    out.number(figures.idle - used).number(used);
    out.number(pool.cleaning - held.in_cleaning).number(figures.opening);
    out.number(us / 1'000'000).number(us % 1'000'000).text(pool.mode).null();
    out.number(figures.bounds.size).number(pool.pinned).number(pool.listening_clients);
    out.number(pool.paused ? 1 : 0).text_or_null(pool.last_failure);
}

std::uint32_t consoles(const overview& from) {
    return static_cast<std::uint32_t>(std::count_if(
        from.sockets.begin(), from.sockets.end(), [](const auto& one) { return one.is_console; }));
}

// PgBouncer shows its console as a pool, too.
void render_console_pool(const overview& from, console_table& out) {
    const auto clients = consoles(from);
    if (clients == 0) return;
    out.row().text("pgbouncer").text("pgbouncer").number(clients);
    for (int column = 0; column < 12; ++column)
        out.number(0);
    out.text("statement").null().number(2).number(0).number(0).number(0).null();
}

void render_databases(const overview& from, console_table& out) {
    for (const auto& one : from.databases) {
        out.row().text(one.name).text_or_null(one.host).number(one.port);
        out.text_or_null(one.database).text_or_null(one.force_user);
        out.number(one.pool_size).number(one.min_pool_size).number(one.reserve_pool_size);
        out.number(one.server_lifetime.count()).text_or_null(one.mode).null();
        out.number(one.max_connections).number(one.connections);
        out.number(one.max_clients).number(one.clients);
        out.number(one.paused ? 1 : 0).number(one.disabled ? 1 : 0);
    }
}

void render_users(const overview& from, console_table& out) {
    for (const auto& one : from.users) {
        out.row().text(one.name).text(one.pool_size).text(one.reserve_pool_size);
        out.text_or_null(one.mode).number(one.max_connections).number(one.connections);
        out.number(one.max_clients).number(one.clients);
    }
}

void render_lists(const overview& from, console_table& out) {
    std::size_t servers = 0;
    for (const auto& pool : from.pools)
        servers += pool.figures.idle + pool.figures.leased + pool.figures.opening;
    const auto clients = static_cast<std::size_t>(std::count_if(
        from.sockets.begin(), from.sockets.end(),
        [](const auto& one) { return !one.is_server && one.state != socket_state::login; }));
    const auto row = [&](std::string_view name, std::size_t items) {
        out.row().text(name).number(items);
    };
    row("databases", from.databases.size());
    row("users", from.users.size());
    row("peers", 0);
    row("pools", from.pools.size() + (consoles(from) > 0 ? 1 : 0));
    row("peer_pools", 0);
    row("free_clients", 0);
    row("used_clients", clients);
    row("login_clients", from.logging_in);
    row("free_servers", 0);
    row("used_servers", servers);
    for (const auto* name : {"dns_names", "dns_zones", "dns_queries", "dns_pending"})
        row(name, 0);
}

}  // namespace

console_columns pool_columns(show_kind what) {
    switch (what) {
        case show_kind::databases:
            return databases_columns;
        case show_kind::users:
            return users_columns;
        case show_kind::lists:
            return lists_columns;
        default:
            return pools_columns;
    }
}

void render_pools(show_kind what, const overview& from, console_table& out) {
    switch (what) {
        case show_kind::databases:
            return render_databases(from, out);
        case show_kind::users:
            return render_users(from, out);
        case show_kind::lists:
            return render_lists(from, out);
        default:
            break;
    }
    for (const auto& pool : from.pools)
        render_pool(from, pool, out);
    render_console_pool(from, out);
}

}  // namespace sluice::pool
