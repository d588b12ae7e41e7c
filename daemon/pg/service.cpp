#include "daemon/pg/service.hpp"

#include <openssl/rand.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "daemon/net/certificate.hpp"
#include "daemon/pg/client_session.hpp"
#include "daemon/pg/listening.hpp"
#include "daemon/pg/server_connection.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

constexpr unsigned helper_threads = 64;

constexpr auto retired_why = "the pool goes on with fewer, or newer, connections";

// Sockets above max_client_conn that may be open: cancel requests, and clients that are to be told
// that there are too many.
constexpr std::uint32_t spare_sockets = 1000;

double unix_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

double random_fraction() {
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::uniform_real_distribution<double>(0.0, 1.0)(random);
}

// libpq's names for the TCP settings; a connection string that has its own wins.
std::vector<std::pair<std::string, std::string>> tcp_options(
    const config::postgres_settings& from) {
    const auto seconds = [](config::milliseconds value) {
        return std::to_string(std::max<std::int64_t>(1, value.count() / 1000));
    };
    return {{"keepalives", from.tcp_keepalive ? "1" : "0"},
            {"keepalives_idle", seconds(from.tcp_keepidle)},
            {"keepalives_interval", seconds(from.tcp_keepintvl)},
            {"keepalives_count", std::to_string(from.tcp_keepcnt)},
            {"tcp_user_timeout", std::to_string(from.tcp_user_timeout.count())}};
}

}  // namespace

pg_service::pg_service(std::shared_ptr<const directory> first, std::vector<net::worker*> workers,
                       logger& to)
    : log(to),
      tops(first->postgres().track_statements),
      threads(helper_threads),
      book(static_cast<unsigned>(workers.size())),
      clients_on(workers.size()),
      sessions_of(workers.size()),
      workers_(std::move(workers)),
      ticks_(workers_.size()),
      directory_(std::move(first)),
      mock_secret_(32, '\0') {
    RAND_bytes(reinterpret_cast<unsigned char*>(mock_secret_.data()),
               static_cast<int>(mock_secret_.size()));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
        worker_counters_.push_back(std::make_unique<metrics::worker_counters>());
        statement_counts_.push_back(std::make_unique<pool::statement_counts>(tops));
    }
}

pg_service::~pg_service() = default;

std::shared_ptr<const directory> pg_service::current_directory() const {
    const std::lock_guard lock(mutex_);
    return directory_;
}

void pg_service::accept(net::accepted_socket socket) {
    std::size_t chosen = 0;
    for (std::size_t i = 1; i < clients_on.size(); ++i) {
        if (clients_on[i].load(std::memory_order_relaxed) <
            clients_on[chosen].load(std::memory_order_relaxed)) {
            chosen = i;
        }
    }
    std::uint32_t all = 0;
    for (const auto& count : clients_on)
        all += count.load(std::memory_order_relaxed);
    if (all >= current_directory()->postgres().max_client_conn + spare_sockets) {
        worker_counters_[0]->clients_refused.add();
        ::close(socket.descriptor);
        return;
    }
    clients_on[chosen].fetch_add(1, std::memory_order_relaxed);
    auto& on = *workers_[chosen];
    if (on.is_current()) {
        client_session::start(*this, on, std::move(socket));
    } else {
        on.post([this, &on, socket = std::move(socket)]() mutable {
            client_session::start(*this, on, std::move(socket));
        });
    }
}

admission pg_service::admit_client(const directory& from, const database_target& target,
                                   const std::string& database, const std::string& user) {
    const auto& all = from.postgres();
    const auto* account = from.find_user(user);
    const auto of_database =
        target.settings.max_db_client_connections.value_or(all.max_db_client_connections);
    const auto of_user = account == nullptr
                             ? all.max_user_client_connections
                             : account->settings.max_user_client_connections.value_or(
                                   all.max_user_client_connections);
    const std::lock_guard lock(mutex_);
    if (clients_ >= all.max_client_conn) return admission::max_client_conn;
    auto& in_database = clients_by_database_[database];
    auto& by_user = clients_by_user_[user];
    if (of_database != 0 && in_database >= of_database) {
        return admission::max_db_client_connections;
    }
    if (of_user != 0 && by_user >= of_user) return admission::max_user_client_connections;
    ++clients_;
    ++in_database;
    ++by_user;
    return admission::granted;
}

void pg_service::client_left(const std::string& database, const std::string& user) {
    const std::lock_guard lock(mutex_);
    --clients_;
    if (--clients_by_database_[database] == 0) clients_by_database_.erase(database);
    if (--clients_by_user_[user] == 0) clients_by_user_.erase(user);
}

