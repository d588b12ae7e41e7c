// What travels with a client: settings; and what comes at any time: notices, notifications,
// parameter changes, the end of the connection.
#include <gtest/gtest.h>

#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

TEST(link_settings, a_setting_follows_its_client) {
    pooled_world world(1);
    auto& a = world.add_client();
    auto& b = world.add_client();
    for (int round = 0; round < 3; ++round) {
        a.unsent = query("set application_name a") + query("show application_name");
        b.unsent = query("set application_name b");
        world.settle();
        b.unsent = query("show application_name");
        world.settle();
        a.unsent = query("show application_name");
        world.settle();
        EXPECT_EQ(readable(a.got).find("D b"), std::string::npos);
        EXPECT_EQ(readable(b.got).find("D a"), std::string::npos);
        EXPECT_EQ(world.server(0).backend.setting("application_name"), "a");
    }
    auto& third = world.add_client();
    third.unsent = query("show application_name");
    world.settle();
    EXPECT_EQ(third.got, run_directly(query("show application_name")).got);
}

TEST(link_settings, startup_settings_are_applied_in_front_of_the_first_query) {
    check_script({query("show application_name"), query("show TimeZone"), query("select 1")},
                 {.startup = {{"application_name", "it's \\ me"}, {"TimeZone", "Asia/Tokyo"}}});
}

TEST(link_settings, a_setting_that_may_fail_is_waited_for) {
    pooled_world world(1);
    auto& client = world.add_client({{"pg_unknown.to_us", "x"}});
    client.unsent = query("select 1");
    world.move_client(client);
    EXPECT_TRUE(client.settings_wait);
    EXPECT_EQ(client.rx, query("select 1"));
    world.settle();
    EXPECT_EQ(outline(client.got), "TDCZ");
}

TEST(link_settings, a_setting_that_fails_ends_the_client_and_not_the_server) {
    pooled_world world(1);
    auto& client = world.add_client({{"pg_my.own", "bad"}});
    client.unsent = query("select 1");
    world.settle();
    EXPECT_TRUE(client.closed);
    EXPECT_EQ(client.why, "settings refused");
    EXPECT_EQ(client.got, "");
    EXPECT_TRUE(world.all_idle());
    auto& next = world.add_client();
    next.unsent = query("select 1");
    world.settle();
    EXPECT_EQ(outline(next.got), "TDCZ");
}

TEST(link_settings, values_cannot_end_their_literal) {
    const std::string value = "x\\',false);effect injected;SELECT ('";
    pooled_world world(1);
    auto& client = world.add_client({{"application_name", value}});
    client.unsent = query("show application_name");
    world.settle();
    EXPECT_EQ(world.server(0).backend.setting("application_name"), value);
    EXPECT_TRUE(world.database->committed.empty());
}

TEST(link_settings, a_rolled_back_set_is_gone) {
    check_script({query("begin"), query("set application_name x"), query("rollback"),
                  query("show application_name"), query("select 1")},
                 {.same_parameters = false});
}

TEST(link_settings, set_in_a_transaction_is_kept_after_commit) {
    check_script({query("begin"), query("set application_name x"), query("commit"),
                  query("show application_name")},
                 {.same_parameters = false});
}

TEST(link_settings, discard_all_goes_back_to_the_start) {
    check_script(
        {query("set application_name x"), query("discard all"), query("show application_name")},
        {.startup = {{"TimeZone", "CET"}}, .same_parameters = false});
}

TEST(link_settings, what_is_not_reported_does_not_leak) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = query("set work_mem 1GB") + query("listen") + query("declare");
    world.settle();
    EXPECT_TRUE(world.all_idle());
    EXPECT_EQ(world.server(0).backend.setting("work_mem"), "4MB");
}

TEST(link_async, notices_and_notifications_pass_at_their_place) {
    check_script({query("note"), query("begin"), query("notify;note;select 1"), query("commit"),
                  parse("", "note"), bind_to("", ""), execute(), sync()});
}

