// The books of the pools: single steps. The simulation is in bounded_pool_random_test.cpp.
#include "pool/bounded_pool.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace sluice::pool {
namespace {

using namespace std::chrono_literals;

const clock_time start = clock_time{} + 1h;

struct login_case {
    const char* what;
    pool_figures figures;
    duration waited;
    std::uint32_t wanted;
};

TEST(logins_wanted, table) {
    const pool_bounds ten{
        .size = 10, .min = 0, .reserve = 0, .reserve_after = 1s, .logins_at_once = 4};
    auto with_min = ten;
    with_min.min = 3;
    auto with_reserve = ten;
    with_reserve.reserve = 2;
    auto none = ten;
    none.size = 0;
    const login_case cases[] = {
        {"nobody waits", {.bounds = ten}, 0s, 0},
        {"one waits", {.waiting = 1, .bounds = ten}, 0s, 1},
        {"a login is on its way for the one that waits",
         {.opening = 1, .waiting = 1, .bounds = ten},
         0s,
         0},
        {"many wait: a few at once", {.waiting = 50, .bounds = ten}, 0s, 4},
        {"some are under way already", {.opening = 3, .waiting = 50, .bounds = ten}, 0s, 1},
        {"as many as may be at once are under way",
         {.opening = 4, .waiting = 50, .bounds = ten},
         0s,
         0},
        {"room for one", {.leased = 9, .waiting = 5, .bounds = ten}, 0s, 1},
        {"full", {.leased = 10, .waiting = 5, .bounds = ten}, 0s, 0},
        {"more than full after the size was lowered",
         {.leased = 12, .waiting = 5, .bounds = ten},
         0s,
         0},
        {"logins count against the size",
         {.leased = 8, .opening = 2, .waiting = 5, .bounds = ten},
         0s,
         0},
        {"below the minimum", {.idle = 1, .bounds = with_min}, 0s, 2},
        {"at the minimum", {.leased = 3, .bounds = with_min}, 0s, 0},
        {"the minimum counts logins", {.opening = 3, .bounds = with_min}, 0s, 0},
        {"the reserve is for those that wait long",
         {.leased = 10, .waiting = 5, .bounds = with_reserve},
         999ms,
         0},
        {"the reserve, now", {.leased = 10, .waiting = 5, .bounds = with_reserve}, 1s, 2},
        {"the reserve is used up", {.leased = 12, .waiting = 5, .bounds = with_reserve}, 9s, 0},
        {"a pool of nothing", {.waiting = 5, .bounds = none}, 9s, 0},
    };
    for (auto one : cases) {
        one.figures.oldest_waiter = start - one.waited;
        EXPECT_EQ(logins_wanted(one.figures, start), one.wanted) << one.what;
    }
}

// A book with one pool, and slots that are opened as they are needed.
struct bounded_pool_steps : testing::Test {
    pool_book book{2};
    shared_bound* database = book.add_bound(0);
    shared_bound* user = book.add_bound(0);
    bounded_pool& pool =
        book.add_pool({.size = 2, .min = 0, .reserve = 0, .reserve_after = 1s, .logins_at_once = 4},
                      database, user);
    std::vector<std::shared_ptr<slot>> slots;
    std::vector<std::shared_ptr<void>> evicted;

    static waiter client(std::uint64_t serial, unsigned worker = 0) {
        waiter out;
        out.serial = serial;
        out.worker = worker;
        return out;
    }
    slot* ask(waiter& one, clock_time now = start) {
        std::shared_ptr<void> remote;
        auto* got = book.acquire(pool, one, now, remote);
        EXPECT_EQ(remote != nullptr, got != nullptr && got->worker != one.worker);
        return got;
    }
    waiter* open(unsigned worker = 0, clock_time now = start) { return open_in(pool, worker, now); }
    waiter* open_in(bounded_pool& which, unsigned worker = 0, clock_time now = start) {
        slots.push_back(std::make_shared<slot>());
        return book.opened(which, *slots.back(), slots.back(), worker, now);
    }
    std::uint32_t logins(clock_time now = start) { return book.start_logins(pool, now, evicted); }

