#include "pool/listen_hub.hpp"

#include <gtest/gtest.h>

#include "support/pg_messages.hpp"

namespace sluice::pool {
namespace {

using clock_time = listen_hub::clock_time;
using names = std::vector<std::string>;
using ids = std::vector<std::uint64_t>;

constexpr clock_time later = clock_time() + std::chrono::seconds(10);
const login_failure gone{"08006", "gone", "", "", false};

std::string listen(std::string_view channel) {
    return "LISTEN \"" + std::string(channel) + "\";";
}
std::string unlisten(std::string_view channel) {
    return "UNLISTEN \"" + std::string(channel) + "\";";
}
const std::string listen_marker = listen("sluice_marker");

std::string notification(std::string_view channel, std::string_view payload) {
    std::string out;
    protocol::frame_writer(out, 'A').u32(7).text(channel).text(payload).finish();
    return out;
}
std::string ready() {
    std::string out;
    protocol::append_ready(out, 'I');
    return out;
}
std::string confirmation() {
    return test::frame('C', {"LISTEN\0", 7}) + ready();
}
std::string refusal(std::string_view sqlstate, std::string_view severity = "ERROR") {
    std::string out;
    protocol::append_error(out, {severity, sqlstate, "no", "", ""});
    return severity == "ERROR" ? out + ready() : out;
}

struct listen_hub_test : testing::Test {
    listen_hub hub;

