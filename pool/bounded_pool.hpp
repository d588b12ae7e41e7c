// The books of all pools: how many server connections there are and may be, which are idle, who
// waits. Decides and counts; opens, moves and closes nothing. A pool belongs to one database and
// one upstream user; its bound holds over all workers and its waiters are served in order of
// arrival. Thread-safe by one short lock: every call is a few list operations, and a transaction
// makes two. Time is an argument. Slots and waiters belong to the caller and are linked in here by
// their hooks.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace sluice::pool {

using clock_time = std::chrono::steady_clock::time_point;
using duration = std::chrono::steady_clock::duration;

using list_hook =
    boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>>;
struct all_tag;
using all_hook =
    boost::intrusive::list_base_hook<boost::intrusive::tag<all_tag>,
                                     boost::intrusive::link_mode<boost::intrusive::safe_link>>;

class bounded_pool;

enum class slot_state : std::uint8_t { idle, leased, gone };

// One server connection's place in its pool.
struct slot : list_hook, all_hook {
    bounded_pool* pool = nullptr;
    unsigned worker = 0;  // where its socket lives
    slot_state state = slot_state::leased;
    clock_time since{};              // idle since, or leased since
    std::uint64_t holder = 0;        // the client's serial number while leased
    std::uint32_t generation = 0;    // the pool's when its login began
    const void* settings = nullptr;  // what is set on it, as a token to compare
    std::shared_ptr<void> keep;      // the connection; set by opened(), given up by remove()
};

// A client that wants a server connection.
struct waiter : list_hook {
    unsigned worker = 0;
    bool queued = false;
    clock_time since{};
    std::uint64_t serial = 0;
    const void* settings = nullptr;  // what it must have set: a connection that has is preferred
    std::shared_ptr<void> keep;  // the owner, as long as somebody may still reach for the waiter
};

using slot_list = boost::intrusive::list<slot, boost::intrusive::base_hook<list_hook>>;
using slot_register = boost::intrusive::list<slot, boost::intrusive::base_hook<all_hook>>;
using waiter_list = boost::intrusive::list<waiter, boost::intrusive::base_hook<list_hook>>;

// A bound on server connections that several pools share: one database's, or one user's.
struct shared_bound {
    std::uint32_t limit = 0;  // 0: none
    std::uint32_t used = 0;

    [[nodiscard]] bool full() const noexcept { return limit != 0 && used >= limit; }
};

struct pool_bounds {
    std::uint32_t size = 20;
    std::uint32_t min = 0;
    std::uint32_t reserve = 0;
    duration reserve_after{};
    std::uint32_t logins_at_once = 4;
};

struct pool_figures {
    std::uint32_t idle = 0;
    std::uint32_t leased = 0;
    std::uint32_t opening = 0;
    std::uint32_t waiting = 0;
    pool_bounds bounds;
    clock_time oldest_waiter{};
};

// A client's place in a queue, or a client with the connection that it holds.
struct pool_place {
    std::uint64_t serial = 0;
    clock_time since{};
};

struct pool_holder {
    std::uint64_t serial = 0;
    duration held{};
};

// How many logins to start: a pure function of the figures.
[[nodiscard]] std::uint32_t logins_wanted(const pool_figures& figures, clock_time now);

class pool_book;

class bounded_pool {
  public:
    bounded_pool(pool_bounds bounds, shared_bound* database, shared_bound* user, unsigned workers)
        : bounds_(bounds), database_(database), user_(user), idle_(workers) {}

  private:
    friend class pool_book;
    pool_bounds bounds_;
    shared_bound* database_;
    shared_bound* user_;
    std::vector<slot_list> idle_;  // by worker; last used first
    slot_register all_;
    waiter_list waiters_;
    std::uint32_t opening_ = 0;
    std::uint32_t idle_count_ = 0;
    std::uint32_t failures_ = 0;    // logins in a row
    std::uint32_t generation_ = 0;  // older connections are not used again
    bool paused_ = false;
    clock_time retry_at_{};
};

class pool_book {
  public:
    explicit pool_book(unsigned workers) : workers_(workers) {}

    [[nodiscard]] bounded_pool& add_pool(pool_bounds bounds, shared_bound* database,
                                         shared_bound* user);
    [[nodiscard]] shared_bound* add_bound(std::uint32_t limit);
    void set_bounds(bounded_pool& pool, pool_bounds bounds);
    void set_limit(shared_bound& bound, std::uint32_t limit);
    // The pool's server is another one from that generation on: older connections serve nobody
    // after their present clients, and older logins count no more and are of no use. Waiters stay.
    // `retired` receives the idle ones, for the caller to close.
    void renew(bounded_pool& pool, std::uint32_t generation,
               std::vector<std::shared_ptr<void>>& retired);
    // Bounds were lowered: retires idle connections as far as there are too many.
    void trim(bounded_pool& pool, std::vector<std::shared_ptr<void>>& retired);

