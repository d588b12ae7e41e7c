// What PgBouncer has not: SHOW PINS (who keeps a server connection and why), SHOW WAITERS (who
// waits, and for whom) and SHOW QUERIES (the statements that took the most time).
#include <algorithm>
#include <array>
#include <unordered_map>

#include "pool/console_shows.hpp"

namespace sluice::pool {

namespace {

constexpr auto i = column_type::int4;
constexpr auto q = column_type::int8;

constexpr std::array pins_columns{
    console_column{"id", i},         console_column{"database"}, console_column{"user"},
    console_column{"addr"},          console_column{"port", i},  console_column{"application_name"},
    console_column{"reasons"},       console_column{"since"},    console_column{"pinned_us", q},
    console_column{"server_pid", i},
};

constexpr std::array waiters_columns{
    console_column{"id", i},       console_column{"database"}, console_column{"user"},
    console_column{"addr"},        console_column{"port", i},  console_column{"application_name"},
    console_column{"pool_user"},   console_column{"since"},    console_column{"wait_us", q},
    console_column{"position", i}, console_column{"reason"},   console_column{"holders"},
};

constexpr std::array queries_columns{
    console_column{"database"},  console_column{"user"},        console_column{"calls", q},
    console_column{"errors", q}, console_column{"total_us", q}, console_column{"mean_us", q},
    console_column{"max_us", q}, console_column{"query"},
};

// Of these who have held theirs for the longest.
constexpr std::size_t most_holders = 10;

using by_id = std::unordered_map<std::uint64_t, const socket_view*>;

by_id clients_of(const overview& from) {
    by_id out;
    for (const auto& one : from.sockets) {
        if (!one.is_server) out.emplace(one.id, &one);
    }
    return out;
}

std::int64_t microseconds(duration value) {
    return std::chrono::duration_cast<std::chrono::microseconds>(value).count();
}

void client_columns(std::uint64_t id, const by_id& clients, const std::string& database,
                    console_table& out) {
    const auto at = clients.find(id);
    out.row().number(id);
    if (at == clients.end()) {  // it has left since
        out.text(database).null().null().null().null();
        return;
    }
    const auto& client = *at->second;
    out.text(client.database).text(client.user).text(client.address).number(client.port);
    out.text(client.application_name);
}

void render_pins(const overview& from, console_table& out) {
    const auto clients = clients_of(from);
    for (const auto& one : from.sockets) {
        if (one.is_server || one.pins == 0) continue;
        client_columns(one.id, clients, one.database, out);
        out.text(describe(one.pins)).text(time_text(from.wall_of(one.pinned)));
        out.number(microseconds(from.now - one.pinned)).number(one.server_pid);
    }
}

// "17 alice 4242 3.2s active; 18 bob 4243 0.1s idle in transaction"
std::string holders_text(const pool_view& pool, const overview& from, const by_id& clients) {
    auto holders = pool.holders;
    std::sort(holders.begin(), holders.end(),
              [](const auto& one, const auto& other) { return one.since < other.since; });
    std::string out;
    for (std::size_t at = 0; at < holders.size(); ++at) {
        if (at == most_holders) {
            out += "; and " + std::to_string(holders.size() - at) + " more";
            break;
        }
        if (at > 0) out += "; ";
        const auto tenths = microseconds(from.now - holders[at].since) / 100'000;
        out += "client " + std::to_string(holders[at].serial);
        if (const auto known = clients.find(holders[at].serial); known != clients.end()) {
            out += " (" + known->second->user + ")";
            if (known->second->pins != 0) out += " pinned: " + describe(known->second->pins);
        }
        out += " for " + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
    }
    return out;
}

void render_waiters(const overview& from, console_table& out) {
    const auto clients = clients_of(from);
    for (const auto& pool : from.pools) {
        if (pool.waiters.empty()) continue;
        const auto holders = holders_text(pool, from, clients);
        int position = 0;
        for (const auto& one : pool.waiters) {
            client_columns(one.serial, clients, pool.database, out);
            out.text(pool.user).text(time_text(from.wall_of(one.since)));
            out.number(std::max<std::int64_t>(0, microseconds(from.now - one.since)));
            out.number(++position).text(wait_reason_of(pool)).text_or_null(holders);
        }
    }
}

void render_queries(const overview& from, console_table& out) {
    auto all = from.queries;
    std::sort(all.begin(), all.end(),
              [](const auto& one, const auto& other) { return one.total > other.total; });
    for (const auto& one : all) {
        const auto calls = static_cast<std::int64_t>(std::max<std::uint64_t>(1, one.calls));
        out.row().text(one.database).text(one.user).number(one.calls).number(one.errors);
        out.number(one.total.count()).number(one.total.count() / calls);
        out.number(one.slowest.count()).text(one.text);
    }
}

}  // namespace

std::string_view wait_reason_of(const pool_view& pool) {
    if (pool.paused) return "paused";
    const auto& figures = pool.figures;
    if (figures.idle + figures.leased == 0 && !pool.last_failure.empty()) {
        return "server unreachable";
    }
    if (figures.leased + figures.idle >= figures.bounds.size) return "pool_size";
    if (figures.opening > 0) return "server login";
    return "server connection";
}

console_columns queue_columns(show_kind what) {
    switch (what) {
        case show_kind::pins:
            return pins_columns;
        case show_kind::waiters:
            return waiters_columns;
        default:
            return queries_columns;
    }
}

void render_queues(show_kind what, const overview& from, console_table& out) {
    switch (what) {
        case show_kind::pins:
            return render_pins(from, out);
        case show_kind::waiters:
            return render_waiters(from, out);
        default:
            return render_queries(from, out);
    }
}

}  // namespace sluice::pool
