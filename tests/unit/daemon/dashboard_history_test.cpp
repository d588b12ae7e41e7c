// The ring of the dashboard, quantiles, and what memory it takes.
#include "daemon/http/dashboard/history.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;

class clock_of_test {
  public:
    sample_time next(std::chrono::seconds by = history::step) {
        steady_ += by;
        return {std::chrono::steady_clock::time_point(steady_),
                1e9 + std::chrono::duration<double>(steady_).count()};
    }

  private:
    std::chrono::seconds steady_{1000};
};

pool_reading pool_named(std::string database, std::uint64_t queries = 0) {
    pool_reading out;
    out.database = std::move(database);
    out.user = "app";
    out.size = 10;
    out.counts.queries = queries;
    return out;
}

reading with_pools(std::vector<pool_reading> pools) {
    reading out;
    out.pools = std::move(pools);
    return out;
}

TEST(quantile, nothing_counted_gives_none) {
    EXPECT_FALSE(quantile({}, 0.5).has_value());
}

TEST(quantile, lies_in_the_bucket_of_its_rank) {
    bucket_counts counts{};
    counts[3] = 50;   // 64 to 128 us
    counts[10] = 50;  // 8.192 to 16.384 ms
    EXPECT_NEAR(*quantile(counts, 0.25), 96e-6, 1e-9);
    EXPECT_NEAR(*quantile(counts, 0.5), 128e-6, 1e-9);
    EXPECT_NEAR(*quantile(counts, 0.99), 8.192e-3 + 0.98 * 8.192e-3, 1e-9);
    EXPECT_NEAR(*quantile(counts, 1), 16.384e-3, 1e-9);
}

TEST(quantile, bucket_without_a_bound_counts_as_its_lower_one) {
    bucket_counts counts{};
    counts.back() = 3;
    EXPECT_DOUBLE_EQ(*quantile(counts, 0.5), metrics::histogram::bound(counts.size() - 2));
}

TEST(history, is_due_every_five_seconds) {
    history past;
    const std::chrono::steady_clock::time_point start{1000s};
    EXPECT_TRUE(past.is_due(start));
    past.add({}, {start, 1e9});
    EXPECT_FALSE(past.is_due(start + 4999ms));
    EXPECT_TRUE(past.is_due(start + 5s));
}

TEST(history, rates_are_of_the_time_that_has_passed) {
    history past;
    clock_of_test clock;
    past.add(with_pools({pool_named("a", 100)}), clock.next());
    EXPECT_TRUE(std::isnan(past.latest({"a", "app"})->queries_per_second));
    auto now = pool_named("a", 150);
    now.counts.query_seconds[4] = 50;
    now.counts.errors[2] = 20;
    now.connections.active = 4;
    now.clients.waiting = 3;
    now.oldest_wait_seconds = 1.5;
    past.add(with_pools({now}), clock.next(10s));
    const auto point = *past.latest({"a", "app"});
    EXPECT_FLOAT_EQ(point.queries_per_second, 5);
    EXPECT_FLOAT_EQ(point.errors_per_second, 2);
    EXPECT_FLOAT_EQ(point.utilization, 0.4F);
    EXPECT_FLOAT_EQ(point.waiting, 3);
    EXPECT_FLOAT_EQ(point.oldest_wait, 1.5F);
    EXPECT_FLOAT_EQ(point.p50, 192e-6F);
    EXPECT_TRUE(std::isnan(point.wait_p99));
    const auto whole = *past.latest();
    EXPECT_FLOAT_EQ(whole.pools.queries_per_second, 5);
    EXPECT_FLOAT_EQ(whole.errors_per_second[2], 2);
    EXPECT_FLOAT_EQ(whole.errors_per_second[0], 0);
    EXPECT_EQ(past.errors_within()[2], 20U);
}

TEST(history, pool_that_is_new_has_counted_in_its_first_step) {
    history past;
    clock_of_test clock;
    past.add(with_pools({}), clock.next());
    past.add(with_pools({pool_named("a", 50)}), clock.next());
    EXPECT_FLOAT_EQ(past.latest({"a", "app"})->queries_per_second, 10);
    EXPECT_FLOAT_EQ(past.latest()->pools.queries_per_second, 10);
}