    // An idle connection, now leased to the waiter, or null: the waiter stands in the queue.
    // `remote` receives a hold on the connection if it lives on another worker than the waiter:
    // its own worker may close it at any time.
    [[nodiscard]] slot* acquire(bounded_pool& pool, waiter& client, clock_time now,
                                std::shared_ptr<void>& remote);
    // Takes a waiter out of the queue; false: it is not in it (granted, or never queued).
    bool leave(bounded_pool& pool, waiter& client);

    // A connection becomes free on `worker`. The waiter it is leased to next, or null: it is idle,
    // or retired, for the caller to close, since it is one too many or outdated,
    // or the pool is paused.
    [[nodiscard]] waiter* release(slot& free, unsigned worker, clock_time now,
                                  bool* retired = nullptr);
    // The same for a connection that has just logged in; the caller has set the slot's generation.
    [[nodiscard]] waiter* opened(bounded_pool& pool, slot& added, std::shared_ptr<void> keep,
                                 unsigned worker, clock_time now, bool* retired = nullptr);
    // A connection has ended, or is about to be closed; it is not leased to anybody any more.
    void remove(slot& ended);
    // Takes an idle connection for closing; false: it has just been leased.
    [[nodiscard]] bool retire(slot& idle);
    // Whether more than min_pool_size connections are there, so that an idle one may be closed.
    [[nodiscard]] bool above_minimum(const bounded_pool& pool) const;

    // How many logins to start now; they are counted as under way until opened() or login_failed().
    // `evict` receives idle connections of other pools that stand in the way of a shared bound:
    // they are retired, for the caller to close.
    [[nodiscard]] std::uint32_t start_logins(bounded_pool& pool, clock_time now,
                                             std::vector<std::shared_ptr<void>>& evict);
    // Hopeless: waiting will not help, and nobody is served either: all waiters are handed back.
    // Otherwise the next attempt is put off; `jitter` in [0, 1) spreads it.
    // The failure of a login that began under an older generation says nothing about the pool.
    [[nodiscard]] std::vector<waiter*> login_failed(bounded_pool& pool, bool hopeless,
                                                    clock_time now, double jitter,
                                                    std::uint32_t generation = ~std::uint32_t{0});
    // Paused: nobody is given a connection, none is opened, and what becomes free is to be closed.
    // The idle connections, retired, for the caller to close.
    [[nodiscard]] std::vector<std::shared_ptr<void>> pause(bounded_pool& pool);
    void resume(bounded_pool& pool);
    [[nodiscard]] std::uint32_t generation(const bounded_pool& pool) const;
    [[nodiscard]] bool is_outdated(const slot& which) const;
    // Connections there are, and logins under way; or outdated connections.
    enum class count_of { all, outdated };
    [[nodiscard]] std::size_t count(const bounded_pool& pool, count_of which) const;
    // In order of arrival; and who holds connections.
    [[nodiscard]] std::vector<pool_place> waiting(const bounded_pool& pool) const;
    [[nodiscard]] std::vector<pool_place> holders(const bounded_pool& pool) const;

    // Pools that have waiters: whoever frees room under a shared bound asks them again.
    [[nodiscard]] std::vector<bounded_pool*> hungry() const;

    // Idle connections of `worker` that have been so since before `before`, oldest first.
    [[nodiscard]] std::vector<slot*> idle_since(bounded_pool& pool, unsigned worker,
                                                clock_time before) const;
    // How many there are, on all workers.
    [[nodiscard]] std::uint32_t count_idle_since(const bounded_pool& pool, clock_time before) const;
    [[nodiscard]] pool_figures figures(const bounded_pool& pool) const;
    [[nodiscard]] std::optional<pool_holder> longest_holder(const bounded_pool& pool,
                                                            clock_time now) const;
    // Every connection there is, for shutdown.
    [[nodiscard]] std::vector<std::shared_ptr<void>> connections() const;
    // Calls that found the lock taken: the measure of whether one lock is enough.
    [[nodiscard]] std::uint64_t contended() const noexcept { return contended_.load(); }

  private:
    class guard;
    [[nodiscard]] pool_figures figures_locked(const bounded_pool& pool) const;
    [[nodiscard]] static slot& fitting(slot_list& idle, const waiter& client);
    [[nodiscard]] static waiter* next_waiter(bounded_pool& pool, const slot& free);
    struct handed {
        waiter* next = nullptr;
        std::shared_ptr<void> retired;  // let go of after the lock
    };
    [[nodiscard]] handed hand_over(bounded_pool& pool, slot& free, unsigned worker, clock_time now);
    [[nodiscard]] static bool surplus(const bounded_pool& pool);
    [[nodiscard]] slot* evictable(const bounded_pool& wanting, const shared_bound& bound);
    void unlink_idle(slot& which);
    [[nodiscard]] std::vector<std::shared_ptr<void>> retire_all(bounded_pool& pool);
    [[nodiscard]] std::shared_ptr<void> forget(slot& which);

    mutable std::mutex mutex_;
    mutable std::atomic<std::uint64_t> contended_{0};
    unsigned workers_;
    std::vector<std::unique_ptr<bounded_pool>> pools_;
    std::vector<std::unique_ptr<shared_bound>> bounds_;
};

}  // namespace sluice::pool