    void TearDown() override {
        for (auto& one : slots) {
            if (one->pool != nullptr) book.remove(*one);
        }
    }
};

using bounded_pool_test = bounded_pool_steps;

TEST_F(bounded_pool_test, first_client_waits_for_a_login_and_gets_it) {
    auto a = client(1);
    EXPECT_EQ(ask(a), nullptr);
    EXPECT_TRUE(a.queued);
    EXPECT_EQ(logins(), 1U);
    EXPECT_EQ(logins(), 0U);
    EXPECT_EQ(book.figures(pool).opening, 1U);
    EXPECT_EQ(open(), &a);
    EXPECT_FALSE(a.queued);
    const auto figures = book.figures(pool);
    EXPECT_EQ(figures.leased, 1U);
    EXPECT_EQ(figures.opening, 0U);
    EXPECT_EQ(figures.waiting, 0U);
    EXPECT_EQ(slots[0]->holder, 1U);
}

TEST_F(bounded_pool_test, an_idle_connection_is_leased_at_once_the_last_used_first) {
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 2U);
    open();
    open();
    EXPECT_EQ(book.release(*slots[0], 0, start), nullptr);
    EXPECT_EQ(book.release(*slots[1], 0, start), nullptr);
    EXPECT_EQ(ask(a), slots[1].get());
    EXPECT_EQ(ask(b), slots[0].get());
    EXPECT_EQ(book.figures(pool).idle, 0U);
}

TEST_F(bounded_pool_test, own_workers_connection_is_preferred) {
    auto a = client(1);
    auto b = client(2, 1);
    static_cast<void>(ask(a));
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 2U);
    EXPECT_EQ(open(0), &a);
    EXPECT_EQ(open(1), &b);
    static_cast<void>(book.release(*slots[1], 1, start));
    static_cast<void>(book.release(*slots[0], 0, start));
    auto c = client(3, 1);
    EXPECT_EQ(ask(c), slots[1].get());
    auto d = client(4, 1);
    EXPECT_EQ(ask(d), slots[0].get()) << "another worker's rather than none";
}

TEST_F(bounded_pool_test, a_connection_with_the_clients_settings_is_preferred) {
    const char settings[3] = {};
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 2U);
    open();
    open();
    for (std::size_t i = 0; i < 2; ++i) {
        slots[i]->settings = &settings[i];
        EXPECT_EQ(book.release(*slots[i], 0, start), nullptr);
    }
    auto like_first = client(3);
    like_first.settings = &settings[0];
    EXPECT_EQ(ask(like_first), slots[0].get());
    static_cast<void>(book.release(*slots[0], 0, start));
    auto like_none = client(4);
    like_none.settings = &settings[2];
    EXPECT_EQ(ask(like_none), slots[0].get()) << "the last used one";
}

TEST_F(bounded_pool_test, a_waiter_with_the_settings_goes_first_only_within_a_millisecond) {
    const char settings[2] = {};
    for (const auto& [lag, worker, like_first] :
         {std::tuple<duration, unsigned, bool>{1ms, 0, true},
          {1001us, 0, false},
          {1us, 1, false}}) {  // the worker counts for more
        SCOPED_TRACE(lag.count());
        pool_book one_book(2);
        auto& one_pool = one_book.add_pool({.size = 1}, nullptr, nullptr);
        auto unlike = client(1);
        auto like = client(2, worker);
        unlike.settings = &settings[0];
        like.settings = &settings[1];
        std::shared_ptr<void> remote;
        static_cast<void>(one_book.acquire(one_pool, unlike, start, remote));
        static_cast<void>(one_book.acquire(one_pool, like, start + lag, remote));
        EXPECT_EQ(one_book.start_logins(one_pool, start, evicted), 1U);
        auto connection = std::make_shared<slot>();
        connection->settings = &settings[1];
        auto* first = one_book.opened(one_pool, *connection, connection, 0, start + 1s);
        EXPECT_EQ(first, like_first ? &like : &unlike);
        EXPECT_EQ(one_book.release(*connection, 0, start), like_first ? &unlike : &like);
        one_book.remove(*connection);
    }
}

