// Simple queries through the links.
#include <gtest/gtest.h>

#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

TEST(link_simple_query, rows_arrive_as_from_the_server) {
    check_script({query("select 3"), query("select 0")});
}

TEST(link_simple_query, direct_and_pooled_outline_are_what_postgres_sends) {
    EXPECT_EQ(outline(run_pooled({query("select 2")}).got), "TDDCZ");
    EXPECT_EQ(outline(run_pooled({query("begin"), query("fail 23505"), query("rollback")}).got),
              "CZTE(23505)ZECZ");
}

TEST(link_simple_query, several_statements_one_ready) {
    check_script({query("select 1;effect a;select 2;show TimeZone")});
}

TEST(link_simple_query, an_error_skips_the_rest_of_the_text) {
    check_script({query("effect a;fail 23505;effect b"), query("select 1")});
}

TEST(link_simple_query, empty_text_gets_an_empty_response) {
    check_script({query(""), query("select 1")});
}

TEST(link_simple_query, a_transaction_keeps_its_server) {
    check_script({query("begin"), query("effect a"), query("select 1"), query("commit"),
                  query("begin"), query("effect b"), query("rollback"), query("effect c")});
}

TEST(link_simple_query, a_failed_transaction_stays_failed_until_it_ends) {
    check_script({query("begin"), query("fail 22012"), query("select 1"), query("commit"),
                  query("select 1")});
}

TEST(link_simple_query, function_calls_pass) {
    check_script({function_call(), query("begin"), function_call(), query("rollback")});
    check_script({query("begin"), query("fail"), function_call(), query("rollback")});
}

TEST(link_simple_query, stray_copy_messages_are_ignored) {
    check_script({copy_data("late"), copy_done(), query("select 1"), copy_fail(), copy_data("x"),
                  query("begin"), copy_data("late"), copy_done(), query("commit")});
}

TEST(link_simple_query, sync_and_flush_alone_need_no_server) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = flush() + sync() + sync();
    world.settle();
    EXPECT_EQ(outline(client.got), "ZZ");
    EXPECT_FALSE(world.server(0).sent_to);
}

TEST(link_simple_query, a_long_query_is_streamed) {
    const std::string text = "select 1 " + std::string(40000, 'x');
    for (const std::size_t cut : {1U, 5U, 100U, 16383U, 16384U, 16385U, 39999U}) {
        pooled_world world(1);
        auto& client = world.add_client();
        client.unsent = query(text) + query("select 2");
        world.move_client(client, cut);
        world.settle_servers();
        world.settle();
        EXPECT_EQ(client.got, run_directly(query(text) + query("select 2")).got) << cut;
        EXPECT_TRUE(world.all_idle());
    }
}

TEST(link_simple_query, leaving_within_a_streamed_message_costs_the_connection) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = query("select 1 " + std::string(40000, 'x'));
    world.move_client(client, 20000);
    EXPECT_TRUE(client.link.in_message());
    world.vanish(client);
    EXPECT_TRUE(world.server(0).closed);
}

}  // namespace
}  // namespace sluice::test
