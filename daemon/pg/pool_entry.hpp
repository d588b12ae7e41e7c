// One pool: a database and an upstream user, with how to log in, what it counts and what it has
// learnt. Shared by the workers for the life of the daemon.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "metrics/counters.hpp"
#include "pool/bounded_pool.hpp"
#include "pool/parameters.hpp"
#include "pool/session_state.hpp"
#include "pool/upstream_login.hpp"

namespace sluice::daemon {

class listening;

// What a server reports for given startup settings, so that a client can be welcomed without asking
// a server each time. Thread-safe; used at logins.
class welcome_cache {
  public:
    [[nodiscard]] pool::parameters find(const pool::parameters& settings) const {
        const std::lock_guard lock(mutex_);
        const auto at = known_.find(settings);
        return at == known_.end() ? nullptr : at->second;
    }
    // `generation` is that of the connection which has reported them.
    void add(const pool::parameters& settings, pool::parameters reported,
             std::uint32_t generation) {
        const std::lock_guard lock(mutex_);
        if (generation < generation_) return;
        if (known_.size() >= most) known_.clear();
        known_[settings] = std::move(reported);
    }
    // The defaults of a connection that has just logged in: others than before mean another server.
    void check_defaults(const pool::parameters& defaults, std::uint32_t generation) {
        const std::lock_guard lock(mutex_);
        if (generation < generation_) return;
        if (defaults_ != nullptr && defaults_ != defaults) known_.clear();
        defaults_ = defaults;
    }
    // The server is another one from that generation on.
    void forget(std::uint32_t generation) {
        const std::lock_guard lock(mutex_);
        generation_ = generation;
        known_.clear();
        defaults_ = nullptr;
    }

  private:
    static constexpr std::size_t most = 1024;
    mutable std::mutex mutex_;
    std::uint32_t generation_ = 0;
    std::map<pool::parameters, pool::parameters> known_;
    pool::parameters defaults_;
};

// How a connection of a pool logs in, and what is known about the server behind that address.
struct login_terms {
    std::string conninfo;
    std::vector<std::pair<std::string, std::string>> over;  // dbname, user, password
    std::uint32_t generation = 0;  // of the pool: grows when it goes over to new connections
    std::shared_ptr<pool::session_knowledge> knowledge;
};

// Cancel requests on their way to a pool's server. Clients' own are counted apart.
struct cancel_counts {
    std::atomic<std::uint32_t> waiting{0};  // clients', for a thread that sends them
    std::atomic<std::uint32_t> asked{0};    // clients', being sent
    std::atomic<std::uint32_t> sent{0};     // all that are being sent
};

struct pool_entry {
    std::string database;  // the client's name for it
    std::string user;      // who logs in upstream
    pool::bounded_pool* book = nullptr;
    std::vector<std::unique_ptr<metrics::pool_counters>> counters;  // by worker
    welcome_cache welcomes;
    std::atomic<std::uint32_t> clients{0};   // logged in
    std::atomic<std::uint32_t> cleaning{0};  // connections being rolled back or reset
    cancel_counts cancels;
    std::atomic<bool> reached{false};  // a login succeeded and none has failed since
    std::atomic<bool> paused{false};   // by an admin
    // Its database, or its upstream user, is no longer in the configuration: clients that it still
    // has leave it between transactions.
    std::atomic<bool> retired{false};
    std::atomic<std::int64_t> server_lifetime_ms{0};  // 0: no limit
    std::atomic<std::uint32_t> max_pinned{0};         // 0: no bound
    std::atomic<std::uint32_t> pinned{0};             // clients
    std::array<std::atomic<std::uint32_t>, pool::pin_reasons> pinned_by{};
    std::atomic<std::uint32_t> listening_clients{0};
    std::atomic<std::uint32_t> listen_connections{0};  // open now: 0 or 1
    std::shared_ptr<listening> shared_listening;       // pg_service::listening_of() makes it

    [[nodiscard]] login_terms terms() const {
        const std::lock_guard lock(mutex_);
        return terms_;
    }
    [[nodiscard]] std::shared_ptr<pool::session_knowledge> knowledge() const {
        const std::lock_guard lock(mutex_);
        return terms_.knowledge;
    }
    // Holds from the next login on.
    void set_login(std::string conninfo, std::vector<std::pair<std::string, std::string>> over) {
        const std::lock_guard lock(mutex_);
        terms_.conninfo = std::move(conninfo);
        terms_.over = std::move(over);
    }
    // Nothing that was learnt from earlier connections holds any more. The new generation.
    std::uint32_t renew() {
        const std::lock_guard lock(mutex_);
        auto fresh = std::make_shared<pool::session_knowledge>();
        fresh->wanted = terms_.knowledge->wanted.load();
        terms_.knowledge = std::move(fresh);
        welcomes.forget(++terms_.generation);
        last_failure_ = {};
        return terms_.generation;
    }
    [[nodiscard]] pool::login_failure last_failure() const {
        const std::lock_guard lock(mutex_);
        return last_failure_;
    }
    // Unix time in seconds; 0: there was none.
    [[nodiscard]] double failed_at() const {
        const std::lock_guard lock(mutex_);
        return failed_at_;
    }
    void set_last_failure(pool::login_failure failure, double unix_time) {
        const std::lock_guard lock(mutex_);
        last_failure_ = std::move(failure);
        failed_at_ = unix_time;
    }

  private:
    mutable std::mutex mutex_;
    login_terms terms_{{}, {}, 0, std::make_shared<pool::session_knowledge>()};
    pool::login_failure last_failure_;
    double failed_at_ = 0;
};

}  // namespace sluice::daemon
