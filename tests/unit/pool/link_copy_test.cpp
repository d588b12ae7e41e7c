// COPY through the links.
#include <gtest/gtest.h>

#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

const script_options plain{.errors_anywhere = false};

script extended(std::string_view sql) {
    return {parse("", sql), bind_to("", ""), describe('P', ""), execute(), sync()};
}

script operator+(script a, const script& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

TEST(link_copy, in_by_simple_query) {
    check_script(
        {query("copy in"), copy_data("one"), copy_data("two"), copy_done(), query("select 1")},
        plain);
}

TEST(link_copy, in_by_simple_query_in_a_transaction) {
    check_script({query("begin"), query("copy in"), copy_data("one"), copy_done(),
                  query("effect a"), query("commit")},
                 plain);
}

TEST(link_copy, in_between_other_statements_of_one_text) {
    check_script(
        {query("effect a;copy in;effect b"), copy_data("one"), copy_done(), query("select 1")},
        plain);
}

TEST(link_copy, in_that_the_client_gives_up) {
    check_script({query("copy in"), copy_data("one"), copy_fail(), query("select 1")}, plain);
}

TEST(link_copy, in_that_the_server_refuses_midway_ignores_what_is_late) {
    check_script({query("copy in"), copy_data("one"), copy_data("bad"), copy_data("late"),
                  copy_done(), query("select 1")},
                 plain);
}

// libpq sends Sync with the Execute; the server reads and ignores it in the copy.
TEST(link_copy, in_by_extended_query_ignores_the_first_sync) {
    check_script(
        extended("copy in") + script{copy_data("one"), copy_done(), sync()} + extended("select 1"),
        plain);
}

TEST(link_copy, in_by_extended_query_without_the_first_sync) {
    check_script({parse("", "copy in"), bind_to("", ""), execute(), flush(), copy_data("one"),
                  copy_done(), sync(), query("select 1")},
                 plain);
}

TEST(link_copy, in_by_extended_query_that_the_client_gives_up) {
    check_script(
        extended("copy in") + script{copy_data("one"), copy_fail(), sync()} + extended("select 1"),
        plain);
}

TEST(link_copy, in_by_extended_query_that_the_server_refuses_midway) {
    check_script(extended("copy in") +
                     script{copy_data("bad"), copy_data("late"), copy_done(), sync()} +
                     extended("select 1"),
                 plain);
}

TEST(link_copy, in_by_extended_query_that_fails_at_once) {
    check_script(extended("fail 42501") + script{copy_data("late"), copy_done(), sync()} +
                     extended("select 1"),
                 plain);
}

TEST(link_copy, two_in_one_after_the_other) {
    check_script(extended("copy in") + script{copy_data("one"), copy_done(), sync()} +
                     extended("copy in") + script{copy_data("two"), copy_done(), sync()},
                 plain);
}

TEST(link_copy, the_next_batch_may_be_sent_before_the_copy_is_acknowledged) {
    check_script(
        {parse("", "copy in"), bind_to("", ""), execute(), copy_data("one"), copy_done(), sync(),
         parse("", "select 2"), bind_to("", ""), execute(), sync(), query("select 3")},
        plain);
}

TEST(link_copy, out_by_simple_query) {
    check_script({query("copy out 3"), query("copy out 0;select 1"), query("select 1")});
}

TEST(link_copy, out_by_extended_query) {
    check_script(extended("copy out 3") + extended("select 1"));
}

TEST(link_copy, rows_of_any_length_are_streamed) {
    pooled_world world(1);
    auto& client = world.add_client();
    const std::string row(300000, 'x');
    client.unsent = query("copy in") + copy_data(row) + copy_data(row) + copy_done();
    while (!client.unsent.empty()) {
        world.move_client(client, 50000);
        EXPECT_LT(client.rx.size(), 5U) << "a CopyData is not to be collected";
        world.settle_servers();
    }
    EXPECT_EQ(outline(client.got), "GCZ");
    EXPECT_EQ(world.database->committed.at(0).size(), 7 + 2 * row.size());
}

}  // namespace
}  // namespace sluice::test