TEST_F(bounded_pool_test, waiters_are_served_in_order_of_arrival) {
    auto holder = client(9);
    static_cast<void>(ask(holder));
    EXPECT_EQ(logins(), 1U);
    open();
    waiter waiting[] = {client(1), client(2), client(3)};
    for (auto& one : waiting)
        EXPECT_EQ(ask(one), nullptr);
    for (auto& one : waiting)
        EXPECT_EQ(book.release(*slots[0], 0, start), &one);
    EXPECT_EQ(book.release(*slots[0], 0, start), nullptr);
}

TEST_F(bounded_pool_test, own_waiter_goes_first_only_within_a_millisecond) {
    for (const auto& [lag, own_first] :
         {std::pair<duration, bool>{999us, true}, {1ms, true}, {1001us, false}}) {
        SCOPED_TRACE(lag.count());
        pool_book one_book(2);
        auto& one_pool = one_book.add_pool({.size = 1}, nullptr, nullptr);
        auto other = client(1, 1);
        auto own = client(2, 0);
        std::shared_ptr<void> remote;
        static_cast<void>(one_book.acquire(one_pool, other, start, remote));
        static_cast<void>(one_book.acquire(one_pool, own, start + lag, remote));
        EXPECT_EQ(one_book.start_logins(one_pool, start, evicted), 1U);
        auto connection = std::make_shared<slot>();
        auto* first = one_book.opened(one_pool, *connection, connection, 0, start + 1s);
        EXPECT_EQ(first, own_first ? &own : &other);
        EXPECT_EQ(one_book.release(*connection, 0, start), own_first ? &other : &own);
        one_book.remove(*connection);
    }
}

TEST_F(bounded_pool_test, whoever_asks_does_not_overtake_those_that_wait) {
    auto a = client(1);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    open();
    auto b = client(2);
    auto c = client(3);
    EXPECT_EQ(ask(b), nullptr);
    EXPECT_EQ(ask(c), nullptr);
    EXPECT_EQ(book.release(*slots[0], 0, start), &b);
    auto d = client(4);
    EXPECT_EQ(ask(d), nullptr);
    EXPECT_EQ(book.release(*slots[0], 0, start), &c);
    EXPECT_TRUE(book.leave(pool, d));
}

TEST_F(bounded_pool_test, leave_takes_out_once) {
    auto a = client(1);
    EXPECT_FALSE(book.leave(pool, a));
    static_cast<void>(ask(a));
    EXPECT_TRUE(book.leave(pool, a));
    EXPECT_FALSE(book.leave(pool, a));
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    EXPECT_EQ(open(), &a);
    EXPECT_FALSE(book.leave(pool, a)) << "granted";
}

TEST_F(bounded_pool_test, remove_makes_room_and_is_harmless_twice) {
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 2U);
    open();
    open();
    auto c = client(3);
    static_cast<void>(ask(c));
    EXPECT_EQ(logins(), 0U);
    const std::weak_ptr<slot> first = slots[0];
    book.remove(*slots[0]);
    book.remove(*slots[0]);
    EXPECT_EQ(slots[0]->state, slot_state::gone);
    EXPECT_EQ(slots[0]->keep, nullptr);
    EXPECT_EQ(logins(), 1U);
    EXPECT_EQ(book.figures(pool).leased, 1U);
    EXPECT_TRUE(book.leave(pool, c));
}

TEST_F(bounded_pool_test, only_an_idle_connection_can_be_retired) {
    auto a = client(1);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    open();
    EXPECT_FALSE(book.retire(*slots[0]));
    static_cast<void>(book.release(*slots[0], 0, start));
    EXPECT_TRUE(book.retire(*slots[0]));
    EXPECT_FALSE(book.retire(*slots[0]));
    EXPECT_EQ(book.figures(pool).idle, 0U);
}

