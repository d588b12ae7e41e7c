#include "protocol/pg_startup.hpp"

#include <gtest/gtest.h>

#include <random>

namespace sluice::protocol {
namespace {

using kind = first_packet_kind;
using parameters = std::vector<std::pair<std::string_view, std::string_view>>;

std::string u32(std::uint32_t value) {
    std::string out(4, '\0');
    store_u32(out.data(), value);
    return out;
}

std::string packet(std::uint32_t code, std::string_view body = {}) {
    return u32(static_cast<std::uint32_t>(8 + body.size())) + u32(code) + std::string{body};
}

std::string startup(const parameters& list, std::uint16_t minor = 0, std::uint16_t major = 3) {
    std::string body;
    for (const auto& [name, value] : list) {
        body.append(name).append(1, '\0').append(value).append(1, '\0');
    }
    return packet((std::uint32_t{major} << 16) | minor, body + '\0');
}

const std::string ssl_request = packet(80877103);
const std::string gssenc_request = packet(80877104);
const std::string cancel_packet = packet(80877102, u32(4711) + "abcd");
const std::string hello("\x16\x03\x01\x02\x00\x01", 6);

first_packet parse(std::string_view bytes) {
    return parse_first_packet(as_bytes(bytes));
}

startup_request request_of(const parameters& list, std::uint16_t minor = 0) {
    const auto out = parse(startup(list, minor));
    EXPECT_EQ(out.kind, kind::startup) << out.error.message;
    return out.startup;
}

login_error error_of(std::string_view bytes) {
    const auto out = parse(bytes);
    EXPECT_EQ(out.kind, kind::bad);
    return out.error;
}

// Cut at every byte, `bytes` needs more until it is whole, and what comes behind it is left alone.
void expect_same_at_every_cut(const std::string& bytes, kind expected) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto part = parse(std::string_view{bytes}.substr(0, size));
        EXPECT_EQ(part.kind, kind::need_more) << size;
        EXPECT_EQ(part.consumed, 0U);
    }
    const auto whole = parse(bytes);
    const auto more = parse(bytes + bytes);
    for (const auto& out : {whole, more}) {
        EXPECT_EQ(out.kind, expected) << out.error.message;
        EXPECT_EQ(out.consumed, bytes.size());
        EXPECT_EQ(out.startup, whole.startup);
        EXPECT_EQ(out.cancel, whole.cancel);
    }
}

TEST(pg_startup, each_packet_cut_at_every_byte_parses_the_same) {
    expect_same_at_every_cut(ssl_request, kind::ssl_request);
    expect_same_at_every_cut(gssenc_request, kind::gssenc_request);
    expect_same_at_every_cut(cancel_packet, kind::cancel);
    expect_same_at_every_cut(startup({{"user", "app"},
                                      {"database", "shop"},
                                      {"options", "-c work_mem=1MB"},
                                      {"_pq_.x", "1"}},
                                     2),
                             kind::startup);
}

TEST(pg_startup, client_hello_is_seen_at_its_first_byte) {
    EXPECT_EQ(parse("\x16").kind, kind::direct_tls);
    EXPECT_EQ(parse(hello).kind, kind::direct_tls);
    EXPECT_EQ(parse(hello).consumed, 0U);
}

TEST(pg_startup, parameters_are_read) {
    const auto out = request_of({{"user", "app"},
                                 {"database", "shop"},
                                 {"application_name", "psql"},
                                 {"client_encoding", "UTF8"},
                                 {"DateStyle", ""}});
    EXPECT_EQ(out.user, "app");
    EXPECT_EQ(out.database, "shop");
    EXPECT_EQ(out.application_name, "psql");
    EXPECT_EQ(out.replication, replication_kind::none);
    EXPECT_EQ(out.settings,
              (std::vector<setting>{
                  {"application_name", "psql"}, {"client_encoding", "UTF8"}, {"DateStyle", ""}}));
    EXPECT_FALSE(out.negotiate);
    EXPECT_EQ(out.minor, 0);
}

TEST(pg_startup, database_defaults_to_the_user) {
    EXPECT_EQ(request_of({{"user", "app"}}).database, "app");
    EXPECT_EQ(request_of({{"user", "app"}, {"database", ""}}).database, "app");
}

