// The books of the pools under thousands of random steps, against a model; and under real threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <list>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "pool/bounded_pool.hpp"

namespace sluice::pool {
namespace {

using namespace std::chrono_literals;

constexpr unsigned workers = 3;

// What the world looks like from outside the book. Every step checks the book's promises.
class simulation {
  public:
    explicit simulation(unsigned seed) : random_(seed) {
        auto* database = book_.add_bound(pick(2) == 0 ? 0 : 5);
        shared_bound* const users[] = {book_.add_bound(0), book_.add_bound(pick(2) == 0 ? 0 : 4)};
        for (unsigned i = 0; i < 3; ++i) {
            const pool_bounds bounds{.size = 1 + pick(5),
                                     .min = pick(2),
                                     .reserve = pick(2) == 0 ? 0 : 1 + pick(2),
                                     .reserve_after = 5ms,
                                     .logins_at_once = 1 + pick(4)};
            auto& pool = pools_.emplace_back();
            pool.book = &book_.add_pool(bounds, database, users[i % 2]);
            pool.bounds = bounds;
            pool.most = bounds.size + bounds.reserve;
            pool.shared = {database, users[i % 2]};
        }
    }

    ~simulation() {
        for (auto& pool : pools_) {
            for (auto& client : pool.waiting)
                EXPECT_TRUE(book_.leave(*pool.book, *client));
            for (auto& one : pool.slots)
                book_.remove(*one);
        }
    }

    void step() {
        now_ += std::chrono::microseconds(pick(10) == 0 ? pick(9000) : pick(300));
        auto& pool = pools_[pick(pools_.size())];
        switch (pick(30) == 0 ? 12 + pick(3) : pick(12)) {
            case 0:
            case 1:
            case 2:
            case 3:
                ask(pool);
                break;
            case 4:
            case 5:
            case 6:
                release(pool);
                break;
            case 7:
                leave(pool);
                break;
            case 8:
                end_one(pool);
                break;
            case 9:
                login_ends(pool);
                break;
            case 10:
                retire(pool);
                break;
            case 12:
                renew(pool);
                break;
            case 13:
                resize(pool);
                break;
            case 14:
                outdated_login_ends(pool);
                break;
            default:
                start_logins(pool);
        }
        check();
    }

    // Everybody lets go and every login succeeds: nobody may be left waiting.
    void drain() {
        for (int i = 0; i < 20000; ++i) {
            now_ += 1s;
            bool waits = false;
            for (auto& pool : pools_) {
                start_logins(pool);
                while (pool.opening > 0)
                    opened(pool);
                release(pool);
                waits = waits || !pool.waiting.empty();
            }
            check();
            if (!waits) return;
        }
        ADD_FAILURE() << "somebody waits for ever";
    }

  private:
    struct pool_model {
        bounded_pool* book = nullptr;
        pool_bounds bounds;
        std::vector<shared_bound*> shared;
        std::list<std::unique_ptr<waiter>> waiting;  // in order of arrival
        std::vector<std::shared_ptr<slot>> slots;
        std::uint32_t opening = 0;
        std::uint32_t edition = 0;
        std::uint32_t outdated = 0;  // logins that began under an earlier edition
        std::size_t most = 0;        // what the bounds allow, or what there was when they did
    };

    std::uint32_t pick(std::size_t n) { return static_cast<std::uint32_t>(random_() % n); }

    slot* any(pool_model& pool, slot_state state) {
        std::vector<slot*> all;
        for (auto& one : pool.slots) {
            if (one->state == state) all.push_back(one.get());
        }
        return all.empty() ? nullptr : all[pick(all.size())];
    }

    const void* any_settings() { return &settings_[pick(settings_.size())]; }
    static int fits(const waiter& client, const slot& free) {
        return (client.worker == free.worker ? 2 : 0) + (client.settings == free.settings ? 1 : 0);
    }

