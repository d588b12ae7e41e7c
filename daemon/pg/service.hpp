// What the workers share of the Postgres side: the directory, the pools and their books, the
// registry of clients, the helper threads; and the traffic between them (granting, moving, opening
// server connections). Thread-safe where it says nothing else.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/control.hpp"
#include "daemon/helpers.hpp"
#include "daemon/log.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/worker.hpp"
#include "daemon/pg/directory.hpp"
#include "daemon/pg/passthrough.hpp"
#include "daemon/pg/pool_control.hpp"
#include "daemon/pg/pool_entry.hpp"
#include "metrics/counters.hpp"
#include "metrics/exposition.hpp"
#include "pool/bounded_pool.hpp"
#include "pool/client_registry.hpp"
#include "pool/overview.hpp"
#include "pool/statement_counts.hpp"
#include "pool/statements.hpp"
#include "pool/top_statements.hpp"

namespace sluice::daemon {

class client_session;
class listening;
class server_connection;

// A drain ends those first that lose nothing by it.
enum class drain_round { idle, busy, pinned };

// What drain, shutdown and the admin console know of a session.
struct listed_session
    : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
    // End, or be marked to end as soon as no transaction is open. True: it was this one's turn.
    virtual bool drain(drain_round round, net::clock_time now) = 0;
    virtual void stop() = 0;       // end now
    virtual void reconfigure() {}  // there is a new directory
    // Ends now, by an admin's order, with its server connection. False: it has ended already.
    virtual bool kill() = 0;
    [[nodiscard]] virtual std::uint64_t serial() const = 0;
    // Of any database, if none is named. Not the admin console's own.
    [[nodiscard]] virtual bool is_client_of(const std::string& database) const = 0;
    virtual void describe(std::vector<pool::socket_view>& out) const = 0;

  protected:
    ~listed_session() = default;
};
using session_list =
    boost::intrusive::list<listed_session, boost::intrusive::constant_time_size<false>>;

// Limits on clients; a refusal names the setting.
enum class admission {
    granted,
    max_client_conn,
    max_db_client_connections,
    max_user_client_connections
};

// Top statements that SHOW QUERIES and the dashboard show.
inline constexpr std::size_t shown_statements = 100;

class pg_service {
  public:
    pg_service(std::shared_ptr<const directory> first, std::vector<net::worker*> workers,
               logger& log);
    ~pg_service();

    [[nodiscard]] std::shared_ptr<const directory> current_directory() const;
    // Puts it in force: pools go over to new addresses and bounds, clients to their new pools.
    void replace_directory(std::shared_ptr<const directory> next);
    // Grows with each directory: sessions compare it, so that they notice a new one.
    [[nodiscard]] std::uint32_t directory_number() const noexcept {
        return directory_number_.load(std::memory_order_acquire);
    }

    // A socket was accepted: hands it to the worker with the fewest clients.
    void accept(net::accepted_socket socket);

    // The pool that a client belongs to; null: there is no such database.
    [[nodiscard]] pool_entry* pool_for(const std::string& database, const std::string& client_user,
                                       const std::string& client_password);
    // The same for a client that is logged in, whose password is no longer known.
    struct placement {
        pool_entry* pool = nullptr;  // null: it cannot stay,
        const char* why = nullptr;   // because of this
    };
    [[nodiscard]] placement place_again(const pool_entry& present, const std::string& database,
                                        const std::string& client_user);
    // The pool's connections go one by one as they become free, and new ones come.
    void renew(pool_entry& pool);

    [[nodiscard]] admission admit_client(const directory& from, const database_target& target,
                                         const std::string& database, const std::string& user);
    void client_left(const std::string& database, const std::string& user);

    // On the client's worker: gives it a connection now, or later through client_session.
    void acquire(client_session& client);
    // On the connection's worker: it is free.
    void offer(server_connection& connection);
    void lost(server_connection& connection);
    // Starts the logins that the pool's books ask for.
    void top_up(pool_entry& pool, net::worker& on);
    // Logs in as the pool's connections do, whatever its bound says; `done` is called on `on`.
    using login_done = std::function<void(pool::login_result, std::chrono::nanoseconds took)>;
    void log_in_with(pool_entry& pool, const login_terms& terms, net::worker& on, login_done done,
                     bool survey = false);
    // The connection through which the clients of the pool listen.
    [[nodiscard]] listening& listening_of(pool_entry& pool);
    // Sends a cancel request upstream, from a thread that may wait, and calls `done` there.
    enum class cancel_origin { client, ourselves };
    void send_cancel(pool_entry& pool, std::shared_ptr<const pool::cancel_target> target,
                     net::clock_time::duration patience, cancel_origin origin,
                     std::function<void()> done);
    // `done` is called, on any worker, when the request can no longer hit a later statement.
    void cancel_request(std::uint32_t process_id, const std::string& secret,
                        std::function<void()> done);

    // Every tick on every worker.
    void tick(net::worker& on, net::clock_time now);
    // Ends the sessions between transactions, at postgres.drain_rate. Who comes from now on is told
    // that there is a shutdown, or (a successor has the sockets) served like everybody.
    enum class newcomers { served, refused };
    void drain(newcomers what);
    [[nodiscard]] bool draining() const noexcept { return draining_.load(); }
    [[nodiscard]] bool refusing() const noexcept { return refusing_.load(); }
    // A client that was between transactions for so long is not about to ask something: most that
    // have just logged in, or got an answer, are.
    [[nodiscard]] net::clock_time::duration rest_time() const noexcept { return rest_time_; }
    // Stops helpers and ends every session; the workers must still run.
    void close_clients();
    // Closes every server connection; no worker may run any more.
    void close_servers();