// One server connection with nobody, or one client, and bytes that a test makes up.
struct one_link {
    one_link() : server(table, {{"TimeZone", "UTC"}}), client(table, statements, 1) {
        client.set_max_statements(200);
        client.reported = table.with(table.none(), {{"TimeZone", "UTC"}});
    }
    std::string says(std::string_view bytes, bool held = true) {
        protocol::outgoing to_client;
        protocol::outgoing to_server;
        taken = server.receive(protocol::as_bytes(bytes), held ? &client : nullptr, to_client,
                               to_server);
        answer = flat(to_server);
        return flat(to_client);
    }
    std::string asks(std::string_view bytes) {
        protocol::outgoing to_client;
        protocol::outgoing to_server;
        taken = client.receive(protocol::as_bytes(bytes), &server, to_server, to_client);
        answer = flat(to_client);
        return flat(to_server);
    }

    pool::parameter_table table;
    pool::statement_table statements;
    pool::server_link server;
    pool::client_link client;
    std::size_t taken = 0;
    std::string answer;
};

// A text that was just read is not read again, unless it might be read otherwise now.
TEST(link_hints, a_text_that_comes_again_is_read_by_the_words_of_now) {
    one_link link;
    pool::session_knowledge known;
    link.server.set_knowledge(&known);
    const auto batch = parse("", "select keep()") + bind_to("", "") + execute();
    link.asks(batch + batch);
    EXPECT_EQ(link.server.hints, 0U);
    known.learn(
        known.changes(),
        {std::make_shared<const protocol::hint_words>(std::vector<std::string>{"keep"}), {}});
    link.asks(batch);
    EXPECT_NE(link.server.hints & protocol::hint_named, 0U);
    link.server.hints = 0;
    link.asks(batch);
    EXPECT_NE(link.server.hints & protocol::hint_named, 0U) << "each time that it runs";
}

TEST(link_hints, a_text_that_comes_again_is_read_by_the_rules_of_now) {
    one_link link;
    const auto batch = parse("", "select '\\', currval('s') --'") + bind_to("", "") + execute();
    const auto of_strings = [&](std::string_view value) {
        link.client.reported =
            link.table.with(link.table.none(), "standard_conforming_strings", value);
        link.server.hints = 0;
        link.asks(batch);
        return link.server.hints & protocol::hint_reads_sequence;
    };
    EXPECT_EQ(of_strings("off"), 0U);
    EXPECT_NE(of_strings("on"), 0U);
    EXPECT_EQ(of_strings("off"), 0U);
}

TEST(link_hints, a_text_that_comes_again_is_not_what_was_there_before) {
    const auto select = [](std::string_view text) {
        return parse("", text) + bind_to("", "") + execute();
    };
    check_script(
        {select("select 1") + select("select 2") + select("select 2") + sync(),
         select("select 2") + select("syntax") + select("select 3") + select("select 3") + sync(),
         bind_to("", ""), execute(), sync(), parse("", "select 4"), parse("", "syntax"),
         parse("", "select 4"), sync(), bind_to("", ""), execute(), sync()});
}

TEST(link_async, a_parameter_change_between_clients_is_told_to_the_next) {
    one_link link;
    EXPECT_EQ(link.says(parameter("TimeZone", "CET"), false), "");
    protocol::outgoing to_server;
    protocol::outgoing to_client;
    EXPECT_TRUE(link.server.apply_settings(link.client, to_server, to_client));
    EXPECT_EQ(flat(to_client), parameter("TimeZone", "CET"));
    EXPECT_EQ(flat(to_server), "");
}

TEST(link_async, a_parameter_change_within_rows_passes) {
    one_link link;
    link.asks(query("select 1"));
    const auto said = frame('T') + frame('D') + parameter("TimeZone", "CET") + frame('D') +
                      complete("SELECT 2") + ready();
    EXPECT_EQ(link.says(said), said);
}

TEST(link_async, notifications_between_clients_reach_nobody) {
    one_link link;
    EXPECT_EQ(link.says(frame('A', {"\0\0\0\7c\0p\0", 8}) + notice("x"), false), "");
    EXPECT_EQ(link.server.health(), pool::link_health::fine);
}