    void ask(pool_model& pool) {
        auto client = std::make_unique<waiter>();
        client->serial = ++serial_;
        client->worker = pick(workers);
        client->settings = any_settings();
        std::shared_ptr<void> remote;
        const bool had_idle = any(pool, slot_state::idle) != nullptr;
        auto* got = book_.acquire(*pool.book, *client, now_, remote);
        EXPECT_EQ(got != nullptr, had_idle && pool.waiting.empty());
        if (got == nullptr) {
            pool.waiting.push_back(std::move(client));
            return;
        }
        EXPECT_EQ(got->state, slot_state::leased);
        EXPECT_EQ(got->holder, client->serial);
        EXPECT_EQ(remote != nullptr, got->worker != client->worker);
        holders_.insert(client->serial);
    }

    void served(pool_model& pool, waiter* next, const slot& free) {
        if (next == nullptr) {
            EXPECT_TRUE(pool.waiting.empty()) << "a connection idles while somebody waits";
            return;
        }
        const auto at = std::find_if(pool.waiting.begin(), pool.waiting.end(),
                                     [&](const auto& one) { return one.get() == next; });
        ASSERT_NE(at, pool.waiting.end());
        EXPECT_FALSE(next->queued);
        if (at != pool.waiting.begin()) {  // somebody was overtaken
            EXPECT_LE(next->since - pool.waiting.front()->since, 1ms);
            for (auto before = pool.waiting.begin(); before != at; ++before) {
                EXPECT_LT(fits(**before, free), fits(*next, free)) << "overtaken for nothing";
            }
        }
        holders_.insert(next->serial);
        pool.waiting.erase(at);
    }

    void release(pool_model& pool) {
        auto* one = any(pool, slot_state::leased);
        if (one == nullptr) return;
        EXPECT_EQ(holders_.erase(one->holder), 1U) << "leased to nobody, or to two";
        const auto worker = pick(workers);
        const bool is_over = pool.slots.size() > pool.bounds.size + pool.bounds.reserve;
        bool retired = false;
        one->settings = any_settings();
        auto* next = book_.release(*one, worker, now_, &retired);
        EXPECT_EQ(retired, is_over || one->generation != pool.edition);
        if (!retired) return served(pool, next, *one);
        EXPECT_EQ(next, nullptr);
        forget(pool, one);
    }

    void renew(pool_model& pool) {
        const auto idle = book_.figures(*pool.book).idle;
        std::vector<std::shared_ptr<void>> retired;
        book_.renew(*pool.book, ++pool.edition, retired);
        EXPECT_EQ(retired.size(), idle);
        for (auto& one : retired)
            forget(pool, static_cast<slot*>(one.get()));
        pool.outdated += std::exchange(pool.opening, 0);
    }

    void resize(pool_model& pool) {
        pool.bounds.size = 1 + pick(5);
        book_.set_bounds(*pool.book, pool.bounds);
        std::vector<std::shared_ptr<void>> retired;
        book_.trim(*pool.book, retired);
        for (auto& one : retired)
            forget(pool, static_cast<slot*>(one.get()));
        pool.most = std::max<std::size_t>(pool.most, pool.bounds.size + pool.bounds.reserve);
    }

    void outdated_login_ends(pool_model& pool) {
        if (pool.outdated == 0) return;
        --pool.outdated;
        if (pick(2) == 0) {
            EXPECT_TRUE(
                book_.login_failed(*pool.book, pick(2) == 0, now_, 0.5, pool.edition - 1).empty());
            return;
        }
        auto late = std::make_shared<slot>();
        late->generation = pool.edition - 1;
        bool retired = false;
        EXPECT_EQ(book_.opened(*pool.book, *late, late, pick(workers), now_, &retired), nullptr);
        EXPECT_TRUE(retired);
        book_.remove(*late);
    }

