#include "pool/top_statements.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "pool/statement_counts.hpp"

namespace sluice::pool {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t us = 1000;

struct top_statements_test : testing::Test {
    explicit top_statements_test(std::uint32_t entries = 100) : tops(entries) {}

    // One call, as a client has it.
    void run(std::string_view sql, std::uint64_t took_us = 10, bool failed = false) {
        counts.add(counts.find(sql, true, scope), scope,
                   {took_us * us, took_us * us, 1, failed ? 1U : 0U});
    }
    void tick(std::chrono::milliseconds passes = 100ms) {
        now += passes;
        counts.flush(now);
        if (tops.wants_reader()) tops.read_texts();
    }
    statement_total line(std::string_view text) {
        for (const auto& one : tops.top(100000)) {
            if (one.text == text) return one;
        }
        return {};
    }
    std::uint64_t calls() {
        std::uint64_t out = 0;
        for (const auto& one : tops.top(100000))
            out += one.calls;
        return out;
    }

    top_statements tops;
    statement_counts counts{tops};
    std::uint32_t scope = tops.scope_of("app", "alice");
    std::chrono::steady_clock::time_point now{1000s};
};

TEST_F(top_statements_test, calls_errors_and_times_are_summed) {
    run("select 1", 10);
    run("select 2", 30, true);
    run("begin", 5);
    tick();
    run("select 333", 20);
    tick();
    const auto all = tops.top(10);
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].database, "app");
    EXPECT_EQ(all[0].user, "alice");
    EXPECT_EQ(all[0].text, "select $1");
    EXPECT_EQ(all[0].calls, 3U);
    EXPECT_EQ(all[0].errors, 1U);
    EXPECT_EQ(all[0].total, 60us);
    EXPECT_EQ(all[0].slowest, 30us);
    EXPECT_EQ(all[1].text, "begin");
    EXPECT_EQ(tops.top(1).size(), 1U);
    EXPECT_TRUE(tops.top(0).empty());
}

TEST_F(top_statements_test, different_spellings_are_one) {
    run("select a from t where b in (1, 2)");
    run("SELECT a FROM t WHERE b IN (1, 2, 3, 4)");
    tick();
    EXPECT_EQ(tops.top(10).size(), 1U);
    EXPECT_EQ(line("select a from t where b in ($1, ...)").calls, 2U);
}

TEST_F(top_statements_test, databases_and_users_are_apart) {
    const auto bob = tops.scope_of("app", "bob");
    EXPECT_NE(bob, scope);
    EXPECT_EQ(tops.scope_of("app", "alice"), scope);
    run("select 1");
    counts.add(counts.find("select 1", true, bob), bob, {us, us, 1, 0});
    tick();
    ASSERT_EQ(tops.top(10).size(), 2U);
    EXPECT_EQ(tops.top(10)[0].user, "alice");
    EXPECT_EQ(tops.top(10)[1].user, "bob");
}

TEST_F(top_statements_test, reset_forgets_what_was_counted_only) {
    run("select 1");
    counts.add(0, scope, {us, us, 1, 0});
    tick();
    EXPECT_EQ(line("<other>").calls, 1U);
    tops.reset();
    EXPECT_TRUE(tops.top(10).empty());
    run("select 1", 7);
    tick();
    EXPECT_EQ(line("select $1").calls, 1U);
    EXPECT_EQ(line("select $1").slowest, 7us);
}

TEST_F(top_statements_test, off_counts_nothing_and_keeps_nothing) {
    run("select 1");
    tick();
    tops.set_limit(0);
    EXPECT_FALSE(tops.on());
    EXPECT_TRUE(tops.top(10).empty());
    run("select 1");
    tick();
    EXPECT_TRUE(tops.top(10).empty());
    tops.set_limit(10);
    run("select 1");
    tick();
    run("select 1");
    tick();
    EXPECT_GE(line("select $1").calls, 1U);
}

