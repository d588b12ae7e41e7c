// The extended protocol through the links: portals, Flush, pipelines and errors in them.
#include <gtest/gtest.h>

#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

const script one_batch{parse("", "select 2"), bind_to("", ""), describe('P', ""), execute(),
                       close('P', ""),        sync()};

TEST(link_extended_query, a_batch_is_answered_as_from_the_server) {
    EXPECT_EQ(outline(run_pooled(one_batch).got), "12TDDC3Z");
    check_script(one_batch);
}

TEST(link_extended_query, a_statement_without_rows_says_no_data) {
    check_script({parse("", "effect a"), describe('S', ""), bind_to("", ""), describe('P', ""),
                  execute(), sync()});
}

TEST(link_extended_query, portals_with_row_limits_are_suspended) {
    check_script({query("begin"), parse("", "select 5"), bind_to("p", ""), execute("p", 2), sync(),
                  execute("p", 2), execute("p", 2), sync(), query("commit")});
}

TEST(link_extended_query, a_suspended_portal_dies_with_its_transaction) {
    check_script({parse("", "select 5"), bind_to("p", ""), execute("p", 2), sync(), execute("p", 2),
                  sync()});
}

TEST(link_extended_query, flush_brings_answers_before_sync) {
    const script with_flush{parse("", "select 1"),
                            describe('S', ""),
                            flush(),
                            bind_to("", ""),
                            execute(),
                            flush(),
                            sync()};
    check_script(with_flush);
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = parse("", "select 1") + describe('S', "") + flush();
    world.settle();
    EXPECT_EQ(outline(client.got), "1tT");
    EXPECT_FALSE(world.all_idle()) << "it must be kept until the Sync";
}

TEST(link_extended_query, an_empty_statement_is_answered) {
    check_script({parse("", ""), bind_to("", ""), execute(), sync()});
}

TEST(link_extended_query, nothing_is_committed_before_sync) {
    check_script(
        {parse("", "effect a"), bind_to("", ""), execute(), bind_to("", ""), execute(), sync()});
}

TEST(link_extended_query, a_pipeline_of_batches_keeps_its_order) {
    script all;
    for (int i = 1; i < 5; ++i) {
        all.insert(all.end(),
                   {parse("", "select " + std::to_string(i)), bind_to("", ""), execute(), sync()});
    }
    all.push_back(query("select 1"));
    check_script(all);
}

TEST(link_extended_query, an_error_skips_to_the_sync_and_undoes_the_batch) {
    check_script({parse("", "effect a"), bind_to("", ""), execute(), parse("", "fail 23505"),
                  bind_to("", ""), execute(), parse("", "effect b"), bind_to("", ""), execute(),
                  sync(), parse("", "effect c"), bind_to("", ""), execute(), sync()});
}

TEST(link_extended_query, an_error_in_a_transaction_fails_it) {
    check_script({query("begin"), parse("", "fail"), bind_to("", ""), execute(), sync(),
                  parse("", "select 1"), bind_to("", ""), execute(), sync(), query("rollback"),
                  query("select 1")});
}

TEST(link_extended_query, begin_and_commit_may_be_in_one_pipeline) {
    check_script({parse("", "begin"), bind_to("", ""), execute(), parse("", "effect a"),
                  bind_to("", ""), execute(), sync(), parse("", "commit"), bind_to("", ""),
                  execute(), sync()});
}

TEST(link_extended_query, two_syncs_get_two_answers) {
    check_script(
        {sync(), parse("", "select 1"), bind_to("", ""), execute(), sync(), sync(), sync()});
}

TEST(link_extended_query, a_simple_query_ends_a_batch_without_sync) {
    check_script({parse("", "effect a"), bind_to("", ""), execute(), query("select 1"), sync()});
}

TEST(link_extended_query, a_simple_query_after_an_error_without_sync_is_skipped) {
    check_script({parse("", "syntax"), query("effect a"), sync(), query("select 1")});
}

TEST(link_extended_query, close_of_anything_is_no_error) {
    check_script({close('P', "no portal"), close('S', "no statement"), close('S', ""), sync(),
                  parse("", "select 1"), close('S', ""), bind_to("", ""), sync()});
}

TEST(link_extended_query, function_call_after_a_batch_without_sync) {
    check_script({parse("", "effect a"), bind_to("", ""), execute(), function_call(), sync()});
}

TEST(link_extended_query, a_simple_query_alone_frees_the_server) {
    for (const auto& last : {query("select 1"), function_call()}) {
        pooled_world world(1);
        auto& client = world.add_client();
        client.unsent = parse("", "effect a") + bind_to("", "") + execute() + last;
        world.settle();
        EXPECT_TRUE(world.all_idle());
        EXPECT_EQ(world.database->committed.size(), 1U);
    }
}

}  // namespace
}  // namespace sluice::test