TEST(link_async, an_error_between_queries_is_the_end) {
    const auto farewell = error("57P01", "terminating connection", "FATAL");
    for (const bool serves_session : {false, true}) {  // otherwise it does not concern the client
        one_link link;
        link.server.serves_session = serves_session;
        EXPECT_EQ(link.says(farewell), serves_session ? farewell : "");
        EXPECT_EQ(link.server.health(), pool::link_health::dying);
        EXPECT_EQ(link.server.last_error(), farewell);
    }
}

TEST(link_async, a_fatal_error_in_a_query_reaches_the_client) {
    one_link link;
    link.asks(query("select 1"));
    const auto farewell = error("57P01", "terminating connection", "FATAL");
    EXPECT_EQ(link.says(frame('T') + farewell), frame('T') + farewell);
    EXPECT_EQ(link.server.health(), pool::link_health::dying);
}

TEST(link_async, what_the_protocol_forbids_is_a_desync) {
    for (const auto& wrong :
         {ready(), complete("SELECT 1"), frame('T'), frame('D'), frame('1'), frame('2'), frame('3'),
          frame('n'), frame('s'), frame('G'), frame('W'), frame('R'), frame('K'), frame('v'),
          std::string("Z\0\0\0\3", 5), std::string("D\xff\xff\xff\xff", 5)}) {
        one_link link;
        EXPECT_EQ(link.says(wrong), "") << wrong[0];
        EXPECT_EQ(link.server.health(), pool::link_health::desynced) << wrong[0];
    }
    one_link link;
    link.asks(query("select 1"));
    link.says(frame('Z', "X"));
    EXPECT_EQ(link.server.health(), pool::link_health::desynced);
}

TEST(link_async, an_error_without_sqlstate_is_still_an_error) {
    one_link link;
    link.asks(query("select 1"));
    const auto bare = frame('E', {"\0", 1});
    EXPECT_EQ(link.says(bare + frame('E') + ready()), bare + frame('E') + ready());
    EXPECT_TRUE(link.server.idle());
}

TEST(link_async, long_rows_are_streamed) {
    one_link link;
    link.asks(query("select 1"));
    std::string row(1 << 20, 'x');
    const auto whole = frame('D', row);
    EXPECT_EQ(link.says(whole.substr(0, 5)).size(), 5U);
    EXPECT_TRUE(link.server.in_frame());
    EXPECT_EQ(link.says(whole.substr(5, 1000)).size(), 1000U);
    EXPECT_EQ(link.taken, 1000U);
    EXPECT_EQ(link.says(whole.substr(1005)).size(), whole.size() - 1005);
    EXPECT_FALSE(link.server.in_frame());
}

TEST(link_refusal, the_rest_of_a_refused_batch_is_skipped) {
    pooled_world world(1);
    auto& holder = world.add_client();
    holder.unsent = query("begin");
    world.settle();
    auto& client = world.add_client();
    client.unsent = parse("", "effect a") + bind_to("", "") + execute() + sync();
    world.settle();
    ASSERT_TRUE(client.waiting);
    protocol::outgoing to_client;
    client.link.refuse_batch({.sqlstate = "53300", .message = "query_wait_timeout"}, to_client);
    EXPECT_EQ(outline(flat(to_client)), "E(53300)");
    to_client.clear();
    protocol::outgoing to_server;
    const auto bytes = client.rx + query("select 1");
    const auto taken =
        client.link.receive(protocol::as_bytes(bytes), nullptr, to_server, to_client);
    EXPECT_EQ(outline(flat(to_client)), "Z");
    EXPECT_EQ(bytes.substr(taken), query("select 1"));
    EXPECT_EQ(client.link.want(), pool::client_want::server);
}

TEST(link_refusal, a_refused_simple_query_is_skipped_alone) {
    one_link link;
    protocol::outgoing to_client;
    protocol::outgoing to_server;
    link.client.refuse_batch({.sqlstate = "53300", .message = "no"}, to_client);
    const auto bytes = query("effect a") + query("select 1");
    const auto taken =
        link.client.receive(protocol::as_bytes(bytes), nullptr, to_server, to_client);
    EXPECT_EQ(outline(flat(to_client)), "E(53300)Z");
    EXPECT_EQ(bytes.substr(taken), query("select 1"));
}

