// What libpq's error texts mean. The texts are those of libpq 15 and PostgreSQL 15 with verbose
// errors.
#include "pool/upstream_login.hpp"

#include <gtest/gtest.h>

namespace sluice::pool {
namespace {

const std::string to = "connection to server at \"db.example\" (10.0.0.1), port 5432 failed: ";

struct failure_case {
    std::string text;
    std::string sqlstate;
    std::string message;
    bool hopeless;
};

TEST(read_failure, servers_errors_keep_their_sqlstate_and_text) {
    const failure_case cases[] = {
        {to + "FATAL:  28P01: password authentication failed for user \"app\"\n"
              "LOCATION:  auth_failed, auth.c:335\n",
         "28P01", "password authentication failed for user \"app\"", true},
        {to + "FATAL:  3D000: database \"nope\" does not exist\nLOCATION:  InitPostgres, "
              "postinit.c:885\n",
         "3D000", "database \"nope\" does not exist", true},
        {to + "FATAL:  57P03: the database system is starting up\nLOCATION:  "
              "ProcessStartupPacket, postmaster.c:2375\n",
         "57P03", "the database system is starting up", false},
        {to + "FATAL:  57P01: terminating connection due to administrator command\n", "57P01",
         "terminating connection due to administrator command", false},
        {to + "FATAL:  42704: unrecognized configuration parameter \"nope\"\n", "42704",
         "unrecognized configuration parameter \"nope\"", true},
        {"ERROR:  XX000: Couldn't connect to compute node\n", "XX000",
         "Couldn't connect to compute node", false},
        {"ERROR:  XX000: Your account or project has exceeded the compute time quota.\n", "XX000",
         "Your account or project has exceeded the compute time quota.", true},
        {"ERROR:  XX000: something else\n", "XX000", "something else", true},
    };
    for (const auto& one : cases) {
        const auto failure = read_failure(one.text);
        EXPECT_EQ(failure.sqlstate, one.sqlstate) << one.text;
        EXPECT_EQ(failure.message, one.message) << one.text;
        EXPECT_EQ(failure.hopeless, one.hopeless) << one.text;
    }
}

TEST(read_failure, detail_and_hint_are_taken_apart) {
    const auto failure = read_failure(
        to +
        "FATAL:  53300: remaining connection slots are reserved\nand this line\n"
        "DETAIL:  Some detail.\nHINT:  Some hint.\nLOCATION:  InitPostgres, postinit.c:801\n");
    EXPECT_EQ(failure.sqlstate, "53300");
    EXPECT_EQ(failure.message, "remaining connection slots are reserved\nand this line");
    EXPECT_EQ(failure.detail, "Some detail.");
    EXPECT_EQ(failure.hint, "Some hint.");
}

TEST(read_failure, network_errors_pass_by_themselves) {
    for (const std::string& text :
         {to + "Connection refused\n\tIs the server running on that host and accepting TCP/IP "
               "connections?\n",
          to + "server closed the connection unexpectedly\n\tThis probably means the server "
               "terminated abnormally\n\tbefore or while processing the request.\n",
          std::string("could not translate host name \"db\" to address: Temporary failure in name "
                      "resolution\n"),
          to + "timeout expired\n", to + "No route to host\n",
          std::string("connection to server on socket \"/tmp/.s.PGSQL.5432\" failed: No such file "
                      "or directory\n\tIs the server running locally?\n"),
          to + "SSL SYSCALL error: EOF detected\n"}) {
        const auto failure = read_failure(text);
        EXPECT_FALSE(failure.hopeless) << text;
        EXPECT_EQ(failure.sqlstate, "08006") << text;
        EXPECT_EQ(failure.message, text.substr(0, text.find('\n')));
    }
}

TEST(read_failure, what_configuration_must_change_is_hopeless) {
    for (const std::string& text :
         {to + "server does not support SSL, but SSL was required\n",
          to + "SSL error: certificate verify failed\n", to + "fe_sendauth: no password supplied\n",
          to + "channel binding is required, but server did not offer an authentication method "
               "that supports channel binding\n",
          std::string("invalid port number: \"x\"\n")}) {
        const auto failure = read_failure(text);
        EXPECT_TRUE(failure.hopeless) << text;
        EXPECT_EQ(failure.sqlstate, "08001") << text;
    }
}

TEST(read_failure, odd_texts_are_survived) {
    for (const auto* text : {"", "\n", ":  ", "FATAL:  28P0", "FATAL:  28P01:", "FATAL:  28P01: ",
                             "a:  b:  c:  ", ":  abcde: lower case is no code"}) {
        EXPECT_EQ(read_failure(text).sqlstate.size(), 5U) << text;
    }
}

TEST(parse_address, urls_and_keyword_strings_are_read) {
    const auto url = parse_address("postgresql://me:s%40cret@db.example:6543/shop?sslmode=require");
    ASSERT_TRUE(url.has_value());
    EXPECT_EQ(url->user, "me");
    EXPECT_EQ(url->password, "s@cret");
    EXPECT_EQ(url->host, "db.example");
    EXPECT_EQ(url->port, "6543");
    EXPECT_EQ(url->database, "shop");
    const auto words = parse_address("host=/tmp dbname='my db'");
    ASSERT_TRUE(words.has_value());
    EXPECT_EQ(words->host, "/tmp");
    EXPECT_EQ(words->database, "my db");
    EXPECT_EQ(words->user, "");
}

TEST(parse_address, what_libpq_does_not_take_is_nothing) {
    EXPECT_FALSE(parse_address("host").has_value());
    EXPECT_FALSE(parse_address("nonsense=1").has_value());
    EXPECT_FALSE(parse_address("postgresql://[::1/db").has_value());
}

}  // namespace
}  // namespace sluice::pool