TEST_F(bounded_pool_test, idle_since_gives_the_oldest_first) {
    book.set_bounds(pool, {.size = 3});
    waiter three[] = {client(1), client(2), client(3)};
    for (auto& one : three)
        static_cast<void>(ask(one));
    EXPECT_EQ(logins(), 3U);
    for (int i = 0; i < 3; ++i)
        open();
    for (std::size_t i = 0; i < 3; ++i) {
        static_cast<void>(book.release(*slots[i], 0, start + i * 1s));
    }
    const auto old = book.idle_since(pool, 0, start + 2s);
    ASSERT_EQ(old.size(), 2U);
    EXPECT_EQ(old[0], slots[0].get());
    EXPECT_EQ(old[1], slots[1].get());
    EXPECT_TRUE(book.idle_since(pool, 1, start + 9s).empty());
    EXPECT_EQ(book.count_idle_since(pool, start), 0U);
    EXPECT_EQ(book.count_idle_since(pool, start + 2s), 2U);
    EXPECT_EQ(book.count_idle_since(pool, start + 9s), 3U);
}

TEST_F(bounded_pool_test, count_idle_since_counts_those_of_all_workers) {
    book.set_bounds(pool, {.size = 2});
    waiter two[] = {client(1), client(2)};
    for (auto& one : two)
        static_cast<void>(ask(one));
    EXPECT_EQ(logins(), 2U);
    for (int i = 0; i < 2; ++i)
        open();
    for (unsigned i = 0; i < 2; ++i)
        static_cast<void>(book.release(*slots[i], i, start + i * 1s));
    EXPECT_EQ(book.count_idle_since(pool, start + 1s), 1U);
    EXPECT_EQ(book.count_idle_since(pool, start + 2s), 2U);
}

TEST_F(bounded_pool_test, minimum_is_opened_without_a_client) {
    book.set_bounds(pool, {.size = 5, .min = 2});
    EXPECT_EQ(logins(), 2U);
    EXPECT_EQ(open(), nullptr);
    EXPECT_FALSE(book.above_minimum(pool));
    EXPECT_EQ(open(), nullptr);
    EXPECT_FALSE(book.above_minimum(pool));
    EXPECT_EQ(logins(), 0U);
}

TEST_F(bounded_pool_test, a_shared_bound_holds_over_pools_and_evicts_the_longest_idle) {
    book.set_limit(*database, 2);
    auto& second = book.add_pool({.size = 5}, database, nullptr);
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 2U);
    open();
    open();
    auto c = client(3);
    std::shared_ptr<void> remote;
    EXPECT_EQ(book.acquire(second, c, start, remote), nullptr);
    EXPECT_EQ(book.start_logins(second, start, evicted), 0U) << "both are leased";
    EXPECT_EQ(book.hungry(), std::vector<bounded_pool*>{&second});
    static_cast<void>(book.release(*slots[1], 0, start));
    static_cast<void>(book.release(*slots[0], 0, start + 1s));
    EXPECT_EQ(book.start_logins(second, start, evicted), 1U);
    ASSERT_EQ(evicted.size(), 1U);
    EXPECT_EQ(evicted[0], slots[1]);
    EXPECT_EQ(slots[1]->state, slot_state::gone);
    EXPECT_EQ(database->used, 2U);
    EXPECT_EQ(open_in(second), &c);
    EXPECT_TRUE(book.hungry().empty());
}

TEST_F(bounded_pool_test, nothing_is_evicted_when_the_other_bound_is_full_anyway) {
    auto* full = book.add_bound(1);
    book.set_limit(*database, 1);
    auto& other = book.add_pool({.size = 5}, database, nullptr);
    auto& wanting = book.add_pool({.size = 5}, database, full);
    auto& holder = book.add_pool({.size = 5}, nullptr, full);
    std::shared_ptr<void> remote;
    auto a = client(1);
    auto b = client(2);
    auto c = client(3);
    static_cast<void>(book.acquire(other, a, start, remote));
    EXPECT_EQ(book.start_logins(other, start, evicted), 1U);
    open_in(other);
    static_cast<void>(book.release(*slots[0], 0, start));
    static_cast<void>(book.acquire(holder, b, start, remote));
    EXPECT_EQ(book.start_logins(holder, start, evicted), 1U);
    open_in(holder);
    static_cast<void>(book.acquire(wanting, c, start, remote));
    EXPECT_EQ(book.start_logins(wanting, start, evicted), 0U);
    EXPECT_TRUE(evicted.empty()) << "it would be closed for nothing, again and again";
    EXPECT_TRUE(book.leave(wanting, c));
}