TEST_F(top_statements_test, a_text_that_was_never_read_is_not_shown) {
    run("alter role x password 'hunter2'");
    now += 100ms;
    counts.flush(now);
    for (const auto& one : tops.top(10))
        EXPECT_EQ(one.text.find("hunter2"), std::string::npos);
    EXPECT_TRUE(tops.wants_reader());
    EXPECT_FALSE(tops.wants_reader());  // once
    tops.read_texts();
    EXPECT_EQ(line("alter role ...").calls, 1U);
}

TEST_F(top_statements_test, backslashes_in_old_strings_are_not_read) {
    const auto text = counts.find("select 'it\\'s', hunter2, ' '", false, scope);
    counts.add(text, scope, {us, us, 1, 0});
    tick();
    EXPECT_EQ(line("select <unparsed>").calls, 1U);
}

TEST_F(top_statements_test, long_texts_are_their_first_word) {
    const auto text = counts.find_unread("insert into t values ('hunter2", scope);
    counts.add(text, scope, {us, us, 1, 0});
    run("select '" + std::string(20000, 'x') + "'");
    tick();
    EXPECT_EQ(line("insert <unparsed>").calls, 1U);
    EXPECT_EQ(line("select <unparsed>").calls, 1U);
}

// Nothing is lost when the texts come faster than they may be read.
TEST_F(top_statements_test, too_many_new_texts_are_other) {
    for (int i = 0; i < 1000; ++i)
        run("select a" + std::to_string(i));
    tick();
    EXPECT_EQ(calls(), 1000U);
    EXPECT_EQ(line("<other>").calls, 1000U - statement_counts::most_fresh);
    for (int i = 0; i < 1000; ++i)
        run("select a" + std::to_string(i % 8));  // those are known
    tick();
    EXPECT_EQ(line("select a3").calls, 126U);
}

struct small_top_statements_test : top_statements_test {
    small_top_statements_test() : top_statements_test(20) {}
};

TEST_F(small_top_statements_test, the_cheapest_of_late_makes_room) {
    for (int i = 0; i < 20; ++i)
        run("select old" + std::to_string(i), static_cast<std::uint64_t>(100 + i));
    tick();
    EXPECT_EQ(tops.top(100).size(), 20U);
    tick(11s);
    run("select fresh", 50);
    tick();
    EXPECT_EQ(line("select fresh").calls, 1U);
    EXPECT_EQ(line("select old0").calls, 0U);
    EXPECT_EQ(line("select old1").calls, 1U);
    EXPECT_EQ(line("<other>").total, 100us);
    EXPECT_EQ(tops.top(100).size(), 21U);
    run("select old0", 1);  // its place is gone: known again after its text has come again
    tick();
    EXPECT_EQ(calls(), 22U);
}

TEST_F(small_top_statements_test, the_young_are_safe_for_a_while) {
    for (int i = 0; i < 20; ++i)
        run("select young" + std::to_string(i), 1);
    tick();
    run("select latecomer", 1000);
    tick();
    EXPECT_EQ(line("select latecomer").calls, 0U);
    EXPECT_EQ(line("<other>").total, 1000us);
    tick(11s);
    run("select latecomer", 1000);
    tick();
    run("select latecomer", 1000);
    tick();
    EXPECT_GE(line("select latecomer").calls, 1U);
    EXPECT_EQ(calls(), 23U);
}

TEST_F(small_top_statements_test, what_was_expensive_long_ago_gives_way) {
    for (int i = 0; i < 20; ++i)
        run("select s" + std::to_string(i), i == 0 ? 1000 : 100);
    tick();
    now += 2h;  // twelve halvings
    for (int i = 1; i < 20; ++i)
        run("select s" + std::to_string(i), 100);
    tick();
    run("select fresh");
    tick();
    EXPECT_EQ(line("select s0").calls, 0U);
    EXPECT_EQ(line("select fresh").calls, 1U);
}