    void leave(pool_model& pool) {
        if (pool.waiting.empty()) return;
        auto at = pool.waiting.begin();
        std::advance(at, pick(pool.waiting.size()));
        EXPECT_TRUE(book_.leave(*pool.book, **at));
        EXPECT_FALSE(book_.leave(*pool.book, **at));
        pool.waiting.erase(at);
    }

    void end_one(pool_model& pool) {
        if (pool.slots.empty()) return;
        const auto at = pool.slots.begin() + pick(pool.slots.size());
        if ((*at)->state == slot_state::leased) holders_.erase((*at)->holder);
        book_.remove(**at);
        pool.slots.erase(at);
    }

    void retire(pool_model& pool) {
        const auto worker = pick(workers);
        const auto old = book_.idle_since(*pool.book, worker, now_ - 2ms);
        for (std::size_t i = 1; i < old.size(); ++i)
            EXPECT_LE(old[i - 1]->since, old[i]->since);
        if (old.empty() || !book_.above_minimum(*pool.book)) return;
        EXPECT_TRUE(book_.retire(*old[0]));
        forget(pool, old[0]);
    }

    void forget(pool_model& pool, const slot* which) {
        std::erase_if(pool.slots, [&](const auto& one) { return one.get() == which; });
    }

    void start_logins(pool_model& pool) {
        std::vector<std::shared_ptr<void>> evicted;
        const auto started = book_.start_logins(*pool.book, now_, evicted);
        pool.opening += started;
        EXPECT_LE(evicted.size(), 2 * std::size_t{started} + 2);
        EXPECT_LE(pool.opening, std::max<std::uint32_t>(pool.bounds.logins_at_once, 1));
        for (auto& victim : evicted) {
            for (auto& other : pools_)
                forget(other, static_cast<slot*>(victim.get()));
        }
    }

    void opened(pool_model& pool) {
        const auto worker = pick(workers);
        auto added = std::make_shared<slot>();
        added->generation = pool.edition;
        pool.slots.push_back(added);
        --pool.opening;
        const bool is_over = pool.slots.size() > pool.bounds.size + pool.bounds.reserve;
        bool retired = false;
        auto* next = book_.opened(*pool.book, *added, added, worker, now_, &retired);
        EXPECT_EQ(retired, is_over);
        if (!retired) return served(pool, next, *added);
        forget(pool, added.get());
    }

    void login_ends(pool_model& pool) {
        if (pool.opening == 0) return;
        if (pick(3) != 0) return opened(pool);
        --pool.opening;
        const bool hopeless = pick(4) == 0;
        const auto refused = book_.login_failed(*pool.book, hopeless, now_, 0.5);
        if (refused.empty()) return;
        EXPECT_TRUE(hopeless && pool.slots.empty());
        ASSERT_EQ(refused.size(), pool.waiting.size());
        auto at = pool.waiting.begin();
        for (auto* one : refused)
            EXPECT_EQ(one, (at++)->get());
        pool.waiting.clear();
    }

    void check() {
        std::map<shared_bound*, std::uint32_t> used;
        for (auto& pool : pools_) {
            const auto figures = book_.figures(*pool.book);
            const auto live = pool.slots.size() + pool.opening;
            EXPECT_LE(live, pool.most);
            pool.most = std::max<std::size_t>(pool.bounds.size + pool.bounds.reserve,
                                              std::min<std::size_t>(pool.most, live));
            EXPECT_EQ(figures.waiting, pool.waiting.size());
            EXPECT_EQ(figures.opening, pool.opening);
            EXPECT_EQ(figures.idle + figures.leased, pool.slots.size());
            EXPECT_FALSE(figures.idle > 0 && figures.waiting > 0);
            for (auto* bound : pool.shared) {
                used[bound] += static_cast<std::uint32_t>(live);
            }
        }
        for (const auto& [bound, count] : used) {
            EXPECT_EQ(bound->used, count);
            if (bound->limit != 0) {
                EXPECT_LE(count, bound->limit);
            }
        }
    }