TEST_F(bounded_pool_test, a_failed_login_is_put_off_longer_each_time) {
    auto a = client(1);
    static_cast<void>(ask(a));
    auto now = start;
    duration before{};
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(logins(now), 1U);
        EXPECT_TRUE(book.login_failed(pool, false, now, 0.5).empty());
        auto later = now;
        while (book.start_logins(pool, later, evicted) == 0)
            later += 10ms;
        const auto pause = later - now;
        EXPECT_GE(pause + 20ms, before);
        EXPECT_GE(pause, 50ms);
        EXPECT_LE(pause, 4s);
        before = pause;
        static_cast<void>(book.login_failed(pool, false, later, 0.5));
        now = later + 10s;
    }
    EXPECT_GE(before, 2s);
    EXPECT_TRUE(a.queued);
    EXPECT_TRUE(book.leave(pool, a));
}

TEST_F(bounded_pool_test, after_a_failure_one_login_knocks_for_all) {
    waiter many[] = {client(1), client(2), client(3)};
    book.set_bounds(pool, {.size = 3});
    for (auto& one : many)
        static_cast<void>(ask(one));
    EXPECT_EQ(logins(), 3U);
    for (int i = 0; i < 3; ++i)
        static_cast<void>(book.login_failed(pool, false, start, 0));
    EXPECT_EQ(logins(start + 10s), 1U);
    EXPECT_EQ(open(0, start + 10s), &many[0]);
    EXPECT_EQ(logins(start + 10s), 2U) << "it works again";
    for (int i = 0; i < 2; ++i)
        open();
}

TEST_F(bounded_pool_test, a_hopeless_failure_hands_all_waiters_back) {
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 2U);
    EXPECT_EQ(book.login_failed(pool, true, start, 0), (std::vector<waiter*>{&a, &b}));
    EXPECT_FALSE(a.queued);
    EXPECT_FALSE(b.queued);
    EXPECT_TRUE(book.login_failed(pool, true, start, 0).empty());
    EXPECT_EQ(book.figures(pool).opening, 0U);
    EXPECT_EQ(database->used, 0U);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U) << "the next client is a new attempt";
    static_cast<void>(book.login_failed(pool, true, start, 0));
}

TEST_F(bounded_pool_test, a_hopeless_failure_beside_working_connections_refuses_nobody) {
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    open();
    static_cast<void>(ask(b));
    EXPECT_EQ(logins(), 1U);
    EXPECT_TRUE(book.login_failed(pool, true, start, 0).empty());
    EXPECT_TRUE(b.queued);
    EXPECT_EQ(book.release(*slots[0], 0, start), &b);
}

TEST_F(bounded_pool_test, longest_holder_is_told) {
    auto a = client(7);
    EXPECT_FALSE(book.longest_holder(pool, start).has_value());
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    open();
    const auto holder = book.longest_holder(pool, start + 5s);
    ASSERT_TRUE(holder.has_value());
    EXPECT_EQ(holder->serial, 7U);
    EXPECT_EQ(holder->held, 5s);
    EXPECT_EQ(book.connections().size(), 1U);
}

// ---- another server, lower bounds ----

TEST_F(bounded_pool_test, renewed_pool_gives_up_its_idle_connections_at_once) {
    auto a = client(1);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    open();
    static_cast<void>(book.release(*slots[0], 0, start));
    book.renew(pool, 1, evicted);
    ASSERT_EQ(evicted.size(), 1U);
    EXPECT_EQ(evicted[0], slots[0]);
    EXPECT_EQ(slots[0]->state, slot_state::gone);
    EXPECT_EQ(book.figures(pool).idle, 0U);
    EXPECT_EQ(database->used, 0U);
    auto b = client(2);
    EXPECT_EQ(ask(b), nullptr) << "the old connection was handed out";
    EXPECT_EQ(logins(), 1U);
    EXPECT_TRUE(book.leave(pool, b));
}