TEST(link_refusal, broken_messages_are_rejected_with_a_sqlstate) {
    for (const auto& wrong : {std::string("Q\0\0\0\3", 5), std::string("Q\xff\xff\xff\xff", 5),
                              frame('y'), frame('p'), frame('B', "no end"), frame('P', {"a\0b", 3}),
                              frame('D'), frame('C', "S"), std::string("E\0\2\0\0x", 6)}) {
        one_link link;
        link.asks(wrong);
        EXPECT_EQ(link.client.want(), pool::client_want::rejection) << wrong[0];
        EXPECT_EQ(link.client.rejection().sqlstate, "08P01") << wrong[0];
    }
}

TEST(link_refusal, no_message_passes_while_held) {
    one_link link;
    link.client.hold(true);
    EXPECT_EQ(link.asks(query("select 1")), "");
    EXPECT_EQ(link.client.want(), pool::client_want::patience);
    link.client.hold(false);
    EXPECT_EQ(link.asks(query("select 1")), query("select 1"));
}

TEST(link_refusal, too_many_owed_replies_make_the_client_wait) {
    one_link link;
    std::string many;
    for (int i = 0; i < 20000; ++i)
        many += sync();
    const auto sent = link.asks(many);
    EXPECT_EQ(link.client.want(), pool::client_want::patience);
    EXPECT_LT(link.server.owed.size(), 16500U);
    std::string answers;
    for (std::size_t i = 0; i < sent.size() / 5; ++i)
        answers += ready();
    EXPECT_EQ(link.says(answers), answers);
    EXPECT_TRUE(link.server.idle());
    EXPECT_EQ(link.asks(many.substr(sent.size())), many.substr(sent.size()));
}

TEST(link_cancel, a_query_timeout_changes_the_text_of_the_error) {
    one_link link;
    link.asks(query("select 1"));
    link.server.cancelled = pool::cancel_reason::query_timeout;
    const auto got = link.says(error("57014", "canceling statement due to user request") + ready());
    EXPECT_EQ(outline(got), "E(57014)Z");
    EXPECT_NE(got.find("query_timeout"), got.npos);
    EXPECT_EQ(got.find("user request"), got.npos);
}

TEST(link_abandon, a_transaction_is_rolled_back) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = query("begin;effect a");
    world.settle();
    world.vanish(client);
    world.settle();
    EXPECT_TRUE(world.all_idle());
    EXPECT_EQ(world.server(0).backend.status(), 'I');
    EXPECT_TRUE(world.database->committed.empty());
}

TEST(link_abandon, a_batch_without_sync_is_not_committed) {
    pooled_world world(1);
    auto& client = world.add_client();
    client.unsent = parse("", "effect a") + bind_to("", "") + execute() + flush();
    world.settle();
    world.vanish(client);
    world.settle();
    EXPECT_TRUE(world.all_idle());
    EXPECT_TRUE(world.database->committed.empty());
}

TEST(link_abandon, session_reset_runs_the_reset_query) {
    one_link link;
    protocol::outgoing to_server;
    link.server.reset_session("DISCARD ALL", to_server);
    EXPECT_EQ(flat(to_server), query("DISCARD ALL"));
    EXPECT_FALSE(link.server.idle());
    EXPECT_EQ(link.says(complete("DISCARD ALL") + ready(), false), "");
    EXPECT_TRUE(link.server.idle());
}

TEST(link_abandon, a_clean_up_that_fails_is_a_desync) {
    one_link link;
    protocol::outgoing to_server;
    link.server.reset_session("DISCARD ALL", to_server);
    link.says(error("25001", "DISCARD ALL cannot run inside a transaction block") + ready(), false);
    EXPECT_EQ(link.server.health(), pool::link_health::desynced);
}

}  // namespace
}  // namespace sluice::test
