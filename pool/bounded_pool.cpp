#include "pool/bounded_pool.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::pool {

namespace {

using namespace std::chrono_literals;

// A waiter that fits the connection may be served before one that came this much earlier: moving a
// connection between threads, or giving it other settings, costs more than it is worth below that.
constexpr auto fairness = 1ms;
// How many waiters, or idle connections, are looked at for one that fits.
constexpr int most_looked_at = 16;

constexpr auto first_retry = 100ms;
constexpr auto longest_retry = 3s;

}  // namespace

class pool_book::guard {
  public:
    explicit guard(const pool_book& book) : lock_(book.mutex_, std::try_to_lock) {
        if (!lock_.owns_lock()) {
            book.contended_.fetch_add(1, std::memory_order_relaxed);
            lock_.lock();
        }
    }

  private:
    std::unique_lock<std::mutex> lock_;
};

std::uint32_t logins_wanted(const pool_figures& figures, clock_time now) {
    const auto live = figures.idle + figures.leased + figures.opening;
    auto bound = figures.bounds.size;
    if (figures.waiting > 0 && figures.bounds.reserve > 0 &&
        now - figures.oldest_waiter >= figures.bounds.reserve_after) {
        bound += figures.bounds.reserve;
    }
    const auto for_waiters =
        figures.waiting > figures.opening ? figures.waiting - figures.opening : 0;
    const auto for_minimum = figures.bounds.min > live ? figures.bounds.min - live : 0;
    const auto room = bound > live ? bound - live : 0;
    const auto at_once = figures.bounds.logins_at_once > figures.opening
                             ? figures.bounds.logins_at_once - figures.opening
                             : 0;
    return std::min({std::max(for_waiters, for_minimum), room, at_once});
}

bounded_pool& pool_book::add_pool(pool_bounds bounds, shared_bound* database, shared_bound* user) {
    const guard lock(*this);
    pools_.push_back(std::make_unique<bounded_pool>(bounds, database, user, workers_));
    return *pools_.back();
}

shared_bound* pool_book::add_bound(std::uint32_t limit) {
    const guard lock(*this);
    bounds_.push_back(std::make_unique<shared_bound>());
    bounds_.back()->limit = limit;
    return bounds_.back().get();
}

void pool_book::set_bounds(bounded_pool& pool, pool_bounds bounds) {
    const guard lock(*this);
    pool.bounds_ = bounds;
}

void pool_book::set_limit(shared_bound& bound, std::uint32_t limit) {
    const guard lock(*this);
    bound.limit = limit;
}

void pool_book::renew(bounded_pool& pool, std::uint32_t generation,
                      std::vector<std::shared_ptr<void>>& retired) {
    const guard lock(*this);
    pool.generation_ = generation;
    pool.failures_ = 0;
    pool.retry_at_ = {};
    // Logins that are under way may take long to fail: they stand in nobody's way.
    if (pool.database_ != nullptr) pool.database_->used -= pool.opening_;
    if (pool.user_ != nullptr) pool.user_->used -= pool.opening_;
    pool.opening_ = 0;
    for (auto& one : retire_all(pool))
        retired.push_back(std::move(one));
}

bool pool_book::surplus(const bounded_pool& pool) {
    const auto beyond = [](const shared_bound* bound) {
        return bound != nullptr && bound->limit != 0 && bound->used > bound->limit;
    };
    return pool.all_.size() > pool.bounds_.size + pool.bounds_.reserve || beyond(pool.database_) ||
           beyond(pool.user_);
}

void pool_book::trim(bounded_pool& pool, std::vector<std::shared_ptr<void>>& retired) {
    const guard lock(*this);
    for (auto& list : pool.idle_) {
        while (!list.empty() && surplus(pool)) {
            auto& longest_idle = list.back();
            unlink_idle(longest_idle);
            retired.push_back(forget(longest_idle));
        }
    }
}

void pool_book::unlink_idle(slot& which) {
    auto& list = which.pool->idle_[which.worker];
    list.erase(list.iterator_to(which));
    --which.pool->idle_count_;
}

