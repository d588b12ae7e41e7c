// Named prepared statements through the links: names of ours on the server, answers that are faked,
// eviction, and what an error undoes.
#include <gtest/gtest.h>

#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

script use(std::string_view name) {
    return {bind_to("", name), execute(), sync()};
}

script operator+(script a, const script& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

TEST(link_prepared, a_statement_is_used_in_later_batches) {
    check_script(script{parse("a", "select 1"), describe('S', "a"), sync()} + use("a") + use("a"));
}

TEST(link_prepared, parse_is_faked_in_order_when_the_server_has_it) {
    const script_options after_another{.before = {parse("other", "select 1"), sync()}};
    check_script(
        script{parse("", "effect a"), bind_to("", ""), execute(), parse("mine", "select 1"),
               bind_to("", "mine"), describe('S', "mine"), execute(), sync()} +
            use("mine"),
        after_another);
}

TEST(link_prepared, clients_share_a_statement_under_names_of_their_own) {
    pooled_world world(1);
    for (const auto* name : {"a", "b", "a"}) {
        auto& client = world.add_client();
        client.unsent = parse(name, "select 1") + bind_to("", name) + execute() + sync();
        world.settle();
        EXPECT_EQ(outline(client.got), "12DCZ");
    }
    EXPECT_EQ(world.server(0).backend.statements(), 1U);
}

TEST(link_prepared, another_clients_name_is_unknown) {
    check_script(use("a"), {.before = {parse("a", "select 1"), sync()}});
}

TEST(link_prepared, a_name_for_two_texts_stands_for_each_clients_own) {
    check_script(script{parse("a", "select 2"), sync()} + use("a"),
                 {.before = {parse("a", "select 1"), sync()}});
}

TEST(link_prepared, duplicate_names_are_refused_and_the_first_stays) {
    check_script(
        script{parse("a", "select 1"), sync(), parse("a", "select 2"), bind_to("", "a"), sync()} +
        use("a"));
}

TEST(link_prepared, an_unknown_name_fails_the_batch_and_undoes_it) {
    check_script(script{parse("", "effect a"), bind_to("", ""), execute()} + use("nobody") +
                 script{describe('S', "nobody"), sync(), query("begin")} + use("nobody") +
                 script{query("commit")});
}

TEST(link_prepared, close_frees_the_name) {
    check_script(script{parse("a", "select 1"), close('S', "a"), parse("a", "select 2")} +
                 use("a") + script{close('S', "a"), sync()} + use("a") +
                 script{parse("a", "select 3")} + use("a"));
}

TEST(link_prepared, close_that_an_error_skips_keeps_the_name) {
    check_script(
        script{parse("a", "select 1"), sync(), parse("", "syntax"), close('S', "a"), sync()} +
        use("a"));
}

TEST(link_prepared, close_before_the_error_stays_closed) {
    check_script(
        script{parse("a", "select 1"), sync(), close('S', "a"), parse("", "syntax"), sync()} +
        use("a"));
}

TEST(link_prepared, names_are_undone_in_reverse_order) {
    check_script(script{parse("a", "select 1"), sync(), parse("", "syntax"), close('S', "a"),
                        parse("a", "select 2"), close('S', "a"), parse("a", "select 3"), sync()} +
                 use("a"));
}

TEST(link_prepared, a_failed_parse_leaves_no_name) {
    check_script(script{parse("a", "syntax"), sync()} + use("a") +
                 script{parse("a", "select 1"), sync()} + use("a"));
}

TEST(link_prepared, a_parse_skipped_by_an_error_is_sent_again_later) {
    check_script(script{parse("", "syntax"), parse("a", "select 1"), sync(), parse("a", "select 1"),
                        sync()} +
                 use("a"));
}

TEST(link_prepared, the_same_text_after_a_failed_parse_of_it) {
    check_script(script{query("begin"), query("fail"), parse("a", "select 1"), sync(),
                        query("rollback"), parse("b", "select 1"), bind_to("", "b"), execute(),
                        sync()});
}

TEST(link_prepared, statements_beyond_the_limit_are_evicted_unnoticed) {
    script all;
    for (int round = 0; round < 2; ++round) {
        for (const auto* name : {"a", "b", "c"}) {
            if (round == 0) all.push_back(parse(name, std::string("select 1 ") + name));
            all = all + use(name);
        }
    }
    for (const std::uint32_t most : {1U, 2U, 3U})
        check_script(all, {.max_statements = most});
}

TEST(link_prepared, the_limit_is_kept) {
    pooled_world world(1, 3);
    auto& client = world.add_client();
    for (int i = 0; i < 20; ++i) {
        const auto name = "s" + std::to_string(i);
        client.unsent += parse(name, "select 1 " + name) + bind_to("", name) + execute() + sync();
    }
    world.settle();
    EXPECT_EQ(world.server(0).backend.statements(), 3U);
    EXPECT_EQ(world.server(0).link.prepared.size(), 3U);
}

TEST(link_prepared, several_statements_in_one_batch_with_little_room) {
    check_script(script{parse("a", "select 1 a"), parse("b", "select 1 b"),
                        parse("c", "select 1 c"), bind_to("x", "a"), bind_to("y", "b"),
                        bind_to("z", "c"), execute("x"), execute("y"), execute("z"), sync()} +
                     use("a") + use("b") + use("c"),
                 {.max_statements = 2});
}

TEST(link_prepared, an_evicted_statement_that_was_not_closed_is_still_there) {
    check_script(script{parse("a", "select 1 a"), sync(), parse("", "syntax"),
                        parse("b", "select 1 b"), sync()} +
                     use("a") + script{parse("b", "select 1 b")} + use("b") + use("a"),
                 {.max_statements = 1});
}

// An earlier pipelined batch brings a statement back and fails, a later one evicts it and fails
// too.
TEST(link_prepared, a_statement_that_never_came_back_is_not_put_back_by_an_undo) {
    pooled_world world(2, 1);
    auto& holder = world.add_client();
    auto& client = world.add_client();
    client.unsent = parse("a", "select 1 a") + sync();
    world.settle();
    holder.unsent = query("begin");  // the client gets the other connection, which lacks "a"
    world.settle();
    client.got.clear();
    client.unsent = bind_to("", "nobody") + bind_to("", "a") + execute() + sync() +
                    parse("", "syntax") + parse("b", "select 1 b") + sync() + bind_to("", "a") +
                    execute() + sync();
    world.settle();
    EXPECT_EQ(outline(client.got), "E(26000)ZE(42601)Z2DCZ");
    EXPECT_EQ(world.desyncs(), 0U);
}

TEST(link_prepared, names_pass_unchanged_when_the_feature_is_off) {
    check_script(
        script{query("begin"), parse("a", "select 1"), bind_to("", "a"), execute(), sync()} +
            use("a") + script{close('S', "a"), sync(), query("commit")},
        {.max_statements = 0, .errors_anywhere = false});
}

TEST(link_prepared, the_unnamed_statement_lives_between_batches) {
    const script two_trips{parse("", "select 2"), describe('S', ""), sync(),
                           bind_to("", ""),       execute(),         sync()};
    check_script(two_trips);
    check_script(two_trips, {.before = {parse("", "select 7"), sync()}});
}

TEST(link_prepared, unnamed_statements_of_different_clients_do_not_mix) {
    pooled_world world(1);
    auto& a = world.add_client();
    auto& b = world.add_client();
    a.unsent = parse("", "select 1 a") + sync();
    world.settle();
    b.unsent = parse("", "select 1 b") + sync();
    world.settle();
    a.unsent = bind_to("", "") + execute() + sync();
    world.settle();
    b.unsent = bind_to("", "") + describe('P', "") + execute() + sync();
    world.settle();
    EXPECT_EQ(
        a.got,
        run_directly(parse("", "select 1 a") + sync() + bind_to("", "") + execute() + sync()).got);
    EXPECT_EQ(b.got, run_directly(parse("", "select 1 b") + sync() + bind_to("", "") +
                                  describe('P', "") + execute() + sync())
                         .got);
}

TEST(link_prepared, without_an_unnamed_statement_another_clients_is_not_used) {
    check_script({bind_to("", ""), execute(), sync()}, {.before = {parse("", "select 7"), sync()}});
    check_script({describe('S', ""), sync()}, {.before = {parse("", "select 7"), sync()}});
}

TEST(link_prepared, a_simple_query_destroys_the_unnamed_statement) {
    check_script(
        {parse("", "select 2"), sync(), query("select 1"), bind_to("", ""), execute(), sync()});
}

// PostgreSQL would still have the statement before it if the Parse was skipped. Here it is unknown
// then: an error, and never another statement than the client means.
TEST(link_prepared, an_unnamed_parse_that_fails_leaves_none_and_a_skipped_one_that_of_before) {
    const script again{bind_to("", ""), execute(), sync()};
    check_cut_client({parse("", "select 2"), sync(), parse("", "syntax"), sync(), bind_to("", ""),
                      execute(), sync()},
                     {});
    for (const auto& skipped : {parse("", "select 3"), close('S', ""), query("select 1")}) {
        for (const bool stepped : {false, true}) {
            pooled_world world(1);
            auto& other = world.add_client();
            auto& client = world.add_client();
            client.unsent = parse("", "select 2") + sync();
            world.settle();
            other.unsent = parse("", "select 9") + sync();
            world.settle();
            client.got.clear();
            client.unsent = bind_to("", "nobody") + skipped + sync();
            if (stepped) world.settle();
            client.unsent += joined(again);
            world.settle();
            EXPECT_EQ(outline(client.got), "E(26000)Z2DDCZ") << skipped[0];
            EXPECT_TRUE(world.all_idle());
        }
    }
}

TEST(link_prepared, deallocate_all_forgets_every_name) {
    check_script(script{parse("a", "select 1"), sync(), query("deallocate all")} + use("a") +
                     script{parse("a", "select 2"), sync()} + use("a"),
                 {.before = {parse("z", "select 1"), sync()}});
}

// Both get the connection with settings of their own to apply first, and must use it then.
TEST(link_prepared, two_clients_that_deallocate_on_one_connection_get_done) {
    pooled_world world(1);
    auto& a = world.add_client({{"application_name", "a"}});
    auto& b = world.add_client({{"application_name", "b"}});
    a.unsent = b.unsent = query("deallocate all");
    for (int round = 0; round < 20; ++round) {
        world.move_client(a);
        world.move_client(b);
        world.move_server(world.server(0));
    }
    EXPECT_EQ(outline(without_parameters(a.got)), "CZ");
    EXPECT_EQ(outline(without_parameters(b.got)), "CZ");
}

TEST(link_prepared, discard_all_forgets_every_name) {
    check_script(script{parse("a", "select 1"), sync(), parse("", "discard all"), bind_to("", ""),
                        execute(), sync()} +
                 use("a") + script{parse("a", "select 2"), sync()} + use("a"));
}

TEST(link_prepared, another_clients_statements_survive_a_discard_all) {
    pooled_world world(1);
    auto& a = world.add_client();
    auto& b = world.add_client();
    a.unsent = parse("a", "select 1") + sync();
    world.settle();
    b.unsent = query("discard all");
    world.settle();
    a.unsent = bind_to("", "a") + execute() + sync();
    world.settle();
    EXPECT_EQ(outline(a.got), "1Z2DCZ");
}

TEST(link_prepared, a_stale_plan_is_prepared_and_run_again) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = parse("a", "star") + sync();
    world.settle();
    auto& other = world.add_client();
    other.unsent = query("alter");
    world.settle();
    client.unsent = bind_to("", "a") + describe('P', "") + execute() + sync();
    world.settle();
    EXPECT_EQ(outline(client.got), "1Z2TDCZ");
    client.got.clear();
    client.unsent = bind_to("", "a") + describe('P', "") + execute() + sync();
    world.settle();
    EXPECT_EQ(outline(client.got), "2TDCZ");
    EXPECT_EQ(world.desyncs(), 0U);
}

TEST(link_prepared, a_stale_plan_in_a_transaction_is_the_clients_error_once) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = parse("a", "star") + describe('S', "a") + sync() + query("alter") +
                    query("begin") + bind_to("", "a") + execute() + sync() + query("rollback");
    world.settle();
    EXPECT_EQ(outline(client.got), "1tTZCZCZTE(0A000)ZECZ");
    client.got.clear();
    client.unsent = bind_to("", "a") + describe('P', "") + execute() + sync();
    world.settle();
    EXPECT_EQ(outline(client.got), "2TDCZ");
}

}  // namespace
}  // namespace sluice::test