    std::mt19937 random_;
    std::array<char, 4> settings_{};  // stand for settings by their addresses
    pool_book book_{workers};
    std::vector<pool_model> pools_;
    std::set<std::uint64_t> holders_;
    clock_time now_ = clock_time{} + 1h;
    std::uint64_t serial_ = 0;
};

TEST(bounded_pool_random, promises_hold_at_every_step) {
    const auto* given = std::getenv("SLUICE_TEST_SEED");
    const auto first = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                        : std::random_device{}();
    for (unsigned i = 0; i < 30 && !HasFailure(); ++i) {
        SCOPED_TRACE("seed " + std::to_string(first + i));
        simulation world(first + i);
        for (int step = 0; step < 3000 && !HasFailure(); ++step)
            world.step();
        if (!HasFailure()) world.drain();
    }
}

// Real threads: each lease is held by one thread at a time, and never are there more than allowed.
// A thread that has to wait gives up its place, or is handed a connection by whoever releases one.
TEST(bounded_pool_threads, no_connection_has_two_holders) {
    constexpr unsigned threads = 4;
    constexpr std::uint32_t size = 3;
    pool_book book(threads);
    auto& pool = book.add_pool({.size = size, .logins_at_once = size}, nullptr, nullptr);
    struct client : waiter {
        std::atomic<slot*> granted{nullptr};
    };
    struct held : slot {
        std::atomic<int> holders{0};
    };
    std::atomic<int> open{0};
    std::atomic<int> most{0};
    std::atomic<std::uint64_t> served{0};
    const auto hand_over = [](waiter* next, slot* what) {
        if (next != nullptr) static_cast<client*>(next)->granted.store(what);
    };
    const auto work = [&](unsigned number) {
        std::minstd_rand random(number + 1);
        for (int round = 0; round < 4000; ++round) {
            client me;
            me.worker = number;
            me.serial = number * 100000ULL + static_cast<unsigned>(round);
            std::shared_ptr<void> remote;
            const auto now = std::chrono::steady_clock::now();
            auto* mine = book.acquire(pool, me, now, remote);
            if (mine == nullptr) {
                std::vector<std::shared_ptr<void>> evicted;
                for (auto n = book.start_logins(pool, now, evicted); n > 0; --n) {
                    auto added = std::make_shared<held>();
                    const auto total = ++open;
                    for (int seen = most;
                         total > seen && !most.compare_exchange_weak(seen, total);) {
                    }
                    hand_over(book.opened(pool, *added, added, number, now), added.get());
                }
                while ((mine = me.granted.load()) == nullptr) {
                    if (random() % 8 == 0 && book.leave(pool, me)) break;
                    std::this_thread::yield();
                }
                if (mine == nullptr) continue;
            }
            auto& connection = static_cast<held&>(*mine);
            EXPECT_EQ(connection.holders.fetch_add(1), 0);
            ++served;
            EXPECT_EQ(connection.holders.fetch_sub(1), 1);
            if (random() % 50 == 0) {
                const auto keep = mine->keep;
                --open;
                book.remove(*mine);
            } else {
                hand_over(book.release(*mine, number, std::chrono::steady_clock::now()), mine);
            }
        }
    };
    std::vector<std::thread> all;
    for (unsigned i = 0; i < threads; ++i)
        all.emplace_back(work, i);
    for (auto& one : all)
        one.join();
    EXPECT_LE(most, static_cast<int>(size));
    EXPECT_GT(served, 0U);
    const auto figures = book.figures(pool);
    EXPECT_EQ(figures.waiting, 0U);
    EXPECT_EQ(figures.leased, 0U);
    EXPECT_EQ(figures.idle, static_cast<std::uint32_t>(open.load()));
    for (auto& one : book.connections())
        book.remove(*std::static_pointer_cast<held>(one));
}

}  // namespace
}  // namespace sluice::pool