void pg_service::acquire(client_session& client) {
    auto& pool = client.pool();
    std::shared_ptr<void> remote;
    client.waiter.keep = client.shared_from_this();
    auto* found = book.acquire(*pool.book, client.waiter, steady_clock::now(), remote);
    if (found == nullptr) return top_up(pool, client.home());
    const auto self = std::static_pointer_cast<client_session>(std::move(client.waiter.keep));
    if (remote == nullptr) {
        auto& connection = server_connection::of(*found);
        connection.lease_to(client);
        return client.granted(connection);
    }
    const auto connection = std::static_pointer_cast<server_connection>(remote);
    workers_[found->worker]->post([connection, self] { connection->move_to(self); });
}

void pg_service::grant(server_connection& connection, std::shared_ptr<client_session> client) {
    if (&client->home() != &connection.home()) return connection.move_to(std::move(client));
    // Serving the next client may free the connection again at once: not one inside the other.
    thread_local int depth = 0;
    if (depth >= 4) {
        connection.home().post([hold = connection.shared_from_this(), client] {
            if (hold->now_in() == server_connection::phase::closed) return client->grant_lost();
            hold->lease_to(*client);
            client->granted(*hold);
        });
        return;
    }
    ++depth;
    connection.lease_to(*client);
    client->granted(connection);
    --depth;
}

void pg_service::offer(server_connection& connection) {
    bool retired = false;
    connection.slot.settings = connection.link.applied.get();
    auto* next =
        book.release(connection.slot, connection.home().number(), steady_clock::now(), &retired);
    if (retired) return connection.close(retired_why);
    if (next == nullptr) return;
    grant(connection, std::static_pointer_cast<client_session>(std::move(next->keep)));
}

void pg_service::lost(server_connection& connection) {
    auto& pool = connection.entry();
    auto& on = connection.home();
    book.remove(connection.slot);
    if (stopping) return;
    const auto figures = book.figures(*pool.book);
    if (figures.waiting > 0) top_up(pool, on);
}

void pg_service::top_up(pool_entry& pool, net::worker& on) {
    if (stopping) return;
    std::vector<std::shared_ptr<void>> evicted;
    const auto logins = book.start_logins(*pool.book, steady_clock::now(), evicted);
    close_retired(evicted, "another pool needs its place");
    for (std::uint32_t i = 0; i < logins; ++i)
        log_in(pool, on);
}

// They are retired: nobody but their own workers knows them any more.
void pg_service::close_retired(std::vector<std::shared_ptr<void>>& retired, const char* why) {
    for (auto& one : retired) {
        auto connection = std::static_pointer_cast<server_connection>(std::move(one));
        workers_[connection->slot.worker]->post([connection, why] { connection->close(why); });
    }
    retired.clear();
}

void pg_service::log_in(pool_entry& pool, net::worker& on) {
    const auto terms = pool.terms();
    // Nobody is served before the functions of the database are known.
    const auto changes = terms.knowledge->changes();
    const bool survey = terms.knowledge->wanted && terms.knowledge->in_doubt();
    log_in_with(
        pool, terms, on,
        [this, &pool, &on, changes, terms](pool::login_result result,
                                           std::chrono::nanoseconds took) {
            if (result.survey.has_value()) {
                terms.knowledge->learn(changes, std::move(*result.survey));
            } else if (result.connection.has_value() && !result.survey_failure.empty()) {
                terms.knowledge->survey_failed(changes, result.survey_failure);
            }
            logged_in(pool, terms, on, std::move(result), took);
        },
        survey);
}

void pg_service::log_in_with(pool_entry& pool, const login_terms& terms, net::worker& on,
                             login_done done, bool survey) {
    const auto from = current_directory();
    auto order = std::make_shared<pool::login_order>();
    order->conninfo = terms.conninfo;
    order->under = tcp_options(from->postgres());
    order->over = terms.over;
    order->stop = &stopping;
    order->survey = survey;
    const auto timeout = from->postgres().server_connect_timeout;
    pool.counters[on.number()]->upstream_logins.add();
    threads.run([order, timeout, &on, done = std::move(done)] {
        const auto start = steady_clock::now();
        order->deadline = start + (timeout.count() == 0 ? std::chrono::hours(1) : timeout);
        auto result = std::make_shared<pool::login_result>(pool::log_in(*order));
        const auto took = steady_clock::now() - start;
        on.post([result, took, done] { done(std::move(*result), took); });
    });
}

listening& pg_service::listening_of(pool_entry& pool) {
    const std::lock_guard lock(mutex_);
    if (pool.shared_listening == nullptr) {
        auto& home = *workers_[listenings_++ % workers_.size()];
        pool.shared_listening = std::make_shared<listening>(*this, pool, home);
    }
    return *pool.shared_listening;
}