// The last used one with the same settings, or the last used one.
slot& pool_book::fitting(slot_list& idle, const waiter& client) {
    int looked_at = 0;
    for (auto& one : idle) {
        if (one.settings == client.settings) return one;
        if (++looked_at == most_looked_at) break;
    }
    return idle.front();
}

slot* pool_book::acquire(bounded_pool& pool, waiter& client, clock_time now,
                         std::shared_ptr<void>& remote) {
    const guard lock(*this);
    client.since = now;
    if (pool.waiters_.empty() && pool.idle_count_ > 0 && !pool.paused_) {
        auto* from = &pool.idle_[client.worker];
        if (from->empty()) {
            from = &*std::find_if(pool.idle_.begin(), pool.idle_.end(),
                                  [](const auto& list) { return !list.empty(); });
        }
        auto& found = fitting(*from, client);
        unlink_idle(found);
        found.state = slot_state::leased;
        found.since = now;
        found.holder = client.serial;
        if (found.worker != client.worker) remote = found.keep;
        return &found;
    }
    client.queued = true;
    pool.waiters_.push_back(client);
    return nullptr;
}

bool pool_book::leave(bounded_pool& pool, waiter& client) {
    const guard lock(*this);
    if (!client.queued) return false;
    pool.waiters_.erase(pool.waiters_.iterator_to(client));
    client.queued = false;
    return true;
}

waiter* pool_book::next_waiter(bounded_pool& pool, const slot& free) {
    if (pool.waiters_.empty()) return nullptr;
    auto* chosen = &pool.waiters_.front();
    const auto latest = chosen->since + fairness;
    int best = -1;
    int looked_at = 0;
    for (auto& candidate : pool.waiters_) {
        if (candidate.since > latest || ++looked_at > most_looked_at) break;
        const int fits = (candidate.worker == free.worker ? 2 : 0) +
                         (candidate.settings == free.settings ? 1 : 0);
        if (fits <= best) continue;
        best = fits;
        chosen = &candidate;
        if (best == 3) break;
    }
    pool.waiters_.erase(pool.waiters_.iterator_to(*chosen));
    chosen->queued = false;
    return chosen;
}

pool_book::handed pool_book::hand_over(bounded_pool& pool, slot& free, unsigned worker,
                                       clock_time now) {
    free.worker = worker;
    free.since = now;
    if (pool.paused_ || free.generation < pool.generation_ || surplus(pool))
        return {nullptr, forget(free)};
    if (auto* next = next_waiter(pool, free)) {
        free.state = slot_state::leased;
        free.holder = next->serial;
        return {next, nullptr};
    }
    free.state = slot_state::idle;
    free.holder = 0;
    pool.idle_[worker].push_front(free);
    ++pool.idle_count_;
    return {};
}

waiter* pool_book::release(slot& free, unsigned worker, clock_time now, bool* retired) {
    handed out;
    const guard lock(*this);
    out = hand_over(*free.pool, free, worker, now);
    if (retired != nullptr) *retired = out.retired != nullptr;
    return out.next;
}

waiter* pool_book::opened(bounded_pool& pool, slot& added, std::shared_ptr<void> keep,
                          unsigned worker, clock_time now, bool* retired) {
    handed out;
    const guard lock(*this);
    if (added.generation < pool.generation_) {
        added.state = slot_state::gone;
        if (retired != nullptr) *retired = true;
        return nullptr;
    }
    added.keep = std::move(keep);
    --pool.opening_;
    pool.failures_ = 0;
    pool.retry_at_ = {};
    added.pool = &pool;
    pool.all_.push_back(added);
    out = hand_over(pool, added, worker, now);
    if (retired != nullptr) *retired = out.retired != nullptr;
    return out.next;
}

std::shared_ptr<void> pool_book::forget(slot& which) {
    auto& pool = *which.pool;
    pool.all_.erase(pool.all_.iterator_to(which));
    which.state = slot_state::gone;
    if (pool.database_ != nullptr) --pool.database_->used;
    if (pool.user_ != nullptr) --pool.user_->used;
    return std::move(which.keep);
}

