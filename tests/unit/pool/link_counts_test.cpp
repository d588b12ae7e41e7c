// Which statements are counted when a client's messages pass the links.
#include <gtest/gtest.h>

#include "pool/statement_counts.hpp"
#include "support/pg_messages.hpp"
#include "support/pooled_world.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

struct link_counts : testing::Test {
    pool::top_statements tops{100};
    pool::statement_counts counts{tops};
    std::unique_ptr<pooled_world> world = std::make_unique<pooled_world>(1);
    pooled_world::client_end* client = nullptr;

    void make(std::uint32_t max_statements = 200) {
        world = std::make_unique<pooled_world>(1, max_statements);
        client = &world->add_client();
        client->link.set_statement_counts(&counts, tops.scope_of("app", "alice"));
    }
    void SetUp() override { make(); }

    // The client's messages, answered and counted.
    void run(const std::string& messages, std::chrono::nanoseconds took = 100us) {
        client->unsent += messages;
        world->settle();
        client->link.count_statements(world->server(0).link.ended, took);
    }
    // "calls/errors/microseconds text", the most expensive first.
    std::vector<std::string> lines() {
        counts.flush(std::chrono::steady_clock::time_point{1000s});
        tops.read_texts();
        std::vector<std::string> out;
        for (const auto& one : tops.top(100)) {
            out.push_back(std::to_string(one.calls) + "/" + std::to_string(one.errors) + "/" +
                          std::to_string(one.total.count()) + " " + one.text);
        }
        return out;
    }
    using list = std::vector<std::string>;
};

TEST_F(link_counts, simple_queries) {
    run(query("select 1"));
    run(query("select 22"));
    EXPECT_EQ(lines(), (list{"2/0/200 select $1"}));
}

TEST_F(link_counts, a_failed_query) {
    run(query("fail 22012"));
    EXPECT_EQ(lines(), (list{"1/1/100 <unparsed>"}));
    run(query("select 1"), 1us);
    EXPECT_EQ(lines(), (list{"1/1/100 <unparsed>", "1/0/1 select $1"}));
}

TEST_F(link_counts, unnamed_statements) {
    run(parse("", "select 1 from t") + bind_to("", "") + execute() + sync());
    run(bind_to("", "") + execute() + sync());
    EXPECT_EQ(lines(), (list{"2/0/200 select $1 from t"}));
}

TEST_F(link_counts, named_statements) {
    run(parse("a", "select 1 from t") + parse("b", "select 2 from u") + sync(), 0us);
    EXPECT_EQ(lines(), list{});
    for (int i = 0; i < 3; ++i)
        run(bind_to("", "a") + execute() + sync());
    run(bind_to("", "b") + execute() + sync());
    EXPECT_EQ(lines(), (list{"3/0/300 select $1 from t", "1/0/100 select $1 from u"}));
}

TEST_F(link_counts, named_statements_whose_names_pass_unchanged) {
    make(0);
    run(parse("a", "select 1 from t") + bind_to("", "a") + execute() + sync());
    run(bind_to("", "a") + execute() + sync());
    EXPECT_EQ(lines(), (list{"2/0/200 select $1 from t"}));
}

TEST_F(link_counts, begin_in_a_batch_takes_none_of_its_time) {
    run(parse("", "begin") + bind_to("", "") + execute() + parse("", "select 1") + bind_to("", "") +
        execute() + sync());
    run(query("commit"), 7us);
    EXPECT_EQ(lines(), (list{"1/0/100 select $1", "1/0/7 commit", "1/0/0 begin"}));
}

TEST_F(link_counts, begin_alone_takes_its_own) {
    run(parse("", "begin") + bind_to("", "") + execute() + sync());
    EXPECT_EQ(lines(), (list{"1/0/100 begin"}));
}

TEST_F(link_counts, a_pipeline_shares_its_time) {
    std::string batch = parse("a", "select 1") + parse("b", "select 1, 2");
    for (int i = 0; i < 3; ++i)
        batch += bind_to("", "a") + execute();
    run(batch + bind_to("", "b") + execute() + sync(), 400us);
    EXPECT_EQ(lines(), (list{"3/0/300 select $1", "1/0/100 select $1, $2"}));
}

TEST_F(link_counts, an_error_in_a_batch_is_the_statements_that_failed) {
    run(parse("", "select 1") + bind_to("", "") + execute() + parse("", "fail 22012") +
        bind_to("", "") + execute() + parse("", "select 1, 2") + bind_to("", "") + execute() +
        sync());
    EXPECT_EQ(lines().size(), 2U);
    const auto all = lines();
    EXPECT_NE(std::find(all.begin(), all.end(), "1/0/50 select $1"), all.end());
    EXPECT_NE(std::find(all.begin(), all.end(), "1/1/50 <unparsed>"), all.end());
    run(query("select 1"), 0us);  // it is over
    EXPECT_EQ(lines()[0].substr(0, 4), "2/0/");
}

TEST_F(link_counts, a_statement_that_does_not_parse_counts_once_executed) {
    run(parse("x", "syntax") + bind_to("", "x") + execute() + sync());
    EXPECT_EQ(lines(), (list{"1/1/100 <unparsed>"}));
}

TEST_F(link_counts, portals_are_told_apart_as_far_as_is_known) {
    run(query("begin"), 0us);
    run(parse("a", "select 9") + bind_to("p", "a") + execute("p", 2) + sync());
    run(execute("p", 2) + sync());
    run(parse("", "select 1, 2") + bind_to("", "") + execute("") + sync());
    run(execute("p", 2) + sync(), 5us);
    EXPECT_EQ(lines(),
              (list{"2/0/200 select $1", "1/0/100 select $1, $2", "1/0/5 <other>", "1/0/0 begin"}));
}

TEST_F(link_counts, a_long_pipeline_needs_bounded_memory) {
    std::string batch;
    for (int i = 0; i < 300; ++i)
        batch += parse("", "select c" + std::to_string(i)) + bind_to("", "") + execute();
    run(batch + sync());
    std::uint64_t calls = 0;
    for (const auto& one : (lines(), tops.top(1000)))
        calls += one.calls;
    EXPECT_EQ(calls, 300U);
}

TEST_F(link_counts, what_sluice_asks_itself_is_not_counted) {
    run(query("set TimeZone UTC") + query("select 1"));
    const auto all = lines();
    ASSERT_EQ(all.size(), 2U);
}

TEST_F(link_counts, off_counts_nothing) {
    tops.set_limit(0);
    run(query("select 1") + parse("", "select 1") + bind_to("", "") + execute() + sync());
    EXPECT_EQ(lines(), list{});
    EXPECT_TRUE(world->server(0).link.ended.empty());
}

TEST_F(link_counts, a_query_too_long_to_read) {
    run(query("select 1, '" + std::string(40000, 'x') + "'"));
    EXPECT_EQ(lines(), (list{"1/0/100 select <unparsed>"}));
}

}  // namespace
}  // namespace sluice::test
