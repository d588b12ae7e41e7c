// The slow part of session_hints.hpp.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/session_hints.hpp"

namespace sluice::protocol {
namespace {

using list = std::vector<std::string>;
using kind = channel_statement::kind;

TEST(session_names, settings_of_set_and_reset_are_named) {
    EXPECT_EQ(settings_named_in("SET app.user_id = 1"), list{"app.user_id"});
    EXPECT_EQ(settings_named_in("SET SESSION App.User_Id TO '1'"), list{"app.user_id"});
    EXPECT_EQ(settings_named_in("SET LOCAL a.b.c = 1; RESET d.e"), (list{"a.b.c", "d.e"}));
    EXPECT_EQ(settings_named_in("SET session.x = 1; SET local.y = 2"),
              (list{"session.x", "local.y"}));
    EXPECT_EQ(settings_named_in("SET \"App\".\"x\" = 1"), list{"app.x"});
    EXPECT_EQ(settings_named_in("SET \"App.x\" = 1"), list{"app.x"});
    EXPECT_EQ(settings_named_in("SET a /* c */ . b = 'c.d'"), list{"a.b"});
    EXPECT_EQ(settings_named_in("SET a.b = 1; SET A.B = 2"), list{"a.b"});
    EXPECT_EQ(settings_named_in("SET search_path = a, b"), list{});
    EXPECT_EQ(settings_named_in("UPDATE t SET a.b = 1 WHERE t.id = 2"), list{});
    EXPECT_EQ(settings_named_in("SET \"a b.c\" = 1"), list{});
    EXPECT_EQ(settings_named_in("SET a." + std::string(64, 'x') + " = 1"), list{});
}

TEST(session_names, settings_of_set_config_are_named) {
    EXPECT_EQ(settings_named_in("SELECT set_config('App.a', 'x.y', false)"), list{"app.a"});
    EXPECT_EQ(settings_named_in("SELECT pg_catalog.\"set_config\"($$a.b$$, 'x', false)"),
              list{"a.b"});
    EXPECT_EQ(settings_named_in("SELECT set_config('search_path', 'x', false)"), list{});
    EXPECT_EQ(settings_named_in("SELECT set_config($1, 'x', false), 'set_config(''a.b'')'"),
              list{});
    EXPECT_EQ(settings_named_in("SELECT '\\', set_config('a.b', 'x', false)"), list{"a.b"});
    EXPECT_EQ(settings_named_in("SELECT '\\'', set_config('a.b', 'x', false)"), list{"a.b"});
}

TEST(session_names, code_of_do_and_call_names_all_that_looks_like_a_setting) {
    EXPECT_EQ(settings_named_in("DO $$ BEGIN PERFORM f(t.id); SET app.x = 1; END $$"),
              (list{"app.x", "t.id"}));
    EXPECT_EQ(settings_named_in("DO 'BEGIN PERFORM set_config(''a.b'', ''x'', false); END'"),
              list{"a.b"});
    EXPECT_EQ(settings_named_in("DO $$ BEGIN EXECUTE 'SET c.d = ' || quote_literal(x); END $$"),
              list{"c.d"});
    EXPECT_EQ(settings_named_in("CALL remember('App.tenant', 5)"), list{"app.tenant"});
    EXPECT_EQ(settings_named_in("CALL p(1); SELECT 'a.b'"), list{});
    EXPECT_EQ(settings_named_in("CALL p('1.2', 'a.', '.b', 'a..b', 'a', 'b c')"), list{});
}

TEST(session_names, at_most_32_settings_and_those_surely_set_first) {
    std::string code = "DO $$ BEGIN ";
    for (int i = 0; i < 100; ++i)
        code += "PERFORM t.c" + std::to_string(i) + "; ";
    const auto names = settings_named_in(code + "SET app.x = 1; END $$");
    ASSERT_EQ(names.size(), 32U);
    EXPECT_EQ(names[0], "app.x");
    EXPECT_EQ(names[1], "t.c0");
}

TEST(session_names, set_config_names_that_are_computed_are_noticed) {
    for (const auto* sql : {"SELECT 1", "SELECT set_config('a.b', $1, false)",
                            "SELECT set_config('a.b'::text, $1, false)", "SELECT set_config",
                            "SELECT 'set_config($1)'", "SELECT set_config($a$a.b$a$, 'x', false)",
                            "DO $$ BEGIN PERFORM set_config('a.b', 'x', false); END $$"}) {
        EXPECT_TRUE(set_config_names_are_literal(sql)) << sql;
    }
    for (const auto* sql :
         {"SELECT set_config($1, 'x', false)", "SELECT set_config(",
          "SELECT set_config('a.' || x, 'x', false)", "SELECT set_config(E'a\\x2eb', 'x', false)",
          "SELECT set_config('a.b', 'x', false), \"set_config\"(name, 'x', true)",
          "DO $$ BEGIN PERFORM set_config(n, 'x', false); END $$",
          "DO 'BEGIN EXECUTE ''SELECT set_config('' || n; END'",
          "SELECT '\\'', set_config(n, 'x', false)"}) {
        EXPECT_FALSE(set_config_names_are_literal(sql)) << sql;
    }
}

TEST(session_names, channel_is_read_as_the_server_reads_it) {
    const auto read = [](std::string_view sql, kind what, std::string_view channel) {
        const auto out = read_channel_statement(sql);
        EXPECT_EQ(out.what, what) << sql;
        EXPECT_EQ(out.channel, channel) << sql;
    };
    read("LISTEN a", kind::listen, "a");
    read("/* c */ listen News ; -- d", kind::listen, "news");
    read("LISTEN \"News \"\"x\"\"\";", kind::listen, "News \"x\"");
    read("UNLISTEN a", kind::unlisten, "a");
    read("UNLISTEN *;", kind::unlisten_all, "");
    read("LISTEN " + std::string(70, 'a'), kind::listen, std::string(63, 'a'));
    read("LISTEN " + std::string(62, 'a') + "\xc3\xb6", kind::listen, std::string(62, 'a'));
    for (const auto* sql : {"", "LISTEN", "LISTEN *", "LISTEN 'a'", "LISTEN a b", "LISTEN a; b",
                            "LISTEN \"\"", "LISTEN U&\"a\"", "SELECT 1", "BEGIN; LISTEN a",
                            "LISTEN a; LISTEN b", "\"listen\" a", "LISTEN a.b"}) {
        read(sql, kind::none, "");
    }
}

}  // namespace
}  // namespace sluice::protocol