TEST(pg_startup, last_of_duplicates_wins) {
    const auto out = request_of({{"user", "a"},
                                 {"user", "b"},
                                 {"database", "c"},
                                 {"database", "d"},
                                 {"options", "-c x.y=1"},
                                 {"options", "-c x.y=2"},
                                 {"application_name", "e"},
                                 {"application_name", "f"}});
    EXPECT_EQ(out.user, "b");
    EXPECT_EQ(out.database, "d");
    EXPECT_EQ(out.application_name, "f");
    EXPECT_EQ(
        out.settings,
        (std::vector<setting>{{"x.y", "2"}, {"application_name", "e"}, {"application_name", "f"}}));
}

TEST(pg_startup, settings_of_options_come_before_those_of_the_packet) {
    const auto out = request_of({{"user", "app"},
                                 {"application_name", "packet"},
                                 {"options", "-c APPLICATION_NAME=option --work_mem=1MB"}});
    EXPECT_EQ(out.settings, (std::vector<setting>{{"APPLICATION_NAME", "option"},
                                                  {"work_mem", "1MB"},
                                                  {"application_name", "packet"}}));
    EXPECT_EQ(out.application_name, "packet");
    EXPECT_EQ(
        request_of({{"user", "app"}, {"options", "-c Application-Name=option"}}).application_name,
        "option");
}

TEST(pg_startup, broken_options_are_an_error) {
    EXPECT_STREQ(error_of(startup({{"user", "app"}, {"options", "what"}})).sqlstate, "42601");
}

TEST(pg_startup, missing_or_empty_user_is_an_error) {
    for (const auto& list :
         {parameters{}, parameters{{"database", "x"}}, parameters{{"user", ""}}}) {
        EXPECT_STREQ(error_of(startup(list)).sqlstate, "28000");
    }
}

TEST(pg_startup, replication_is_a_boolean_or_database) {
    const auto kind_of = [](std::string_view value) {
        return request_of({{"user", "app"}, {"replication", value}}).replication;
    };
    for (const auto* value : {"true", "t", "TRUE", "on", "yes", "y", "1"}) {
        EXPECT_EQ(kind_of(value), replication_kind::physical) << value;
    }
    for (const auto* value : {"false", "f", "off", "of", "no", "N", "0"}) {
        EXPECT_EQ(kind_of(value), replication_kind::none) << value;
    }
    EXPECT_EQ(kind_of("database"), replication_kind::logical);
    for (const auto* value : {"", "o", "Database", "2", "truee", "10"}) {
        EXPECT_STREQ(error_of(startup({{"user", "app"}, {"replication", value}})).sqlstate, "22023")
            << value;
    }
}

TEST(pg_startup, known_minors_are_spoken_without_negotiation) {
    EXPECT_EQ(request_of({{"user", "app"}}, 0).minor, 0);
    EXPECT_FALSE(request_of({{"user", "app"}}, 0).negotiate);
    EXPECT_EQ(request_of({{"user", "app"}}, 2).minor, 2);
    EXPECT_FALSE(request_of({{"user", "app"}}, 2).negotiate);
}

TEST(pg_startup, other_minors_are_negotiated_down) {
    for (const auto& [asked, spoken] :
         {std::pair{1, 0}, std::pair{3, 2}, std::pair{9999, 2}, std::pair{65535, 2}}) {
        const auto out = request_of({{"user", "app"}}, static_cast<std::uint16_t>(asked));
        EXPECT_EQ(out.requested_minor, asked);
        EXPECT_EQ(out.minor, spoken);
        EXPECT_TRUE(out.negotiate);
        EXPECT_EQ(negotiate_protocol_version(out),
                  "v" + u32(12) + u32(196608 + static_cast<unsigned>(spoken)) + u32(0));
    }
}

TEST(pg_startup, unknown_protocol_options_are_named_in_one_message) {
    const auto out =
        request_of({{"_pq_.test_protocol_negotiation", ""}, {"user", "app"}, {"_pq_.b", "x"}});
    EXPECT_TRUE(out.negotiate);
    EXPECT_TRUE(out.settings.empty());
    const std::string names("_pq_.test_protocol_negotiation\0_pq_.b\0", 38);
    EXPECT_EQ(negotiate_protocol_version(out), "v" + u32(12 + 38) + u32(196608) + u32(2) + names);
}

TEST(pg_startup, other_majors_are_unsupported) {
    for (const std::uint16_t major :
         std::initializer_list<std::uint16_t>{0, 1, 2, 4, 1234, 65535}) {
        const auto error = error_of(startup({{"user", "app"}}, 7, major));
        EXPECT_STREQ(error.sqlstate, "0A000");
        EXPECT_EQ(error.message, "unsupported frontend protocol " + std::to_string(major) +
                                     ".7: server supports 3.0 to 3.2");
    }
}