    // What the hub sends, as SQL; nullopt: nothing.
    std::optional<std::string> sent() {
        const auto bytes = hub.take_output();
        if (bytes.empty()) return std::nullopt;
        EXPECT_EQ(bytes[0], 'Q');
        EXPECT_EQ(bytes, test::query(bytes.substr(5, bytes.size() - 6)));
        return bytes.substr(5, bytes.size() - 6);
    }
    void feed(const std::string& bytes) {
        EXPECT_EQ(hub.receive(protocol::as_bytes(bytes)), bytes.size());
    }
    // The events as text: "1,2<payload", "missed 1,2", "done 5", "failed 5 25006".
    std::vector<std::string> events() {
        std::vector<std::string> out;
        for (const auto& event : hub.take_events()) {
            auto to = event.to;
            std::sort(to.begin(), to.end());
            std::string list;
            for (const auto id : to)
                list += (list.empty() ? "" : ",") + std::to_string(id);
            if (event.what == listen_event::kind::notification) {
                protocol::reader in(protocol::as_bytes(*event.frame).subspan(9));
                in.text();
                out.push_back(list + "<" + std::string(in.text()));
            } else if (event.what == listen_event::kind::missed) {
                out.push_back("missed " + list);
            } else if (event.error.has_value()) {
                out.push_back("failed " + std::to_string(event.request) + " " +
                              event.error->sqlstate);
            } else {
                out.push_back("done " + std::to_string(event.request));
            }
        }
        return out;
    }
    void set(std::uint64_t who, names channels, std::uint64_t request, std::string marker = "") {
        hub.set_channels(who, channels, marker, request, later);
    }
    // Connected, and listener 1 at "a".
    void start() {
        set(1, {"a"}, 100);
        hub.connected();
        EXPECT_EQ(sent(), listen_marker + listen("a"));
        feed(confirmation());
        EXPECT_EQ(events(), names{"done 100"});
    }
};

TEST_F(listen_hub_test, first_listener_is_done_when_the_server_has_confirmed) {
    set(1, {"a", "b"}, 5);
    EXPECT_TRUE(hub.wanted());
    EXPECT_EQ(sent(), std::nullopt);
    hub.connected();
    EXPECT_EQ(sent(), listen_marker + listen("a") + listen("b"));
    EXPECT_EQ(events(), names{});
    EXPECT_FALSE(hub.restored());
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 5"});
    EXPECT_TRUE(hub.restored());
    feed(notification("a", "x") + notification("b", "y") + notification("c", "z"));
    EXPECT_EQ(events(), (names{"1<x", "1<y"}));
}

TEST_F(listen_hub_test, names_are_quoted) {
    set(1, {"a\"b;"}, 5);
    hub.connected();
    EXPECT_EQ(sent(), listen_marker + "LISTEN \"a\"\"b;\";");
}

TEST_F(listen_hub_test, second_listener_of_a_channel_needs_no_server) {
    start();
    set(2, {"a"}, 6);
    EXPECT_EQ(sent(), std::nullopt);
    EXPECT_EQ(events(), names{"done 6"});
    feed(notification("a", "x"));
    EXPECT_EQ(events(), names{"1,2<x"});
}

TEST_F(listen_hub_test, a_frame_for_many_is_one_frame) {
    start();
    for (std::uint64_t i = 2; i < 10000; ++i)
        set(i, {"a"}, i);
    events();
    const auto bytes = notification("a", "x");
    feed(bytes);
    const auto got = hub.take_events();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(*got[0].frame, bytes);
    EXPECT_EQ(got[0].to.size(), 9999U);
}

TEST_F(listen_hub_test, last_listener_of_a_channel_unlistens) {
    start();
    set(2, {"a"}, 6);
    hub.forget(1);
    EXPECT_EQ(sent(), std::nullopt);
    hub.forget(2);
    EXPECT_EQ(sent(), unlisten("a"));
    EXPECT_FALSE(hub.wanted());
    feed(notification("a", "x"));
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 6"});
    EXPECT_EQ(sent(), std::nullopt);
}

TEST_F(listen_hub_test, an_empty_set_is_done_at_once_and_ends_the_listener) {
    start();
    set(1, {}, 6);
    EXPECT_EQ(events(), names{"done 6"});
    EXPECT_EQ(sent(), unlisten("a"));
    EXPECT_EQ(hub.listeners(), 0U);
}

TEST_F(listen_hub_test, a_channel_that_is_being_left_is_listened_to_again) {
    start();
    set(1, {}, 6);
    EXPECT_EQ(sent(), unlisten("a"));
    set(2, {"a"}, 7);
    EXPECT_EQ(events(), names{"done 6"});
    feed(confirmation());
    EXPECT_EQ(sent(), listen("a"));
    EXPECT_EQ(events(), names{});
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 7"});
}

TEST_F(listen_hub_test, changes_during_a_query_go_together_with_the_next) {
    start();
    set(2, {"b"}, 6);
    EXPECT_EQ(sent(), listen("b"));
    set(3, {"c"}, 7);
    set(4, {"d"}, 8);
    set(5, {"e"}, 9);
    hub.forget(5);
    hub.catch_up(10, later);
    EXPECT_EQ(sent(), std::nullopt);
    feed(confirmation());
    EXPECT_EQ(sent(), listen("c") + listen("d"));
    EXPECT_EQ(events(), (names{"failed 9 57014", "done 6"}));
    feed(notification("a", "x") + confirmation());
    EXPECT_EQ(events(), (names{"1<x", "done 7", "done 8", "done 10"}));
}

TEST_F(listen_hub_test, many_channels_go_in_several_queries) {
    start();
    names many;
    for (int i = 1000; i < 2500; ++i)
        many.push_back("c" + std::to_string(i));
    set(2, many, 6);
    const auto first = sent();
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(std::count(first->begin(), first->end(), ';'), 1000);
    feed(confirmation());
    EXPECT_EQ(events(), names{});
    const auto second = sent();
    ASSERT_TRUE(second.has_value());
    EXPECT_EQ(std::count(second->begin(), second->end(), ';'), 500);
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 6"});
}

TEST_F(listen_hub_test, marker_divides_what_is_dropped_from_what_is_delivered) {
    start();
    set(2, {"a", "b"}, 6, "m2");
    EXPECT_EQ(sent(), listen("b"));
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 6"});
    feed(notification("a", "x") + notification("b", "y"));
    EXPECT_EQ(events(), names{"1<x"});
    feed(notification("sluice_marker", "m3") + notification("b", "z"));
    EXPECT_EQ(events(), names{});
    feed(notification("sluice_marker", "m2") + notification("b", "q") + notification("a", "r"));
    EXPECT_EQ(events(), (names{"2<q", "1,2<r"}));
}

TEST_F(listen_hub_test, marker_withholds_only_channels_that_are_new) {
    start();
    set(1, {"a", "b"}, 6, "m");
    feed(confirmation());
    feed(notification("b", "x") + notification("a", "y"));
    EXPECT_EQ(events(), (names{"done 6", "1<y"}));
    set(1, {"a", "b"}, 7);  // without a marker: whatever there was is void
    feed(notification("b", "z"));
    EXPECT_EQ(events(), (names{"done 7", "1<z"}));
}

TEST_F(listen_hub_test, marker_channel_can_be_listened_to_like_any) {
    start();
    set(1, {"a", "sluice_marker"}, 6);
    EXPECT_EQ(sent(), std::nullopt);
    feed(notification("sluice_marker", "x"));
    EXPECT_EQ(events(), (names{"done 6", "1<x"}));
    set(1, {}, 7);
    EXPECT_EQ(sent(), unlisten("a"));
}

TEST_F(listen_hub_test, catch_up_is_done_after_what_was_committed_before) {
    start();
    hub.catch_up(6, later);
    EXPECT_EQ(sent(), "");
    hub.catch_up(7, later);  // the query that is under way may be too early for it
    hub.catch_up(8, later);
    feed(notification("a", "x") + test::frame('I') + ready());
    EXPECT_EQ(events(), (names{"1<x", "done 6"}));
    EXPECT_EQ(sent(), "");
    feed(test::frame('I') + ready());
    EXPECT_EQ(events(), (names{"done 7", "done 8"}));
    EXPECT_EQ(sent(), std::nullopt);
}

TEST_F(listen_hub_test, catch_up_of_nobody_is_done_at_once) {
    hub.catch_up(6, later);
    EXPECT_EQ(events(), names{"done 6"});
    set(1, {"a"}, 7);
    hub.catch_up(8, later);
    hub.forget(1);
    EXPECT_EQ(events(), (names{"failed 7 57014", "done 8"}));
    EXPECT_EQ(hub.pending(), 0U);
}

TEST_F(listen_hub_test, after_a_loss_everything_is_listened_to_again_and_told) {
    start();
    set(2, {"b"}, 6);
    feed(confirmation());
    sent();
    set(3, {"c"}, 7, "m");
    hub.catch_up(8, later);
    EXPECT_EQ(events(), names{"done 6"});
    hub.lost();
    EXPECT_FALSE(hub.awaiting_reply());
    set(4, {"a"}, 9);
    EXPECT_EQ(events(), names{});
    sent();
    hub.connected();
    EXPECT_EQ(sent(), listen_marker + listen("a") + listen("b") + listen("c"));
    EXPECT_FALSE(hub.restored());
    feed(confirmation());
    EXPECT_TRUE(hub.restored());
    const auto got = events();
    ASSERT_EQ(got.size(), 4U);
    EXPECT_EQ(got[0], "missed 1,2");
    EXPECT_EQ(got[3], "done 8");
    feed(notification("c", "x") + notification("sluice_marker", "m") + notification("c", "y"));
    EXPECT_EQ(events(), names{"3<y"});  // its marker was still to come
}

TEST_F(listen_hub_test, a_loss_makes_markers_void) {
    start();
    set(2, {"a"}, 6, "m");
    feed(notification("a", "x"));
    EXPECT_EQ(events(), (names{"done 6", "1<x"}));
    hub.lost();
    hub.connected();
    feed(confirmation());
    feed(notification("a", "y"));
    EXPECT_EQ(events(), (names{"missed 1,2", "1,2<y"}));
}

TEST_F(listen_hub_test, many_channels_are_restored_before_anybody_has_caught_up) {
    names many;
    for (int i = 1000; i < 3000; ++i)
        many.push_back("c" + std::to_string(i));
    set(1, many, 5);
    hub.connected();
    for (int i = 0; i < 3; ++i)
        feed(confirmation());
    EXPECT_EQ(events(), names{"done 5"});
    hub.catch_up(6, later);
    hub.lost();
    hub.connected();
    feed(confirmation());
    feed(confirmation());
    EXPECT_EQ(events(), names{});
    feed(confirmation());
    EXPECT_EQ(events(), (names{"missed 1", "done 6"}));
}

TEST_F(listen_hub_test, requests_wait_for_a_connection_until_their_deadline) {
    start();
    hub.lost();
    hub.set_channels(1, {"a", "b"}, "", 6, later);
    hub.set_channels(2, {"b"}, "", 7, later + std::chrono::seconds(1));
    hub.catch_up(8, later);
    hub.expire(later - std::chrono::milliseconds(1), gone);
    EXPECT_EQ(events(), names{});
    hub.expire(later, gone);
    EXPECT_EQ(events(), (names{"failed 6 08006", "failed 8 08006"}));
    EXPECT_EQ(hub.pending(), 1U);
    hub.refuse(gone);
    EXPECT_EQ(events(), names{"failed 7 08006"});
    sent();
    hub.connected();  // the channel of before is kept, the new one is not
    EXPECT_EQ(sent(), listen_marker + listen("a"));
}

TEST_F(listen_hub_test, a_request_that_fails_late_leaves_nothing_behind) {
    start();
    set(2, {"b"}, 6);
    EXPECT_EQ(sent(), listen("b"));
    hub.expire(later, gone);
    EXPECT_EQ(events(), names{"failed 6 08006"});
    feed(confirmation());
    EXPECT_EQ(sent(), unlisten("b"));
    feed(confirmation());
    EXPECT_EQ(events(), names{});
}

TEST_F(listen_hub_test, a_server_that_reads_only_refuses_all_at_once) {
    set(1, {"a"}, 5);
    set(2, {"b"}, 6);
    hub.connected();
    feed(refusal("25006"));
    EXPECT_EQ(events(), (names{"failed 5 25006", "failed 6 25006"}));
    EXPECT_FALSE(hub.wanted());
    EXPECT_FALSE(hub.close_wanted().empty());
    hub.lost();
    EXPECT_TRUE(hub.close_wanted().empty());
}

TEST_F(listen_hub_test, a_name_that_is_refused_fails_its_own_request_only) {
    start();
    set(2, {"busy"}, 6);
    sent();
    set(3, {"bad", "good"}, 7);
    set(4, {"fine"}, 8);
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 6"});
    EXPECT_EQ(sent(), listen("bad") + listen("good") + listen("fine"));
    feed(refusal("22021"));
    EXPECT_EQ(events(), names{});
    EXPECT_EQ(sent(), listen("bad"));
    feed(refusal("22021"));
    EXPECT_EQ(events(), names{"failed 7 22021"});
    EXPECT_EQ(sent(), listen("fine"));  // the good one of a request that failed is nobody's
    feed(confirmation());
    EXPECT_EQ(events(), names{"done 8"});
    EXPECT_EQ(sent(), std::nullopt);
    EXPECT_TRUE(hub.close_wanted().empty());
}

TEST_F(listen_hub_test, leaving_that_is_refused_together_with_another_is_no_leaving) {
    start();
    set(2, {"b"}, 6);
    set(3, {"bad"}, 7);
    hub.forget(1);
    sent();
    feed(confirmation());
    EXPECT_EQ(sent(), listen("bad") + unlisten("a"));
    set(4, {"a"}, 8);
    EXPECT_EQ(events(), names{"done 6"});
    feed(refusal("22021"));
    EXPECT_EQ(events(), names{"done 8"});
    EXPECT_EQ(sent(), listen("bad"));
}

TEST_F(listen_hub_test, nobody_is_done_before_markers_are_heard) {
    set(1, {"a"}, 5);
    set(2, {"bad"}, 6);
    hub.connected();
    sent();
    set(3, {"c"}, 7);
    feed(refusal("22021"));
    EXPECT_EQ(sent(), listen_marker);
    EXPECT_EQ(events(), names{});
}

TEST_F(listen_hub_test, who_listened_before_does_not_give_up_when_refused) {
    start();
    hub.lost();
    hub.connected();
    feed(refusal("25006"));
    EXPECT_FALSE(hub.close_wanted().empty());
    EXPECT_EQ(events(), names{});
    hub.lost();
    sent();
    hub.connected();
    EXPECT_EQ(sent(), listen_marker + listen("a"));
    feed(confirmation());
    EXPECT_EQ(events(), names{"missed 1"});
}

TEST_F(listen_hub_test, a_later_request_takes_an_earlier_one_over) {
    start();
    set(2, {"b"}, 6);
    set(2, {"c"}, 7);
    feed(confirmation());
    EXPECT_EQ(events(), names{});
    feed(confirmation());
    EXPECT_EQ(events(), (names{"done 6", "done 7"}));
    feed(notification("b", "x") + notification("c", "y"));
    EXPECT_EQ(events(), names{"2<y"});
}

TEST_F(listen_hub_test, other_messages_of_the_server_are_passed_over) {
    start();
    std::string notice;
    protocol::append_notice(notice, {"NOTICE", "00000", "hello", "", ""});
    std::string parameter;
    protocol::append_parameter_status(parameter, "TimeZone", "UTC");
    feed(notice + parameter);
    EXPECT_TRUE(hub.close_wanted().empty());
}

TEST_F(listen_hub_test, what_the_protocol_forbids_closes_the_connection) {
    std::string in_transaction;
    protocol::append_ready(in_transaction, 'T');
    const std::string broken[] = {
        test::frame('T', "x"),
        in_transaction,
        ready(),
        test::frame('I'),
        refusal("42601"),
        std::string("A\0\0\0\3", 5),
        test::frame('A', "x"),
        test::frame('A', {"\0\0\0\1a\0b\0c", 9}),
        std::string("N\x3f\0\0\0", 5),
    };
    for (const auto& bytes : broken) {
        listen_hub one;
        one.set_channels(1, {"a"}, "", 5, later);
        one.connected();
        const auto ok = confirmation();
        ASSERT_EQ(one.receive(protocol::as_bytes(ok)), ok.size());
        static_cast<void>(one.receive(protocol::as_bytes(bytes)));
        EXPECT_TRUE(one.desynced()) << bytes;
        EXPECT_FALSE(one.close_wanted().empty());
        EXPECT_EQ(one.receive(protocol::as_bytes(ok)), 0U);
        one.lost();
        EXPECT_FALSE(one.desynced());
    }
}

TEST_F(listen_hub_test, a_server_that_ends_the_connection_is_no_desync) {
    start();
    feed(refusal("57P01", "FATAL"));
    EXPECT_FALSE(hub.close_wanted().empty());
    EXPECT_FALSE(hub.desynced());
    set(2, {"b"}, 6);
    EXPECT_EQ(sent(), std::nullopt);
}

TEST_F(listen_hub_test, every_cut_of_the_stream_gives_the_same) {
    const auto stream = confirmation() + notification("a", "x") + refusal("25006") +
                        notification("sluice_marker", "m") + notification("a", "y") +
                        test::frame('I') + ready();
    const auto run = [&](std::size_t cut) {
        listen_hub one;
        std::string out;
        std::string rest;
        const auto take = [&](std::string_view part) {
            rest += part;
            rest.erase(0, one.receive(protocol::as_bytes(rest)));
            out += one.take_output();
            for (const auto& event : one.take_events()) {
                out += std::to_string(static_cast<int>(event.what)) + ":" +
                       std::to_string(event.request) + (event.error ? "!" : "") +
                       (event.frame ? *event.frame : "");
                for (const auto id : event.to)
                    out += "," + std::to_string(id);
            }
        };
        one.set_channels(1, {"a"}, "", 5, later);
        one.set_channels(2, {"a"}, "m", 6, later);
        one.connected();
        one.set_channels(3, {"b"}, "", 7, later);
        one.catch_up(8, later);
        take(std::string_view(stream).substr(0, cut));
        take(std::string_view(stream).substr(cut));
        return out;
    };
    const auto whole = run(0);
    EXPECT_NE(whole.find("2:7!"), std::string::npos);
    for (std::size_t cut = 1; cut <= stream.size(); ++cut)
        EXPECT_EQ(run(cut), whole) << cut;
}

}  // namespace
}  // namespace sluice::pool
