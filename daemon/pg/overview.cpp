#include "daemon/pg/overview.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "config/names.hpp"
#include "daemon/pg/client_session.hpp"
#include "daemon/pg/config_view.hpp"
#include "daemon/pg/listening.hpp"
#include "daemon/pg/server_connection.hpp"
#include "daemon/pg/service.hpp"
#include "daemon/version.hpp"

namespace sluice::daemon {

namespace {

// The version whose console this one speaks like comes first: monitoring looks for it.
constexpr const char* compatible_with = "PgBouncer 1.25.2 compatible, sluice ";

std::uint64_t microseconds(const metrics::histogram& of) {
    return static_cast<std::uint64_t>(of.sum_seconds() * 1e6);
}

pool::database_totals totals_of(const metrics::pool_counters& from) {
    pool::database_totals out;
    out.assignments = from.wait_seconds.total();
    out.transactions = from.transactions.value();
    out.queries = from.queries.value();
    out.received = from.client_bytes_received.value();
    out.sent = from.client_bytes_sent.value();
    out.transaction_us = microseconds(from.transaction_seconds);
    out.query_us = microseconds(from.query_seconds);
    out.wait_us = microseconds(from.wait_seconds);
    out.client_parses = from.client_parses.value();
    out.server_parses = from.server_parses.value();
    out.binds = from.binds.value();
    out.logins = from.client_logins.value();
    return out;
}

int port_of(const std::string& text) {
    try {
        return text.empty() ? 5432 : std::stoi(text);
    } catch (const std::exception&) {
        return 0;  // several, for several hosts
    }
}

pool::database_view view_of(const directory& from, const std::string& name,
                            const database_target& target) {
    const auto& all = from.postgres();
    const auto& own = target.settings;
    pool::database_view out;
    out.name = name;
    out.host = target.address.host;
    out.port = port_of(target.address.port);
    out.database = target.address.database.empty() ? name : target.address.database;
    out.force_user = target.address.user;
    out.pool_size = own.pool_size.value_or(all.pool_size);
    out.min_pool_size = own.min_pool_size.value_or(all.min_pool_size);
    out.reserve_pool_size = own.reserve_pool_size.value_or(all.reserve_pool_size);
    out.server_lifetime = std::chrono::duration_cast<std::chrono::seconds>(
        own.server_lifetime.value_or(all.server_lifetime));
    if (own.pool_mode.has_value()) out.mode = config::name_of(*own.pool_mode);
    out.max_connections = own.max_db_connections.value_or(all.max_db_connections);
    out.max_clients = own.max_db_client_connections.value_or(all.max_db_client_connections);
    return out;
}

pool::user_view view_of(const directory& from, const std::string& name,
                        const user_account& account) {
    const auto& all = from.postgres();
    const auto& own = account.settings;
    pool::user_view out;
    out.name = name;
    if (own.pool_size.has_value()) out.pool_size = std::to_string(*own.pool_size);
    if (own.reserve_pool_size.has_value()) {
        out.reserve_pool_size = std::to_string(*own.reserve_pool_size);
    }
    if (own.pool_mode.has_value()) out.mode = config::name_of(*own.pool_mode);
    out.max_connections = own.max_user_connections.value_or(all.max_user_connections);
    out.max_clients = own.max_user_client_connections.value_or(all.max_user_client_connections);
    return out;
}

pool::database_view console_view() {
    pool::database_view out;
    out.name = out.database = out.force_user = "pgbouncer";
    out.port = 6432;
    out.pool_size = 2;
    out.mode = "statement";
    return out;
}

config::pool_mode mode_of(const directory& from, const database_target* target,
                          const std::string& user) {
    auto out = from.postgres().pool_mode;
    if (target != nullptr) out = target->settings.pool_mode.value_or(out);
    if (const auto* account = from.find_user(user)) out = account->settings.pool_mode.value_or(out);
    return out;
}

struct gathering {
    gathering(pg_service& of, overview_done when_done) : service(of), done(std::move(when_done)) {}