void pg_service::logged_in(pool_entry& pool, const login_terms& terms, net::worker& on,
                           pool::login_result result, std::chrono::nanoseconds took) {
    auto& counters = *pool.counters[on.number()];
    counters.login_seconds.record(took);
    if (!result.connection.has_value()) {
        counters.upstream_login_failures.add();
        if (pool.terms().generation == terms.generation) {  // or it concerns an address of the past
            pool.reached = false;
            pool.set_last_failure(result.failure, unix_seconds());
        }
        log.warning("server login failed", {{"database", pool.database},
                                            {"user", pool.user},
                                            {"sqlstate", result.failure.sqlstate},
                                            {"error", result.failure.message},
                                            {"retried", !result.failure.hopeless}});
        const auto refused =
            book.login_failed(*pool.book, result.failure.hopeless, steady_clock::now(),
                              random_fraction(), terms.generation);
        return refuse_waiters(refused, result.failure);
    }
    pool.reached = true;
    auto connection =
        std::make_shared<server_connection>(*this, pool, on, terms, std::move(*result.connection));
    pool.welcomes.check_defaults(connection->link.defaults(), terms.generation);
    log.info("server connection opened", {{"database", pool.database},
                                          {"user", pool.user},
                                          {"pid", connection->process_id()},
                                          {"after", took}});
    connection->open();
    bool retired = false;
    connection->slot.settings = connection->link.applied.get();
    auto* next = book.opened(*pool.book, connection->slot, connection, on.number(),
                             steady_clock::now(), &retired);
    if (retired) return connection->close(retired_why);
    if (next != nullptr) {
        grant(*connection, std::static_pointer_cast<client_session>(std::move(next->keep)));
    }
    connection->stream.announce_pending();
    top_up(pool, on);
}

void pg_service::refuse_waiters(const std::vector<pool::waiter*>& refused,
                                const pool::login_failure& why) {
    for (auto* waiter : refused) {
        auto client = std::static_pointer_cast<client_session>(std::move(waiter->keep));
        auto& there = client->home();
        there.post([client, why] { client->refused(why); });
    }
}

void pg_service::send_cancel(pool_entry& pool, std::shared_ptr<const pool::cancel_target> target,
                             net::clock_time::duration patience, cancel_origin origin,
                             std::function<void()> done) {
    auto& counts = pool.cancels;
    const std::uint32_t asked = origin == cancel_origin::client ? 1 : 0;
    counts.waiting += asked;
    threads.run([&counts, asked, patience, target = std::move(target), done = std::move(done)] {
        counts.waiting -= asked;
        counts.asked += asked;
        ++counts.sent;
        if (target != nullptr) pool::send_cancel(*target, steady_clock::now() + patience);
        --counts.sent;
        counts.asked -= asked;
        done();
    });
}

void pg_service::cancel_request(std::uint32_t process_id, const std::string& secret,
                                std::function<void()> done) {
    const auto meant = registry.find(process_id, secret);
    if (!meant.has_value()) {
        if (cancel_elsewhere) cancel_elsewhere(process_id, secret);
        return done();
    }
    workers_[meant->worker]->post([session = meant->session, done = std::move(done)] {
        if (const auto client = std::static_pointer_cast<client_session>(session.lock())) {
            client->cancel_requested(done);
        } else {
            done();
        }
    });
}

void pg_service::tick(net::worker& on, net::clock_time now) {
    statement_counts_of(on).flush(now);
    if (tops.wants_reader()) {
        threads.run([this] { tops.read_texts(); });
    }
    if (on.number() == 0) {
        for (auto* hungry : book.hungry()) {
            pool_entry* pool = nullptr;
            {
                const std::lock_guard lock(mutex_);
                pool = by_book_.at(hungry);
            }
            top_up(*pool, on);
        }
        if (stats_.is_due(now)) stats_.end_period(totals(), now);
    }
    if (++ticks_[on.number()] % 10 == 0) close_old(on, now);
    if (draining()) drain_some(on, now);
}