TEST(pg_startup, hostile_lengths_are_refused_at_the_fourth_byte) {
    for (const std::uint32_t length :
         {0U, 1U, 4U, 7U, first_packet_most + 1, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        const auto bytes = u32(length);
        EXPECT_EQ(parse(bytes.substr(0, 3)).kind, kind::need_more);
        EXPECT_STREQ(error_of(bytes).sqlstate, "08P01") << length;
    }
    EXPECT_STREQ(error_of("GET / HTTP/1.1\r\n\r\n").sqlstate, "08P01");
}

TEST(pg_startup, longest_packet_passes_and_one_byte_more_fails) {
    const auto of_size = [](std::size_t size) {
        const auto without = startup({{"user", "app"}, {"x.y", ""}}).size();
        const std::string value(size - without, 'v');
        return startup({{"user", "app"}, {"x.y", value}});
    };
    EXPECT_EQ(parse(of_size(first_packet_most)).kind, kind::startup);
    EXPECT_EQ(parse(of_size(first_packet_most + 1)).kind, kind::bad);
}

TEST(pg_startup, terminator_must_be_the_last_byte) {
    const auto good = startup({{"user", "app"}, {"x", "y"}});
    for (std::size_t size = 8; size < good.size(); ++size) {  // every shorter body
        auto bytes = good.substr(0, size);
        store_u32(bytes.data(), static_cast<std::uint32_t>(size));
        EXPECT_STREQ(error_of(bytes).sqlstate, "08P01") << size;
    }
    auto longer = good + '\0';
    store_u32(longer.data(), static_cast<std::uint32_t>(longer.size()));
    EXPECT_STREQ(error_of(longer).sqlstate, "08P01");
}

TEST(pg_startup, cancel_secret_has_4_to_256_bytes) {
    EXPECT_EQ(parse(cancel_packet).cancel, (cancel_request{4711, "abcd"}));
    for (const std::size_t size : {4U, 5U, 32U, 256U}) {
        std::string secret(size, '\xff');
        secret[1] = '\0';
        const auto out = parse(packet(80877102, u32(0xfffffffe) + secret));
        ASSERT_EQ(out.kind, kind::cancel);
        EXPECT_EQ(out.cancel, (cancel_request{0xfffffffe, secret}));
    }
    for (const std::size_t size : {0U, 3U, 257U, 5000U}) {
        EXPECT_STREQ(error_of(packet(80877102, u32(1) + std::string(size, 'x'))).sqlstate, "08P01");
    }
    EXPECT_STREQ(error_of(packet(80877102)).sqlstate, "08P01");
}

TEST(pg_startup, requests_with_a_body_are_refused) {
    EXPECT_STREQ(error_of(packet(80877103, "x")).sqlstate, "08P01");
    EXPECT_STREQ(error_of(packet(80877104, "x")).sqlstate, "08P01");
}

TEST(pg_startup, random_bytes_never_consume_more_than_there_are) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    for (int i = 0; i < 20000; ++i) {
        std::string bytes = startup({{"user", "app"}, {"options", "-c a=1"}, {"x", "y"}}, 2);
        for (int flips = 0; flips < 3; ++flips) {
            bytes[random() % bytes.size()] = static_cast<char>(random());
        }
        const auto out = parse(bytes);
        EXPECT_LE(out.consumed, bytes.size());
        EXPECT_EQ(out.kind == kind::bad, *out.error.sqlstate != '\0');
    }
}

// The order of packets.

using step_kind = opening_step::kind;

opening_step step(client_opening& opening, std::string_view bytes) {
    return opening.step(as_bytes(bytes));
}

const std::string hello_startup = startup({{"user", "app"}});

TEST(client_opening, startup_may_come_first) {
    client_opening opening{tls_offer::yes};
    EXPECT_EQ(step(opening, hello_startup.substr(0, 5)).what, step_kind::need_more);
    const auto out = step(opening, hello_startup);
    EXPECT_EQ(out.what, step_kind::startup);
    EXPECT_EQ(out.startup.user, "app");
    EXPECT_EQ(out.consumed, hello_startup.size());
    EXPECT_FALSE(opening.encrypted());
    EXPECT_EQ(step(opening, hello_startup).what, step_kind::fail);
}

