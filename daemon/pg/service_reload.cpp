// pg_service where the configuration is concerned: which pool a client belongs to, and what becomes
// of pools when a reload changes it. A pool is never destroyed: one whose database is gone is
// retired, and comes back with its database.
#include <algorithm>

#include "daemon/pg/listening.hpp"
#include "daemon/pg/service.hpp"

namespace sluice::daemon {

namespace {

using login_words = std::vector<std::pair<std::string, std::string>>;

constexpr auto outdated_why = "the pool goes on with newer connections";

template <class Map>
pool::shared_bound* bound_for(Map& known, pool::pool_book& book, const std::string& name,
                              std::uint32_t limit) {
    auto& bound = known[name];
    if (bound == nullptr) {
        bound = book.add_bound(limit);
    } else {
        book.set_limit(*bound, limit);
    }
    return bound;
}

pool::pool_bounds bounds_for(const directory& from, const database_target& target,
                             const std::string& client_user) {
    const auto& all = from.postgres();
    const auto* user = from.find_user(client_user);
    pool::pool_bounds out;
    out.size = target.settings.pool_size.value_or(all.pool_size);
    out.min = target.settings.min_pool_size.value_or(all.min_pool_size);
    out.reserve = target.settings.reserve_pool_size.value_or(all.reserve_pool_size);
    if (user != nullptr) {
        out.size = user->settings.pool_size.value_or(out.size);
        out.reserve = user->settings.reserve_pool_size.value_or(out.reserve);
    }
    out.reserve_after = all.reserve_pool_timeout;
    out.logins_at_once = all.max_concurrent_logins;
    return out;
}

std::uint32_t database_limit(const directory& from, const database_target& target) {
    return target.settings.max_db_connections.value_or(from.postgres().max_db_connections);
}

std::uint32_t user_limit(const directory& from, const std::string& name) {
    const auto* user = from.find_user(name);
    const auto all = from.postgres().max_user_connections;
    return user == nullptr ? all : user->settings.max_user_connections.value_or(all);
}

std::string word_of(const login_words& words, std::string_view name) {
    const auto at = std::find_if(words.begin(), words.end(),
                                 [&](const auto& word) { return word.first == name; });
    return at == words.end() ? std::string() : at->second;
}

}  // namespace

pool_entry* pg_service::pool_for(const std::string& database, const std::string& client_user,
                                 const std::string& client_password) {
    const std::lock_guard lock(mutex_);
    const auto* target = directory_->find_database(database);
    if (target == nullptr) return nullptr;
    return &entry_for(*target, database, client_user, client_password);
}

pg_service::placement pg_service::place_again(const pool_entry& present,
                                              const std::string& database,
                                              const std::string& client_user) {
    const std::lock_guard lock(mutex_);
    const auto* target = directory_->find_database(database);
    if (target == nullptr) return {nullptr, "database removed"};
    const auto* account = directory_->find_user(client_user);
    const auto password = account == nullptr ? std::string() : account->password;
    // Its own password was not kept, and another pool of its own needs it.
    if (target->address.user.empty() && present.user != client_user && password.empty()) {
        return {nullptr, "the upstream user of the database has changed"};
    }
    return {&entry_for(*target, database, client_user, password), nullptr};
}

pool_entry& pg_service::entry_for(const database_target& target, const std::string& database,
                                  const std::string& client_user,
                                  const std::string& client_password) {
    const auto& user = target.address.user.empty() ? client_user : target.address.user;
    auto& entry = pools_[{database, user}];
    if (entry == nullptr) {
        entry = std::make_unique<pool_entry>();
        entry->database = database;
        entry->user = user;
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            entry->counters.push_back(std::make_unique<metrics::pool_counters>());
        }
        entry->book = &book.add_pool(
            bounds_for(*directory_, target, user),
            bound_for(database_bounds_, book, database, database_limit(*directory_, target)),
            bound_for(user_bounds_, book, user, user_limit(*directory_, user)));
        by_book_[entry->book] = entry.get();
        orders.apply_to(*entry);
        entry->set_login(target.settings.url, {});
        set_limits(*entry, target);
    }
    if (entry->retired.exchange(false)) set_limits(*entry, target);
    std::vector<std::shared_ptr<void>> retired;
    set_login(*entry, target, client_password, retired);
    close_retired(retired, outdated_why);
    return *entry;
}

