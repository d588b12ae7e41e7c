#include "daemon/pg/pool_control.hpp"

#include <atomic>
#include <memory>

#include "daemon/pg/listening.hpp"
#include "daemon/pg/server_connection.hpp"
#include "daemon/pg/service.hpp"

namespace sluice::daemon {

namespace {

order_refusal refusal(std::string message, std::string hint = {}) {
    return {"55000", std::move(message), std::move(hint)};
}

void close_all(pg_service& service, std::vector<std::shared_ptr<void>> retired, const char* why) {
    for (auto& one : retired) {
        auto connection = std::static_pointer_cast<server_connection>(std::move(one));
        service.worker(connection->slot.worker).post([connection, why] { connection->close(why); });
    }
}

}  // namespace

bool pool_control::is_paused(const std::string& database) const {
    const std::lock_guard lock(mutex_);
    return all_paused_ || paused_.contains(database);
}

bool pool_control::is_paused_by_name(const std::string& database) const {
    const std::lock_guard lock(mutex_);
    return paused_.contains(database);
}

bool pool_control::is_disabled(const std::string& database) const {
    const std::lock_guard lock(mutex_);
    return disabled_.contains(database);
}

bool pool_control::everything_is_paused() const {
    const std::lock_guard lock(mutex_);
    return all_paused_;
}

order_refusal pool_control::check_database(const std::string& database) const {
    if (database.empty()) return {};
    const auto from = service_.current_directory();
    if (is_console_database(*from, database)) {
        return refusal("\"" + database + "\" is the admin console's own database");
    }
    if (from->find_database(database) == nullptr) {
        return {"3D000", "no such database: " + database, "SHOW DATABASES lists them."};
    }
    return {};
}

void pool_control::apply_to(pool_entry& pool) const {
    if (!is_paused(pool.database)) return;
    pool.paused = true;
    const auto none = service_.book.pause(*pool.book);
}

void pool_control::pause_pools(const std::string& database, const char* why) {
    for (auto* pool : service_.pools_of(database)) {
        pool->paused = true;
        close_all(service_, service_.book.pause(*pool->book), why);
        service_.reconnect_listening(*pool);
    }
}

order_refusal pool_control::pause(const std::string& database) {
    if (auto wrong = check_database(database); wrong.refused()) return wrong;
    {
        const std::lock_guard lock(mutex_);
        if (all_paused_) return refusal("already suspended/paused", "RESUME ends it.");
        if (database.empty()) {
            all_paused_ = true;
        } else {
            paused_.insert(database);
        }
    }
    pause_pools(database, "PAUSE");
    return {};
}

order_refusal pool_control::resume(const std::string& database, net::worker& on) {
    if (auto wrong = check_database(database); wrong.refused()) return wrong;
    if (service_.draining()) return refusal("pooler is shutting down");
    {
        const std::lock_guard lock(mutex_);
        if (database.empty()) {
            if (!all_paused_) {
                return refusal("pooler is not paused/suspended",
                               paused_.empty() ? "" : "Resume a database by its name.");
            }
            all_paused_ = false;
        } else if (paused_.erase(database) == 0) {
            return refusal("database " + database + " is not paused",
                           all_paused_ ? "All are: RESUME without a name ends that." : "");
        }
    }
    for (auto* pool : service_.pools_of(database)) {
        if (is_paused(pool->database)) continue;
        pool->paused = false;
        service_.book.resume(*pool->book);
        service_.top_up(*pool, on);
    }
    return {};
}

order_refusal pool_control::disable(const std::string& database) {
    if (auto wrong = check_database(database); wrong.refused()) return wrong;
    const std::lock_guard lock(mutex_);
    disabled_.insert(database);
    return {};
}

order_refusal pool_control::enable(const std::string& database) {
    if (auto wrong = check_database(database); wrong.refused()) return wrong;
    const std::lock_guard lock(mutex_);
    disabled_.erase(database);
    return {};
}

order_refusal pool_control::reconnect(const std::string& database) {
    if (auto wrong = check_database(database); wrong.refused()) return wrong;
    for (auto* pool : service_.pools_of(database))
        service_.renew(*pool);
    return {};
}

order_refusal pool_control::kill(const std::string& database, std::function<void()> done) {
    if (auto wrong = check_database(database); wrong.refused()) return wrong;
    {
        const std::lock_guard lock(mutex_);
        if (all_paused_) return refusal("already suspended/paused", "RESUME ends it.");
        if (database.empty()) {
            all_paused_ = true;
        } else {
            paused_.insert(database);
        }
    }
    pause_pools(database, "KILL");
    service_.on_every_worker(
        [this, database](net::worker& here) {
            auto& sessions = service_.sessions_of[here.number()];
            for (auto at = sessions.begin(); at != sessions.end();) {
                auto& session = *at++;
                if (session.is_client_of(database)) session.kill();
            }
            for (const auto& hold : service_.book.connections()) {
                const auto connection = std::static_pointer_cast<server_connection>(hold);
                if (!connection->lives_on(here)) continue;
                if (!database.empty() && connection->entry().database != database) continue;
                if (connection->now_in() == server_connection::phase::cleaning) {
                    connection->close("KILL");
                }
            }
        },
        std::move(done));
    return {};
}

void pool_control::kill_client(std::uint64_t serial, std::function<void(bool)> done) {
    const auto found = std::make_shared<std::atomic<bool>>(false);
    service_.on_every_worker(
        [this, serial, found](net::worker& here) {
            for (auto& session : service_.sessions_of[here.number()]) {
                if (session.serial() != serial) continue;
                *found = session.kill();
                return;
            }
        },
        [found, done = std::move(done)] { done(*found); });
}

bool pool_control::is_released(const std::string& database) const {
    for (auto* pool : service_.pools_of(database)) {
        if (pool->listen_connections.load() > 0) return false;
        if (service_.book.count(*pool->book, pool::pool_book::count_of::all) > 0) return false;
    }
    return true;
}

bool pool_control::is_renewed(const std::string& database) const {
    for (auto* pool : service_.pools_of(database)) {
        if (service_.book.count(*pool->book, pool::pool_book::count_of::outdated) > 0) return false;
    }
    return true;
}

}  // namespace sluice::daemon