// Closes idle connections of this worker that are too old or were idle for too long.
void pg_service::close_old(net::worker& on, net::clock_time now) {
    std::vector<pool_entry*> pools;
    config::milliseconds idle_timeout{};
    {
        const std::lock_guard lock(mutex_);
        idle_timeout = directory_->postgres().server_idle_timeout;
        // A successor wants connections of its own.
        if (draining()) idle_timeout = std::chrono::seconds(1);
        for (const auto& [key, pool] : pools_)
            pools.push_back(pool.get());
    }
    // A slot's times may be read under the book's lock only: another worker may lease it meanwhile.
    const auto close_idle = [&](pool_entry& pool, net::clock_time before, auto applies,
                                const char* why) {
        for (auto* slot : book.idle_since(*pool.book, on.number(), before)) {
            const auto hold = server_connection::of(*slot).shared_from_this();
            if (applies(*hold) && book.retire(*slot)) hold->close(why);
        }
    };
    for (auto* pool : pools) {
        if (const auto failure = pool->knowledge()->take_failure(); !failure.empty()) {
            log.warning("the functions of a database could not be looked through",
                        {{"database", pool->database},
                         {"user", pool->user},
                         {"sqlstate", failure},
                         {"effect", "what functions leave in a session is not noticed"}});
        }
        close_idle(
            *pool, now, [now](const auto& idle) { return idle.expired(now); }, "server_lifetime");
        if (idle_timeout.count() == 0) continue;
        close_idle(
            *pool, now - idle_timeout,
            [&](const auto&) { return draining() || book.above_minimum(*pool->book); },
            "server_idle_timeout");
    }
}

void pg_service::close_clients() {
    stopping = true;
    for (auto* worker : workers_) {
        worker->post([this, worker] {
            auto& list = sessions_of[worker->number()];
            while (!list.empty())
                list.front().stop();
        });
    }
    threads.stop();
}

// A connection that is moving has two workers, and one that has just logged in none that knows it:
// only when none runs can all be reached.
// NOLINTNEXTLINE(readability-make-member-function-const): const it would promise to change nothing
void pg_service::close_servers() {
    for (const auto& hold : book.connections()) {
        std::static_pointer_cast<server_connection>(hold)->close("shutdown");
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [key, pool] : pools_) {
        if (pool->shared_listening != nullptr) pool->shared_listening->close();
    }
}

void pg_service::fill(metrics::snapshot& out) const {
    for (const auto& counters : worker_counters_)
        out.process.workers.push_back(counters.get());
    const std::lock_guard lock(mutex_);
    out.process.client_connections = clients_;
    out.process.clients_logging_in = logging_in.load();
    out.process.max_client_conn = directory_->postgres().max_client_conn;
    out.process.log_lines_dropped = log.dropped();
    if (const auto* tls = directory_->tls(); tls != nullptr) {
        if (const auto end = net::certificate_end(*tls)) {
            out.certificates.push_back({"postgres", *end});
        }
    }
    const auto now = steady_clock::now();
    for (const auto& [key, pool] : pools_) {
        const auto figures = book.figures(*pool->book);
        if (pool->retired && pool->clients == 0 && figures.idle + figures.leased == 0) continue;
        metrics::pool_snapshot one;
        one.database = pool->database;
        one.user = pool->user;
        for (const auto& counters : pool->counters)
            one.workers.push_back(counters.get());
        one.size_limit = figures.bounds.size;
        one.reserve = figures.bounds.reserve;
        const auto cleaning = std::min(pool->cleaning.load(), figures.leased);
        one.connections.idle = figures.idle;
        one.connections.cancelling = cleaning;
        one.connections.active = figures.leased - cleaning;
        one.connections.login = figures.opening;
        for (std::size_t i = 0; i < one.pinned.size(); ++i)
            one.pinned[i] = pool->pinned_by[i].load();
        one.listening_clients = pool->listening_clients.load();
        one.listen_connections = pool->listen_connections.load();
        const auto clients = pool->clients.load();
        one.clients.waiting = figures.waiting;
        one.clients.active = one.connections.active;
        const auto busy = one.clients.waiting + one.clients.active;
        one.clients.idle = clients > busy ? clients - busy : 0;
        if (figures.waiting > 0) {
            one.oldest_wait_seconds =
                std::chrono::duration<double>(now - figures.oldest_waiter).count();
        }
        const auto failure = pool->last_failure();
        one.upstream = {pool->reached, failure.sqlstate, failure.message, pool->failed_at()};
        out.pools.push_back(std::move(one));
    }
}

bool pg_service::ready(std::string& why) const {
    if (draining()) {
        why = "shutting down";
        return false;
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [key, pool] : pools_) {
        if (pool->retired) continue;
        const auto figures = book.figures(*pool->book);
        if (pool->reached || figures.idle + figures.leased > 0) return true;
        const auto failure = pool->last_failure();
        if (!failure.sqlstate.empty()) {
            why = "database \"" + pool->database + "\" cannot be reached: " + failure.sqlstate +
                  " " + failure.message;
        }
    }
    return why.empty();  // nothing was tried yet: believed reachable
}

}  // namespace sluice::daemon