    // What the admin console shows, but for the sockets (gather_overview() in overview.hpp).
    void describe(pool::overview& out) const;
    // The pools of a database, or all.
    [[nodiscard]] std::vector<pool_entry*> pools_of(const std::string& database) const;
    [[nodiscard]] net::worker& worker(unsigned number) noexcept { return *workers_[number]; }
    // Runs `work` on each worker, and then `done` on the last one.
    void on_every_worker(const std::function<void(net::worker&)>& work,
                         const std::function<void()>& done);
    // The pool's listening connection ends; it comes back if it is wanted and the pool not paused.
    void reconnect_listening(pool_entry& pool);

    void fill(metrics::snapshot& out) const;
    [[nodiscard]] bool ready(std::string& why) const;

    // What statements have cost, those that took the most time first; up to a tick old.
    [[nodiscard]] std::vector<pool::statement_total> top_statements(std::size_t n) const {
        return tops.top(n);
    }
    void reset_top_statements() { tops.reset(); }
    [[nodiscard]] pool::statement_counts& statement_counts_of(const net::worker& of) noexcept {
        return *statement_counts_[of.number()];
    }

    [[nodiscard]] metrics::worker_counters& counters(const net::worker& of) noexcept {
        return *worker_counters_[of.number()];
    }
    [[nodiscard]] const std::string& mock_secret() const noexcept { return mock_secret_; }
    [[nodiscard]] std::uint64_t next_serial() noexcept { return ++serial_; }

    logger& log;
    // Where requests go that mean none of our clients; none: nowhere.
    std::function<void(std::uint32_t process_id, const std::string& secret)> cancel_elsewhere;
    pool::top_statements tops;  // helper threads read its texts
    control* whole = nullptr;   // the daemon; none in tests of parts
    helpers threads;
    std::atomic<bool> stopping{false};
    pool::pool_book book;
    pool::parameter_table parameters;
    pool::statement_table statements;
    pool::client_registry registry;
    passthrough_cache passthrough;
    pool_control orders{*this};
    std::atomic<std::uint32_t> consoles{0};  // sessions of the admin console
    // Sockets, logged in or not, by worker.
    std::vector<std::atomic<std::uint32_t>> clients_on;
    std::atomic<std::uint32_t> logging_in{0};
    // The sessions of each worker, touched by that worker only.
    std::vector<session_list> sessions_of;

  private:
    void log_in(pool_entry& pool, net::worker& on);
    void logged_in(pool_entry& pool, const login_terms& terms, net::worker& on,
                   pool::login_result result, std::chrono::nanoseconds took);
    void close_retired(std::vector<std::shared_ptr<void>>& retired, const char* why);
    // service_reload.cpp; with the lock
    [[nodiscard]] pool_entry& entry_for(const database_target& target, const std::string& database,
                                        const std::string& client_user,
                                        const std::string& client_password);
    void adapt(pool_entry& pool, std::vector<std::shared_ptr<void>>& retired);
    void set_limits(pool_entry& pool, const database_target& target);
    void set_login(pool_entry& pool, const database_target& target, const std::string& password,
                   std::vector<std::shared_ptr<void>>& retired);
    void renew_locked(pool_entry& pool, std::vector<std::shared_ptr<void>>& retired);
    void grant(server_connection& connection, std::shared_ptr<client_session> client);
    void close_old(net::worker& on, net::clock_time now);
    // overview.cpp
    [[nodiscard]] pool::totals_by_database totals() const;
    void describe_pools(const directory& from, pool::overview& out) const;
    void describe_names(const directory& from, pool::overview& out) const;
    void refuse_waiters(const std::vector<pool::waiter*>& refused, const pool::login_failure& why);

    std::vector<net::worker*> workers_;
    std::vector<unsigned> ticks_;  // by worker
    std::vector<std::unique_ptr<metrics::worker_counters>> worker_counters_;
    std::vector<std::unique_ptr<pool::statement_counts>> statement_counts_;  // by worker
    mutable std::mutex mutex_;  // the directory, the map of pools, counts of clients
    std::shared_ptr<const directory> directory_;
    std::atomic<std::uint32_t> directory_number_{1};
    std::map<std::pair<std::string, std::string>, std::unique_ptr<pool_entry>> pools_;
    std::map<const pool::bounded_pool*, pool_entry*> by_book_;
    std::map<std::string, pool::shared_bound*> database_bounds_;
    std::map<std::string, pool::shared_bound*> user_bounds_;
    std::map<std::string, std::uint32_t> clients_by_database_;
    std::map<std::string, std::uint32_t> clients_by_user_;
    std::uint32_t clients_ = 0;
    pool::stats_history stats_;
    std::size_t listenings_ = 0;  // made so far, which spreads them over the workers
    std::string mock_secret_;
    std::atomic<std::uint64_t> serial_{0};
    // service_drain.cpp
    void drain_some(net::worker& on, net::clock_time now);
    void fill_drain_budget(net::clock_time now);

    std::atomic<bool> draining_{false};
    std::atomic<bool> refusing_{false};
    // Set before draining_.
    net::clock_time::duration rest_time_{};
    net::clock_time busy_from_{};                // until then clients in use are left alone
    std::atomic<std::int64_t> drain_budget_{0};  // sessions that may be ended now
    net::clock_time drain_filled_{};             // the first worker's
    double drain_fraction_ = 0;
};

}  // namespace sluice::daemon