TEST(client_opening, ssl_request_is_answered_and_startup_follows_inside) {
    client_opening opening{tls_offer::yes};
    const auto answer = step(opening, ssl_request);
    EXPECT_EQ(answer.what, step_kind::answer);
    EXPECT_EQ(answer.byte, 'S');
    EXPECT_EQ(answer.consumed, 8U);
    opening.tls_started();
    EXPECT_TRUE(opening.encrypted());
    EXPECT_EQ(step(opening, hello_startup).what, step_kind::startup);
}

TEST(client_opening, ssl_request_without_tls_is_declined_and_startup_follows) {
    client_opening opening{tls_offer::no};
    EXPECT_EQ(step(opening, ssl_request).byte, 'N');
    EXPECT_EQ(step(opening, hello_startup).what, step_kind::startup);
}

TEST(client_opening, gss_and_ssl_requests_come_in_either_order_once_each) {
    client_opening gss_first{tls_offer::yes};
    EXPECT_EQ(step(gss_first, gssenc_request).byte, 'N');
    EXPECT_EQ(step(gss_first, ssl_request).byte, 'S');

    client_opening ssl_first{tls_offer::no};
    EXPECT_EQ(step(ssl_first, ssl_request).byte, 'N');
    EXPECT_EQ(step(ssl_first, gssenc_request).byte, 'N');
    EXPECT_EQ(step(ssl_first, hello_startup).what, step_kind::startup);

    for (const auto& request : {ssl_request, gssenc_request}) {
        client_opening twice{tls_offer::no};
        EXPECT_EQ(step(twice, request).byte, 'N');
        const auto second = step(twice, request);
        EXPECT_EQ(second.what, step_kind::fail);
        EXPECT_STREQ(second.error.sqlstate, "0A000");
    }
}

TEST(client_opening, requests_inside_tls_are_refused) {
    for (const auto& request : {ssl_request, gssenc_request, hello}) {
        client_opening opening{tls_offer::yes};
        (void)step(opening, ssl_request);
        opening.tls_started();
        EXPECT_EQ(step(opening, request).what, step_kind::fail);
    }
}

TEST(client_opening, bytes_stuffed_behind_a_request_are_refused) {
    for (const auto offer : {tls_offer::yes, tls_offer::no}) {
        for (const auto& stuffed : {std::string(1, '\0'), hello_startup, hello}) {
            client_opening ssl{offer};
            const auto out = step(ssl, ssl_request + stuffed);
            EXPECT_EQ(out.what, step_kind::fail);
            EXPECT_EQ(out.error.message, "received unencrypted data after SSL request");
            client_opening gss{offer};
            EXPECT_EQ(step(gss, gssenc_request + stuffed).error.message,
                      "received unencrypted data after GSSAPI encryption request");
        }
    }
}

TEST(client_opening, step_before_the_handshake_is_done_fails) {
    client_opening opening{tls_offer::yes};
    (void)step(opening, ssl_request);
    EXPECT_EQ(step(opening, hello_startup).what, step_kind::fail);
}

TEST(client_opening, direct_tls_begins_as_the_very_first_only) {
    client_opening direct{tls_offer::yes};
    const auto out = step(direct, hello);
    EXPECT_EQ(out.what, step_kind::begin_tls);
    EXPECT_EQ(out.consumed, 0U);
    direct.tls_started();
    EXPECT_EQ(step(direct, hello_startup).what, step_kind::startup);

    client_opening not_offered{tls_offer::no};
    EXPECT_EQ(step(not_offered, hello).what, step_kind::fail);

    client_opening late{tls_offer::yes};
    (void)step(late, gssenc_request);
    EXPECT_EQ(step(late, hello).what, step_kind::fail);
}

TEST(client_opening, cancel_is_taken_plain_and_inside_tls) {
    client_opening plain{tls_offer::yes};
    EXPECT_EQ(step(plain, cancel_packet).cancel.process_id, 4711U);
    client_opening encrypted{tls_offer::yes};
    (void)step(encrypted, ssl_request);
    encrypted.tls_started();
    EXPECT_EQ(step(encrypted, cancel_packet).what, step_kind::cancel);
}

TEST(client_opening, bad_packet_fails_for_good) {
    client_opening opening{tls_offer::yes};
    EXPECT_STREQ(step(opening, "GET / HTTP").error.sqlstate, "08P01");
    EXPECT_EQ(step(opening, hello_startup).what, step_kind::fail);
}

}  // namespace
}  // namespace sluice::protocol
