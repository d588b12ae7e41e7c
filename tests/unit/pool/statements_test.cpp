#include "pool/statements.hpp"

#include <gtest/gtest.h>

namespace sluice::pool {
namespace {

using state = prepared_cache::state;

const std::string no_types{"\0\0", 2};

struct statements_test : testing::Test {
    parameter_table parameters;
    statement_table table;

    statement_ptr of(std::string_view text) {
        return table.find_or_add(text, no_types, parameters.none());
    }
};

TEST_F(statements_test, the_same_statement_is_shared) {
    const auto one = of("select 1");
    EXPECT_EQ(of("select 1"), one);
    EXPECT_EQ(one->query, "select 1");
    EXPECT_EQ(one->types, no_types);
    EXPECT_EQ(table.size(), 1U);
}

TEST_F(statements_test, text_types_or_settings_make_another) {
    const auto one = of("select 1");
    const auto other_text = of("select 2");
    const auto other_types = table.find_or_add("select 1", {"\0\1\0\0\0\27", 6}, parameters.none());
    const auto other_settings = table.find_or_add(
        "select 1", no_types, parameters.with(parameters.none(), "DateStyle", "SQL"));
    EXPECT_NE(one->server_name, other_text->server_name);
    EXPECT_NE(one->server_name, other_types->server_name);
    EXPECT_NE(one->server_name, other_settings->server_name);
    EXPECT_NE(other_types, other_settings);
    EXPECT_EQ(table.size(), 4U);
}

TEST_F(statements_test, statements_that_nobody_holds_are_purged) {
    const auto kept = of("kept");
    for (int i = 0; i < 10000; ++i)
        static_cast<void>(of("select " + std::to_string(i)));
    EXPECT_LT(table.size(), 600U);
    EXPECT_EQ(of("kept"), kept);
}

TEST_F(statements_test, a_name_is_never_used_again) {
    std::string name;
    { name = of("select 1")->server_name; }
    EXPECT_NE(of("select 1")->server_name, name);
}

TEST_F(statements_test, least_recently_used_is_evicted) {
    prepared_cache cache;
    statement_ptr all[] = {of("a"), of("b"), of("c")};
    for (const auto& one : all) {
        EXPECT_EQ(cache.evict(3), nullptr);
        cache.add(one, 1);
    }
    EXPECT_EQ(cache.use(all[0]->id, 1), state::sent);
    EXPECT_EQ(cache.evict(3), all[1]);
    EXPECT_EQ(cache.size(), 2U);
    EXPECT_EQ(cache.evict(3), nullptr);
    EXPECT_EQ(cache.evict(2), all[2]);
    EXPECT_EQ(cache.use(all[2]->id, 1), state::missing);
    EXPECT_EQ(cache.find(all[0]->id), all[0]);
}

TEST_F(statements_test, states_follow_the_servers_answers) {
    prepared_cache cache;
    const auto one = of("a");
    EXPECT_EQ(cache.use(one->id, 1), state::missing);
    cache.add(one, 1);
    EXPECT_EQ(cache.use(one->id, 1), state::sent);
    EXPECT_EQ(cache.use(one->id, 2), state::pending);
    cache.confirm(one->id);
    EXPECT_EQ(cache.use(one->id, 1), state::ready);
    EXPECT_EQ(cache.use(one->id, 2), state::ready);
    cache.mark_stale(one->id);
    EXPECT_EQ(cache.use(one->id, 3), state::stale);
    cache.add(one, 3);
    EXPECT_EQ(cache.size(), 1U);
    EXPECT_EQ(cache.use(one->id, 3), state::sent);
    cache.erase(one->id);
    EXPECT_EQ(cache.use(one->id, 3), state::missing);
    cache.erase(one->id);
    cache.confirm(one->id);
    cache.mark_stale(one->id);
    EXPECT_EQ(cache.size(), 0U);
}

TEST_F(statements_test, clear_forgets_everything) {
    prepared_cache cache;
    cache.add(of("a"), 1);
    cache.clear();
    EXPECT_EQ(cache.size(), 0U);
    EXPECT_EQ(cache.evict(1), nullptr);
    EXPECT_EQ(cache.evict(0), nullptr);
}

}  // namespace
}  // namespace sluice::pool