TEST_F(bounded_pool_test, connection_of_an_older_generation_is_retired_when_it_becomes_free) {
    auto a = client(1);
    auto b = client(2);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    open();
    static_cast<void>(ask(b));
    book.renew(pool, 1, evicted);
    EXPECT_TRUE(evicted.empty()) << "its client still has it";
    bool retired = false;
    EXPECT_EQ(book.release(*slots[0], 0, start, &retired), nullptr) << "it served the next one";
    EXPECT_TRUE(retired);
    EXPECT_EQ(book.figures(pool).waiting, 1U);
    EXPECT_EQ(database->used, 0U);
    EXPECT_EQ(logins(), 1U);
    slots.push_back(std::make_shared<slot>());
    slots.back()->generation = 1;
    EXPECT_EQ(book.opened(pool, *slots.back(), slots.back(), 0, start, &retired), &b);
    EXPECT_FALSE(retired);
}

TEST_F(bounded_pool_test, login_that_began_before_the_renewal_serves_nobody) {
    auto a = client(1);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    book.renew(pool, 1, evicted);
    EXPECT_EQ(book.figures(pool).opening, 0U);
    EXPECT_EQ(logins(), 1U) << "the new server is asked at once";
    slots.push_back(std::make_shared<slot>());
    bool retired = false;
    EXPECT_EQ(book.opened(pool, *slots.back(), slots.back(), 0, start, &retired), nullptr);
    EXPECT_TRUE(retired);
    EXPECT_EQ(slots.back()->state, slot_state::gone);
    book.remove(*slots.back());
    EXPECT_EQ(database->used, 1U);
    EXPECT_EQ(book.figures(pool).opening, 1U);
    slots.push_back(std::make_shared<slot>());
    slots.back()->generation = 1;
    EXPECT_EQ(book.opened(pool, *slots.back(), slots.back(), 0, start, &retired), &a);
}

TEST_F(bounded_pool_test, renewal_forgets_failures_and_hears_no_older_ones) {
    auto a = client(1);
    static_cast<void>(ask(a));
    EXPECT_EQ(logins(), 1U);
    EXPECT_TRUE(book.login_failed(pool, false, start, 0.5, 0).empty());
    EXPECT_EQ(logins(), 0U) << "put off";
    book.renew(pool, 1, evicted);
    EXPECT_EQ(logins(), 1U);
    EXPECT_TRUE(book.login_failed(pool, true, start, 0.5, 0).empty()) << "that was the old server";
    EXPECT_EQ(book.figures(pool).waiting, 1U);
    EXPECT_EQ(book.figures(pool).opening, 1U);
    EXPECT_EQ(book.login_failed(pool, true, start, 0.5, 1).size(), 1U);
}

TEST_F(bounded_pool_test, lowered_size_retires_what_is_too_many_now_or_when_free) {
    book.set_bounds(pool, {.size = 3});
    waiter three[] = {client(1), client(2), client(3)};
    for (auto& one : three)
        static_cast<void>(ask(one));
    EXPECT_EQ(logins(), 3U);
    for (int i = 0; i < 3; ++i)
        open();
    static_cast<void>(book.release(*slots[0], 0, start));
    book.set_bounds(pool, {.size = 1});
    book.trim(pool, evicted);
    EXPECT_EQ(evicted.size(), 1U);
    bool retired = false;
    auto d = client(4);
    static_cast<void>(ask(d));
    EXPECT_EQ(book.release(*slots[1], 0, start, &retired), nullptr);
    EXPECT_TRUE(retired) << "the bound is exact, whoever waits";
    EXPECT_EQ(book.release(*slots[2], 0, start, &retired), &d);
    EXPECT_FALSE(retired);
}

TEST_F(bounded_pool_test, lowered_shared_bound_retires_idle_connections) {
    waiter two[] = {client(1), client(2)};
    for (auto& one : two)
        static_cast<void>(ask(one));
    EXPECT_EQ(logins(), 2U);
    open();
    open();
    static_cast<void>(book.release(*slots[0], 0, start));
    static_cast<void>(book.release(*slots[1], 0, start));
    book.set_limit(*database, 1);
    book.trim(pool, evicted);
    ASSERT_EQ(evicted.size(), 1U);
    EXPECT_EQ(evicted[0], slots[0]) << "the one that idled longest";
}