// An hour of an app that makes up names: memory stays, nothing is lost, the regulars stay known.
TEST_F(small_top_statements_test, random_load_is_bounded_and_adds_up) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::uint64_t sent = 0;
    for (int i = 0; i < 5; ++i)
        run("select regular" + std::to_string(i), 1000), ++sent;
    tick();
    for (int turn = 0; turn < 2000; ++turn) {
        for (auto n = random() % 100; n > 0; --n) {
            if (random() % 4 == 0) {
                run("select regular" + std::to_string(random() % 5), 1000);
            } else {
                run("select x" + std::to_string(random()) + " from t", random() % 100);
            }
            ++sent;
        }
        tick(1800ms);
    }
    EXPECT_EQ(calls(), sent);
    EXPECT_LE(tops.top(100000).size(), 21U);
    for (int i = 0; i < 5; ++i)
        EXPECT_GT(line("select regular" + std::to_string(i)).calls, 1000U);
}

TEST_F(top_statements_test, a_long_query_keeps_its_place_among_new_texts) {
    const auto slow = counts.find("select slow from t", true, scope);
    for (int turn = 0; turn < 1000; ++turn) {
        for (int i = 0; i < 40; ++i)
            run("select n" + std::to_string(turn) + "_" + std::to_string(i));
        tick();
    }
    EXPECT_TRUE(counts.is_current(slow));
    counts.add(slow, scope, {us, us, 1, 0});
    tick();
    EXPECT_EQ(calls(), 40001U);
}

TEST_F(top_statements_test, a_stale_handle_is_other) {
    EXPECT_FALSE(counts.is_current(0));
    const auto text = counts.find("select gone", true, scope);
    ASSERT_TRUE(counts.is_current(text));
    EXPECT_FALSE(counts.is_current(text + (1U << 16U)));
    counts.add(text + (1U << 16U), scope, {us, us, 1, 0});
    tick();
    EXPECT_EQ(line("<other>").calls, 1U);
}

// Workers, a reader of texts and somebody who looks, all at once.
TEST(top_statements_threads, nothing_is_lost) {
    top_statements tops(50);
    constexpr int workers = 3;
    constexpr int turns = 300;
    constexpr int calls = 50;
    std::atomic<int> running{workers};
    std::vector<std::thread> threads;
    for (int w = 0; w < workers; ++w) {
        threads.emplace_back([&tops, &running, w] {
            statement_counts counts(tops);
            const auto scope = tops.scope_of("app", "user" + std::to_string(w % 2));
            std::minstd_rand random(static_cast<unsigned>(w) + 1);
            std::chrono::steady_clock::time_point now{};
            for (int turn = 0; turn < turns; ++turn) {
                for (int i = 0; i < calls; ++i) {
                    const auto sql = "select c" + std::to_string(random() % 200);
                    counts.add(counts.find(sql, true, scope), scope, {us, us, 1, 0});
                }
                now += 1s;
                counts.flush(now);
            }
            while (!counts.flush(now))
                std::this_thread::yield();
            --running;
        });
    }
    threads.emplace_back([&] {
        while (running > 0) {
            if (tops.wants_reader()) tops.read_texts();
            std::this_thread::yield();
        }
    });
    threads.emplace_back([&] {
        while (running > 0) {
            EXPECT_LE(tops.top(10).size(), 10U);
            std::this_thread::yield();
        }
    });
    for (auto& thread : threads)
        thread.join();
    tops.read_texts();
    std::uint64_t sum = 0;
    std::chrono::microseconds total{};
    for (const auto& one : tops.top(1000)) {
        sum += one.calls;
        total += one.total;
    }
    EXPECT_EQ(sum, std::uint64_t{workers} * turns * calls);
    EXPECT_LE(tops.top(1000).size(), 52U);
}

}  // namespace
}  // namespace sluice::pool
