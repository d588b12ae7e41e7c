#include "pool/console_command.hpp"

#include <gtest/gtest.h>

namespace sluice::pool::test {
namespace {

console_command one(std::string_view text) {
    auto all = parse_console(text);
    EXPECT_EQ(all.size(), 1U) << text;
    return std::move(all.front());
}

TEST(console_command, show_inAnyCaseAndQuoted_isFound) {
    for (const auto* text : {"SHOW POOLS", "show pools;", "Show \"Pools\" ;", "  sHoW\n\tpools  ",
                             "/* by hand */ show -- what\n pools", "SELECT pools"}) {
        const auto got = one(text);
        EXPECT_EQ(got.verb, console_verb::show) << text;
        EXPECT_EQ(got.show, show_kind::pools) << text;
        EXPECT_EQ(got.tag, "SHOW") << text;
    }
}

TEST(console_command, show_everyKind_isFound) {
    const std::pair<const char*, show_kind> all[] = {
        {"active_sockets", show_kind::active_sockets},
        {"clients", show_kind::clients},
        {"config", show_kind::config},
        {"databases", show_kind::databases},
        {"dns_hosts", show_kind::dns_hosts},
        {"dns_zones", show_kind::dns_zones},
        {"fds", show_kind::fds},
        {"help", show_kind::help},
        {"lists", show_kind::lists},
        {"mem", show_kind::mem},
        {"peer_pools", show_kind::peer_pools},
        {"peers", show_kind::peers},
        {"pins", show_kind::pins},
        {"pools", show_kind::pools},
        {"queries", show_kind::queries},
        {"servers", show_kind::servers},
        {"sockets", show_kind::sockets},
        {"state", show_kind::state},
        {"stats", show_kind::stats},
        {"stats_averages", show_kind::stats_averages},
        {"stats_totals", show_kind::stats_totals},
        {"totals", show_kind::totals},
        {"users", show_kind::users},
        {"version", show_kind::version},
        {"waiters", show_kind::waiters},
    };
    for (const auto& [name, what] : all) {
        const auto got = one("SHOW " + std::string(name) + ";");
        EXPECT_EQ(got.verb, console_verb::show) << name;
        EXPECT_EQ(got.show, what) << name;
    }
    EXPECT_EQ(one("SHOW").show, show_kind::help);
}

TEST(console_command, severalStatements_comeInOrder) {
    const auto all = parse_console("SHOW A; ;SHOW STATS;;PAUSE \"my;db\"");
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all[0].verb, console_verb::invalid);
    EXPECT_EQ(all[1].show, show_kind::stats);
    EXPECT_EQ(all[2].verb, console_verb::pause);
    EXPECT_EQ(all[2].argument, "my;db");
}

TEST(console_command, nothing_isEmpty) {
    for (const auto* text : {"", ";", " ;; ", "-- ping", "/* */"})
        EXPECT_EQ(one(text).verb, console_verb::empty) << text;
}

TEST(console_command, database_keepsItsCaseAndMayHaveSigns) {
    EXPECT_EQ(one("pause App").argument, "App");
    EXPECT_EQ(one("PAUSE my-db.1").argument, "my-db.1");
    EXPECT_EQ(one("RESUME \"A \"\"b\"\"\"").argument, "A \"b\"");
    EXPECT_EQ(one("KILL 'app'").argument, "app");
    EXPECT_EQ(one("RECONNECT").argument, "");
    EXPECT_EQ(one("kill_client 17").argument, "17");
    EXPECT_EQ(one("shutdown WAIT_FOR_CLIENTS").argument, "WAIT_FOR_CLIENTS");
}

TEST(console_command, missingOrSurplusArgument_isRefused) {
    for (const auto* text : {"DISABLE", "ENABLE;", "KILL_CLIENT", "RELOAD now", "PAUSE a b",
                             "SUSPEND x", "PAUSE =", "SHOW POOLS x", "SHOW nothing", "SELECT",
                             "DROP TABLE t", "\"show\" pools", "SET x", "SET = 1"}) {
        const auto got = one(text);
        EXPECT_EQ(got.verb, console_verb::invalid) << text;
        EXPECT_EQ(got.sqlstate, "42601") << text;
        EXPECT_FALSE(got.hint.empty()) << text;
    }
    EXPECT_EQ(one("select * from t").problem, "invalid command 'select * from t', use SHOW HELP;");
}

TEST(console_command, longUnknownCommand_isQuotedInPart) {
    std::string text;
    for (int i = 0; i < 40; ++i)
        text += "\xc3\xa4";  // cut between characters only
    const auto got = one(text);
    EXPECT_LT(got.problem.size(), 110U);
    EXPECT_NE(got.problem.find("...'"), std::string::npos);
    EXPECT_EQ(got.problem.find("\xc3."), std::string::npos);
}

TEST(console_command, unfinishedQuote_isRefused) {
    for (const auto* text : {"PAUSE \"app", "SHOW 'x", "/* SHOW POOLS", "SHOW POOLS; /* "})
        EXPECT_EQ(parse_console(text).back().verb, console_verb::invalid) << text;
}

TEST(console_command, parameter_isRefused) {
    EXPECT_EQ(one("KILL_CLIENT $1").sqlstate, "0A000");
}

TEST(console_command, whatDriversAsk_isAnswered) {
    const std::pair<const char*, const char*> all[] = {
        {"SHOW client_encoding", "UTF8"},
        {"show TRANSACTION ISOLATION LEVEL", "read committed"},
        {"SHOW transaction_read_only", "off"},
        {"SHOW TimeZone", "UTC"},
        {"SHOW TIME ZONE", "UTC"},
        {"SHOW standard_conforming_strings", "on"},
        {"SHOW server_version", "15.0 (sluice console)"},
        {"SELECT 1", "1"},
        {"select pg_catalog.pg_is_in_recovery()", "f"},
        {"SELECT current_setting('server_version_num');", "150000"},
        {"SELECT version()", "PostgreSQL 15.0 (the admin console of sluice)"},
    };
    for (const auto& [text, value] : all) {
        const auto got = one(text);
        EXPECT_EQ(got.verb, console_verb::constant) << text;
        EXPECT_EQ(got.argument, value) << text;
    }
    EXPECT_EQ(one("SELECT current_user").source, constant_of::user);
    EXPECT_EQ(one("SELECT current_database()").source, constant_of::database);
    EXPECT_EQ(one("SHOW version").verb, console_verb::show);
}

TEST(console_command, set_inItsForms_hasKeyAndValue) {
    const std::tuple<const char*, const char*, const char*> all[] = {
        {"SET extra_float_digits = 3", "extra_float_digits", "3"},
        {"set SESSION Application_Name to 'x y'", "application_name", "x y"},
        {"SET client_encoding='UTF8'", "client_encoding", "UTF8"},
        {"SET TIME ZONE 'UTC'", "timezone", "UTC"},
        {"SET NAMES 'utf8'", "client_encoding", "utf8"},
        {"SET datestyle = ISO, MDY", "datestyle", "ISO,MDY"},
    };
    for (const auto& [text, key, value] : all) {
        const auto got = one(text);
        EXPECT_EQ(got.verb, console_verb::set) << text;
        EXPECT_EQ(got.argument, key) << text;
        EXPECT_EQ(got.value, value) << text;
    }
}

TEST(console_command, transactions_areKnown) {
    EXPECT_EQ(one("BEGIN").verb, console_verb::begin);
    EXPECT_EQ(one("start transaction read only").verb, console_verb::begin);
    EXPECT_EQ(one("COMMIT;").verb, console_verb::commit);
    EXPECT_EQ(one("ROLLBACK").verb, console_verb::rollback);
    EXPECT_EQ(one("DISCARD ALL").verb, console_verb::acknowledge);
    EXPECT_EQ(one("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").verb,
              console_verb::acknowledge);
}

}  // namespace
}  // namespace sluice::pool::test