void pool_book::remove(slot& ended) {
    std::shared_ptr<void> last;  // let go of after the lock
    const guard lock(*this);
    if (ended.state == slot_state::gone) return;
    if (ended.state == slot_state::idle) unlink_idle(ended);
    last = forget(ended);
}

bool pool_book::retire(slot& idle) {
    std::shared_ptr<void> last;
    const guard lock(*this);
    if (idle.state != slot_state::idle) return false;
    unlink_idle(idle);
    last = forget(idle);
    return true;
}

bool pool_book::above_minimum(const bounded_pool& pool) const {
    const guard lock(*this);
    return pool.all_.size() > pool.bounds_.min;
}

slot* pool_book::evictable(const bounded_pool& wanting, const shared_bound& bound) {
    slot* oldest = nullptr;
    for (auto& pool : pools_) {
        if (pool.get() == &wanting) continue;
        if (pool->database_ != &bound && pool->user_ != &bound) continue;
        for (auto& list : pool->idle_) {
            if (!list.empty() && (oldest == nullptr || list.back().since < oldest->since)) {
                oldest = &list.back();
            }
        }
    }
    return oldest;
}

std::uint32_t pool_book::start_logins(bounded_pool& pool, clock_time now,
                                      std::vector<std::shared_ptr<void>>& evict) {
    const guard lock(*this);
    if (now < pool.retry_at_ || pool.paused_) return 0;
    auto figures = figures_locked(pool);
    if (pool.failures_ > 0) figures.bounds.logins_at_once = 1;  // one knocks for all
    const auto wanted = logins_wanted(figures, now);
    std::uint32_t started = 0;
    const auto blocked = [&](const shared_bound* bound) {
        return bound != nullptr && bound->full() && evictable(pool, *bound) == nullptr;
    };
    for (; started < wanted; ++started) {
        // Nothing is closed for one bound while the other one forbids the login all the same.
        if (blocked(pool.database_) || blocked(pool.user_)) break;
        for (auto* bound : {pool.database_, pool.user_}) {
            if (bound == nullptr || !bound->full()) continue;
            if (auto* victim = evictable(pool, *bound)) {
                unlink_idle(*victim);
                evict.push_back(forget(*victim));
            }
        }
        if ((pool.database_ != nullptr && pool.database_->full()) ||
            (pool.user_ != nullptr && pool.user_->full())) {
            break;
        }
        if (pool.database_ != nullptr) ++pool.database_->used;
        if (pool.user_ != nullptr) ++pool.user_->used;
        ++pool.opening_;
    }
    return started;
}

std::vector<waiter*> pool_book::login_failed(bounded_pool& pool, bool hopeless, clock_time now,
                                             double jitter, std::uint32_t generation) {
    const guard lock(*this);
    std::vector<waiter*> refused;
    if (generation < pool.generation_) return refused;
    --pool.opening_;
    if (pool.database_ != nullptr) --pool.database_->used;
    if (pool.user_ != nullptr) --pool.user_->used;
    if (hopeless && pool.all_.empty()) {
        while (!pool.waiters_.empty()) {
            auto& client = pool.waiters_.front();
            pool.waiters_.pop_front();
            client.queued = false;
            refused.push_back(&client);
        }
        pool.failures_ = 0;  // the next client is a new attempt, at once
        pool.retry_at_ = {};
        return refused;
    }
    const auto delay = std::min<double>(
        std::chrono::duration<double>(longest_retry).count(),
        std::chrono::duration<double>(first_retry).count() * std::pow(1.6, pool.failures_));
    pool.failures_ = std::min(pool.failures_ + 1, 30U);
    pool.retry_at_ = now + std::chrono::duration_cast<duration>(
                               std::chrono::duration<double>(delay * (0.75 + 0.5 * jitter)));
    return refused;
}

std::vector<std::shared_ptr<void>> pool_book::retire_all(bounded_pool& pool) {
    std::vector<std::shared_ptr<void>> out;
    for (auto& list : pool.idle_) {
        while (!list.empty()) {
            auto& idle = list.front();
            unlink_idle(idle);
            out.push_back(forget(idle));
        }
    }
    return out;
}