TEST(history, ring_keeps_a_quarter_of_an_hour_in_order) {
    history past;
    clock_of_test clock;
    EXPECT_TRUE(past.places().empty());
    double last = 0;
    for (std::size_t i = 0; i < history::points + 30; ++i) {
        const auto when = clock.next();
        past.add(with_pools({pool_named("a", i * 5)}), when);
        last = when.unix_time;
    }
    const auto places = past.places();
    ASSERT_EQ(places.size(), history::points);
    for (std::size_t i = 0; i < places.size(); ++i) {
        EXPECT_DOUBLE_EQ(past.whole(places[i]).unix_time,
                         last - static_cast<double>(places.size() - 1 - i) * 5);
        EXPECT_FLOAT_EQ(past.find({"a", "app"})->ring[places[i]].queries_per_second, 1);
    }
    EXPECT_EQ(past.places(last - 10).size(), 2U);
    EXPECT_TRUE(past.places(last).empty());
}

TEST(history, pool_that_goes_is_forgotten) {
    history past;
    clock_of_test clock;
    past.add(with_pools({pool_named("a"), pool_named("b")}), clock.next());
    past.add(with_pools({pool_named("b")}), clock.next());
    EXPECT_EQ(past.find({"a", "app"}), nullptr);
    EXPECT_NE(past.find({"b", "app"}), nullptr);
}

TEST(history, only_the_busiest_pools_are_kept) {
    history past;
    clock_of_test clock;
    std::vector<pool_reading> pools;
    for (std::size_t i = 0; i < history::most_pools * 3; ++i)
        pools.push_back(pool_named("d" + std::to_string(i)));
    past.add(with_pools(pools), clock.next());
    EXPECT_EQ(past.pools().size(), history::most_pools);
    // The last one becomes busy: it takes the place of one that is not.
    for (int i = 0; i < 3; ++i) {
        pools.back().counts.queries += 100;
        past.add(with_pools(pools), clock.next());
        EXPECT_EQ(past.pools().size(), history::most_pools);
    }
    const auto* busy = past.find({pools.back().database, "app"});
    ASSERT_NE(busy, nullptr);
    EXPECT_FLOAT_EQ(past.latest({pools.back().database, "app"})->queries_per_second, 20);
}

TEST(history, pools_that_are_equally_busy_do_not_take_turns) {
    history past;
    clock_of_test clock;
    std::vector<pool_reading> pools;
    for (std::size_t i = 0; i < history::most_pools + 20; ++i)
        pools.push_back(pool_named("d" + std::to_string(i)));
    const auto step = [&] {
        for (auto& pool : pools)
            pool.counts.queries += 100;
        past.add(with_pools(pools), clock.next());
    };
    step();
    std::vector<history::pool_name> kept;
    for (const auto& [name, track] : past.pools())
        kept.push_back(name);
    for (int i = 0; i < 50; ++i)
        step();
    for (const auto& name : kept)
        EXPECT_NE(past.find(name), nullptr) << name.first;
}

TEST(history, trouble_is_counted_back_to_the_asked_time) {
    history past;
    clock_of_test clock;
    reading now;
    for (int i = 0; i < 100; ++i) {
        ++now.whole.refused;
        past.add(now, clock.next());
    }
    EXPECT_EQ(past.trouble_within(60s).clients_refused, 12U);
    EXPECT_EQ(past.trouble_within(3600s).clients_refused, 99U);
    EXPECT_EQ(history{}.trouble_within(60s).clients_refused, 0U);
}

TEST(history, utilization_is_a_mean_once_enough_is_known) {
    history past;
    clock_of_test clock;
    auto pool = pool_named("a");
    for (std::uint64_t i = 0; i < 12; ++i) {
        EXPECT_FALSE(past.utilization_within({"a", "app"}, 60s).has_value()) << i;
        pool.connections.active = i % 2 == 0 ? 10 : 0;
        past.add(with_pools({pool}), clock.next());
    }
    EXPECT_NEAR(*past.utilization_within({"a", "app"}, 60s), 0.5, 1e-6);
    EXPECT_FALSE(past.utilization_within({"b", "app"}, 60s).has_value());
}

TEST(upstream_state, is_told_from_connections_and_the_last_login) {
    pool_reading pool;
    EXPECT_EQ(pool.state(), upstream_state::asleep);
    pool.connections.login = 1;
    EXPECT_EQ(pool.state(), upstream_state::waking);
    pool.upstream.sqlstate = "08006";
    EXPECT_EQ(pool.state(), upstream_state::failing);
    pool.connections.idle = 1;
    EXPECT_EQ(pool.state(), upstream_state::awake);
    pool.connections = {};
    EXPECT_EQ(pool.state(), upstream_state::failing);
    pool.upstream.reached = true;  // since then
    EXPECT_EQ(pool.state(), upstream_state::asleep);
}

}  // namespace
}  // namespace sluice::daemon