    pg_service& service;
    overview_done done;
    std::mutex mutex;
    std::vector<pool::socket_view> sockets;
};

void finish(gathering& all) {
    auto out = std::make_shared<pool::overview>();
    out->sockets = std::move(all.sockets);
    std::stable_sort(out->sockets.begin(), out->sockets.end(),
                     [](const auto& one, const auto& other) { return one.id < other.id; });
    // A connection that moved meanwhile may have been met twice.
    out->sockets.erase(
        std::unique(out->sockets.begin(), out->sockets.end(),
                    [](const auto& one, const auto& other) { return one.id == other.id; }),
        out->sockets.end());
    all.service.describe(*out);
    all.done(std::move(out));
}

}  // namespace

void gather_overview(pg_service& service, overview_done done) {
    const auto all = std::make_shared<gathering>(service, std::move(done));
    service.on_every_worker(
        [all](net::worker& here) {
            std::vector<pool::socket_view> found;
            for (const auto& session : all->service.sessions_of[here.number()])
                session.describe(found);
            for (const auto& hold : all->service.book.connections()) {
                const auto& connection = *std::static_pointer_cast<server_connection>(hold);
                if (connection.lives_on(here)) connection.describe(found);
            }
            const std::lock_guard lock(all->mutex);
            for (auto& one : found) {
                one.worker = here.number();
                all->sockets.push_back(std::move(one));
            }
        },
        [all] { finish(*all); });
}

void pg_service::on_every_worker(const std::function<void(net::worker&)>& work,
                                 const std::function<void()>& done) {
    const auto left = std::make_shared<std::atomic<std::size_t>>(workers_.size());
    for (auto* worker : workers_) {
        worker->post([worker, work, done, left] {
            work(*worker);
            if (--*left == 0) done();
        });
    }
}

std::vector<pool_entry*> pg_service::pools_of(const std::string& database) const {
    const std::lock_guard lock(mutex_);
    std::vector<pool_entry*> out;
    for (const auto& [key, pool] : pools_) {
        if (database.empty() || key.first == database) out.push_back(pool.get());
    }
    return out;
}

void pg_service::reconnect_listening(pool_entry& pool) {
    std::shared_ptr<listening> shared;
    {
        const std::lock_guard lock(mutex_);
        shared = pool.shared_listening;
    }
    if (shared != nullptr) shared->reconnect();
}

pool::totals_by_database pg_service::totals() const {
    pool::totals_by_database out;
    for (const auto* pool : pools_of({})) {
        auto& sum = out[pool->database];
        for (const auto& counters : pool->counters)
            sum += totals_of(*counters);
    }
    out["pgbouncer"];
    return out;
}

void pg_service::describe(pool::overview& out) const {
    const auto from = current_directory();
    out.now = std::chrono::steady_clock::now();
    out.wall = std::chrono::system_clock::now();
    out.version = std::string(compatible_with) + version;
    out.paused = orders.everything_is_paused();
    out.logging_in = logging_in.load();
    out.stats = stats_.report(totals());
    out.settings = view_of(from->settings());
    out.queries = top_statements(shown_statements);
    describe_pools(*from, out);
    describe_names(*from, out);
    const auto clients = std::count_if(out.sockets.begin(), out.sockets.end(),
                                       [](const auto& one) { return !one.is_server; });
    const auto memory = [&](const char* name, std::size_t size, std::size_t used) {
        out.memory.push_back({name, size, used});
    };
    memory("user_cache", sizeof(user_account), out.users.size());
    memory("db_cache", sizeof(database_target), out.databases.size());
    memory("pool_cache", sizeof(pool_entry), out.pools.size());
    memory("client_cache", sizeof(client_session), static_cast<std::size_t>(clients));
    memory("server_cache", sizeof(server_connection),
           out.sockets.size() - static_cast<std::size_t>(clients));
}

void pg_service::describe_pools(const directory& from, pool::overview& out) const {
    for (const auto* pool : pools_of({})) {
        pool::pool_view one;
        one.database = pool->database;
        one.user = pool->user;
        one.mode = config::name_of(mode_of(from, from.find_database(pool->database), pool->user));
        one.figures = book.figures(*pool->book);
        if (pool->retired && pool->clients == 0 && one.figures.idle + one.figures.leased == 0) {
            continue;
        }
        one.clients = pool->clients.load();
        one.cleaning = std::min(pool->cleaning.load(), one.figures.leased);
        one.used = book.count_idle_since(*pool->book, out.now - pool::server_check_delay);
        one.cancels_waiting = pool->cancels.waiting.load();
        one.cancels_asked = pool->cancels.asked.load();
        one.cancels_sent = pool->cancels.sent.load();
        one.pinned = pool->pinned.load();
        one.listening_clients = pool->listening_clients.load();
        one.paused = pool->paused.load();
        if (!pool->reached) {
            const auto failure = pool->last_failure();
            if (!failure.sqlstate.empty()) {
                one.last_failure = failure.sqlstate + " " + failure.message;
            }
        }
        one.waiters = book.waiting(*pool->book);
        one.holders = book.holders(*pool->book);
        out.pools.push_back(std::move(one));
    }
}

void pg_service::describe_names(const directory& from, pool::overview& out) const {
    for (const auto& [name, target] : from.databases())
        out.databases.push_back(view_of(from, name, target));
    for (const auto& pool : out.pools) {  // those of "*"
        if (from.databases().contains(pool.database)) continue;
        const auto known = std::any_of(out.databases.begin(), out.databases.end(),
                                       [&](const auto& one) { return one.name == pool.database; });
        const auto* target = from.find_database(pool.database);
        if (!known && target != nullptr) {
            out.databases.push_back(view_of(from, pool.database, *target));
        }
    }
    if (is_console_database(from, "pgbouncer")) {
        out.databases.push_back(console_view());
        out.databases.back().clients = consoles.load();
    }
    for (const auto& [name, account] : from.users())
        out.users.push_back(view_of(from, name, account));
    const auto connections = [](const pool::pool_view& pool) {
        return pool.figures.idle + pool.figures.leased + pool.figures.opening;
    };
    for (auto& one : out.databases) {
        for (const auto& pool : out.pools)
            one.connections += pool.database == one.name ? connections(pool) : 0;
        one.paused = orders.is_paused_by_name(one.name);
        one.disabled = orders.is_disabled(one.name);
    }
    for (auto& one : out.users) {
        for (const auto& pool : out.pools)
            one.connections += pool.user == one.name ? connections(pool) : 0;
    }
    const std::lock_guard lock(mutex_);
    for (auto& one : out.databases) {
        const auto at = clients_by_database_.find(one.name);
        if (at != clients_by_database_.end()) one.clients = at->second;
    }
    for (auto& one : out.users) {
        const auto at = clients_by_user_.find(one.name);
        if (at != clients_by_user_.end()) one.clients = at->second;
    }
}

}  // namespace sluice::daemon