std::vector<std::shared_ptr<void>> pool_book::pause(bounded_pool& pool) {
    const guard lock(*this);
    pool.paused_ = true;
    return retire_all(pool);
}

void pool_book::resume(bounded_pool& pool) {
    const guard lock(*this);
    pool.paused_ = false;
    pool.retry_at_ = {};  // whoever resumes has repaired what logins failed of
}

std::uint32_t pool_book::generation(const bounded_pool& pool) const {
    const guard lock(*this);
    return pool.generation_;
}

bool pool_book::is_outdated(const slot& which) const {
    const guard lock(*this);
    return which.pool != nullptr && which.generation < which.pool->generation_;
}

std::size_t pool_book::count(const bounded_pool& pool, count_of which) const {
    const guard lock(*this);
    if (which == count_of::all) return pool.all_.size() + pool.opening_;
    return static_cast<std::size_t>(
        std::count_if(pool.all_.begin(), pool.all_.end(),
                      [&](const auto& one) { return one.generation < pool.generation_; }));
}

std::vector<pool_place> pool_book::waiting(const bounded_pool& pool) const {
    const guard lock(*this);
    std::vector<pool_place> out;
    for (const auto& one : pool.waiters_)
        out.push_back({one.serial, one.since});
    return out;
}

std::vector<pool_place> pool_book::holders(const bounded_pool& pool) const {
    const guard lock(*this);
    std::vector<pool_place> out;
    for (const auto& one : pool.all_) {
        if (one.state == slot_state::leased && one.holder != 0) {
            out.push_back({one.holder, one.since});
        }
    }
    return out;
}

std::vector<bounded_pool*> pool_book::hungry() const {
    const guard lock(*this);
    std::vector<bounded_pool*> out;
    for (const auto& pool : pools_) {
        if (!pool->waiters_.empty()) out.push_back(pool.get());
    }
    return out;
}

std::vector<std::shared_ptr<void>> pool_book::connections() const {
    const guard lock(*this);
    std::vector<std::shared_ptr<void>> out;
    for (const auto& pool : pools_) {
        for (const auto& one : pool->all_)
            out.push_back(one.keep);
    }
    return out;
}

std::vector<slot*> pool_book::idle_since(bounded_pool& pool, unsigned worker,
                                         clock_time before) const {
    const guard lock(*this);
    std::vector<slot*> out;
    auto& list = pool.idle_[worker];
    for (auto it = list.rbegin(); it != list.rend() && it->since < before; ++it) {
        out.push_back(&*it);
    }
    return out;
}

std::uint32_t pool_book::count_idle_since(const bounded_pool& pool, clock_time before) const {
    const guard lock(*this);
    std::uint32_t out = 0;
    for (const auto& list : pool.idle_) {
        for (auto it = list.rbegin(); it != list.rend() && it->since < before; ++it)
            ++out;
    }
    return out;
}

pool_figures pool_book::figures_locked(const bounded_pool& pool) const {
    pool_figures out;
    out.idle = pool.idle_count_;
    out.leased = static_cast<std::uint32_t>(pool.all_.size()) - pool.idle_count_;
    out.opening = pool.opening_;
    out.waiting = static_cast<std::uint32_t>(pool.waiters_.size());
    out.bounds = pool.bounds_;
    if (!pool.waiters_.empty()) out.oldest_waiter = pool.waiters_.front().since;
    return out;
}

pool_figures pool_book::figures(const bounded_pool& pool) const {
    const guard lock(*this);
    return figures_locked(pool);
}

std::optional<pool_holder> pool_book::longest_holder(const bounded_pool& pool,
                                                     clock_time now) const {
    const guard lock(*this);
    const slot* longest = nullptr;
    for (const auto& candidate : pool.all_) {
        if (candidate.state != slot_state::leased || candidate.holder == 0) continue;
        if (longest == nullptr || candidate.since < longest->since) longest = &candidate;
    }
    if (longest == nullptr) return std::nullopt;
    return pool_holder{longest->holder, now - longest->since};
}

}  // namespace sluice::pool