TEST_F(bounded_pool_test, paused_nobody_is_served_and_idle_connections_go) {
    logins();
    auto a = client(1);
    auto b = client(2);
    ASSERT_EQ(ask(a), nullptr);
    ASSERT_EQ(logins(), 1U);
    ASSERT_EQ(open(), &a);
    ASSERT_EQ(ask(b), nullptr);
    ASSERT_EQ(logins(), 1U);
    ASSERT_EQ(open(), &b);
    ASSERT_EQ(book.release(*slots[1], 0, start), nullptr);  // idle
    const auto closing = book.pause(pool);
    EXPECT_EQ(closing, std::vector<std::shared_ptr<void>>{slots[1]});
    EXPECT_EQ(slots[1]->state, slot_state::gone);
    EXPECT_EQ(book.count(pool, pool_book::count_of::all), 1U);
    EXPECT_EQ(ask(b), nullptr);
    EXPECT_EQ(logins(), 0U);
    // What is given back goes, although somebody waits.
    EXPECT_EQ(book.release(*slots[0], 0, start), nullptr);
    EXPECT_EQ(slots[0]->state, slot_state::gone);
    EXPECT_EQ(book.count(pool, pool_book::count_of::all), 0U);
    EXPECT_EQ(database->used, 0U);
    book.resume(pool);
    EXPECT_EQ(logins(), 1U);
    EXPECT_EQ(open(), &b);
}

TEST_F(bounded_pool_test, a_login_that_ends_in_a_pause_is_closed_and_its_client_waits) {
    auto a = client(1);
    ask(a);
    ASSERT_EQ(logins(), 1U);
    EXPECT_TRUE(book.pause(pool).empty());
    EXPECT_EQ(book.count(pool, pool_book::count_of::all), 1U);
    EXPECT_EQ(open(), nullptr);
    EXPECT_EQ(slots[0]->state, slot_state::gone);
    EXPECT_EQ(book.count(pool, pool_book::count_of::all), 0U);
    EXPECT_TRUE(book.leave(pool, a));
}

TEST_F(bounded_pool_test, renewed_outdated_connections_serve_nobody_else) {
    auto a = client(1);
    auto b = client(2);
    ask(a);
    ASSERT_EQ(logins(), 1U);
    ASSERT_EQ(open(), &a);
    EXPECT_FALSE(book.is_outdated(*slots[0]));
    book.renew(pool, book.generation(pool) + 1, evicted);
    EXPECT_TRUE(evicted.empty());
    EXPECT_TRUE(book.is_outdated(*slots[0]));
    EXPECT_EQ(book.count(pool, pool_book::count_of::outdated), 1U);
    ask(b);
    ASSERT_EQ(logins(), 1U);
    EXPECT_EQ(book.release(*slots[0], 0, start), nullptr);
    EXPECT_EQ(slots[0]->state, slot_state::gone);
    EXPECT_EQ(book.count(pool, pool_book::count_of::outdated), 0U);
    slots.push_back(std::make_shared<slot>());
    slots.back()->generation = book.generation(pool);
    EXPECT_EQ(book.opened(pool, *slots.back(), slots.back(), 0, start), &b);
}

TEST_F(bounded_pool_test, queue_and_holders_are_listed) {
    auto a = client(1);
    auto b = client(2);
    auto c = client(3);
    ask(a, start);
    ask(b, start + 1s);
    ask(c, start + 2s);
    logins();
    open(0, start + 3s);
    const auto waiting = book.waiting(pool);
    ASSERT_EQ(waiting.size(), 2U);
    EXPECT_EQ(waiting[0].serial, 2U);
    EXPECT_EQ(waiting[1].since, start + 2s);
    const auto holders = book.holders(pool);
    ASSERT_EQ(holders.size(), 1U);
    EXPECT_EQ(holders[0].serial, 1U);
    EXPECT_TRUE(book.leave(pool, b));
    EXPECT_TRUE(book.leave(pool, c));
}

}  // namespace
}  // namespace sluice::pool