void pg_service::set_limits(pool_entry& pool, const database_target& target) {
    const auto& all = directory_->postgres();
    book.set_bounds(*pool.book, bounds_for(*directory_, target, pool.user));
    pool.max_pinned = target.settings.max_pinned.value_or(all.max_pinned);
    pool.server_lifetime_ms = target.settings.server_lifetime.value_or(all.server_lifetime).count();
    (void)bound_for(database_bounds_, book, pool.database, database_limit(*directory_, target));
    (void)bound_for(user_bounds_, book, pool.user, user_limit(*directory_, pool.user));
}

// An empty password is one that is not known: the one known before holds.
void pg_service::set_login(pool_entry& pool, const database_target& target,
                           const std::string& password,
                           std::vector<std::shared_ptr<void>>& retired) {
    const auto before = pool.terms();
    login_words over;
    if (target.address.database.empty()) over.emplace_back("dbname", pool.database);
    if (target.address.user.empty()) {
        over.emplace_back("user", pool.user);
        const auto known = password.empty() ? word_of(before.over, "password") : password;
        if (!known.empty()) over.emplace_back("password", known);
    }
    const bool moves = before.conninfo != target.settings.url;
    if (!moves && over == before.over) return;
    pool.set_login(target.settings.url, std::move(over));
    if (!moves) return;
    log.info("pool goes over to new connections",
             {{"database", pool.database}, {"user", pool.user}});
    renew_locked(pool, retired);
}

void pg_service::renew_locked(pool_entry& pool, std::vector<std::shared_ptr<void>>& retired) {
    book.renew(*pool.book, pool.renew(), retired);
    if (pool.shared_listening != nullptr) pool.shared_listening->renew();
}

void pg_service::renew(pool_entry& pool) {
    std::vector<std::shared_ptr<void>> retired;
    {
        const std::lock_guard lock(mutex_);
        renew_locked(pool, retired);
    }
    close_retired(retired, outdated_why);
    workers_[0]->post([this, &pool] { top_up(pool, *workers_[0]); });
}

// Makes of a pool what the directory says.
void pg_service::adapt(pool_entry& pool, std::vector<std::shared_ptr<void>>& retired) {
    const auto* target = directory_->find_database(pool.database);
    const bool is_wanted =
        target != nullptr && (target->address.user.empty() || target->address.user == pool.user);
    if (!is_wanted) {
        if (pool.retired.exchange(true)) return;
        log.info(
            "pool retired",
            {{"database", pool.database}, {"user", pool.user}, {"clients", pool.clients.load()}});
        auto bounds = book.figures(*pool.book).bounds;
        bounds.min = 0;
        book.set_bounds(*pool.book, bounds);
        return renew_locked(pool, retired);
    }
    if (pool.retired) return;  // until a client needs it
    set_limits(pool, *target);
    const auto* account = directory_->find_user(pool.user);
    set_login(pool, *target, account == nullptr ? std::string() : account->password, retired);
    book.trim(*pool.book, retired);
}

void pg_service::replace_directory(std::shared_ptr<const directory> next) {
    std::vector<std::shared_ptr<void>> retired;
    std::vector<pool_entry*> pools;
    {
        const std::lock_guard lock(mutex_);
        directory_ = std::move(next);
        directory_number_.fetch_add(1, std::memory_order_acq_rel);
        tops.set_limit(directory_->postgres().track_statements);
        for (auto& [key, pool] : pools_) {
            adapt(*pool, retired);
            if (!pool->retired) pools.push_back(pool.get());
        }
    }
    close_retired(retired, outdated_why);
    for (auto* worker : workers_) {
        worker->post([this, worker] {
            for (auto& session : sessions_of[worker->number()])
                session.reconfigure();
        });
    }
    workers_[0]->post([this, pools = std::move(pools)] {
        for (auto* pool : pools)
            top_up(*pool, *workers_[0]);
    });
}

}  // namespace sluice::daemon
