// Which bodies leave something, and what is reached through what.
#include "pool/function_survey.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "pool/session_state.hpp"

namespace sluice::pool {
namespace {

struct row {
    const char* kind;
    const char* name;
    const char* value;
};

survey_result survey(const std::vector<row>& rows) {
    function_survey out;
    for (const auto& one : rows)
        EXPECT_TRUE(out.add_row(one.kind, one.name, one.value)) << one.name;
    return out.finish();
}

// Of the names, those that are hints, each with a space behind it.
std::string found(const survey_result& in, const std::vector<const char*>& names) {
    std::string out;
    for (const auto* name : names) {
        if (in.words != nullptr && in.words->contains(name)) out += std::string(name) + ' ';
    }
    return out;
}

const char* const sets = "begin perform set_config('app.tenant', x, false); end";

TEST(leaves_something, what_lasts_longer_than_its_transaction_does) {
    for (const auto* source : {
             "begin return set_config(name, value, false); end",
             "begin perform pg_catalog.set_config('a.b', 'c', is_local); end",
             "select \"set_config\"('a.b', 'c', false)",
             "BEGIN SET work_mem = '1MB'; END",
             "begin if x then set session work_mem = 1; end if; end",
             "begin if x then null; else /* here */ set work_mem to 1; end if; end",
             "begin <<here>> set work_mem = 1; end",
             "begin set local.tenant = 1; end",
             "set work_mem = 1",
             "select 1; reset all",
             "begin loop discard all; end loop; end",
             "begin perform pg_advisory_lock(1); end",
             "select pg_try_advisory_lock_shared(a, b)",
             "select pg_advisory_unlock_all()",
             "begin create temp table t (a int); end",
             "begin create or replace temporary view v as select 1; end",
             "begin execute 'create temp table ' || name; end",
             "begin execute format('temp table %I', name); end",
             "begin select a into temp t from u; end",
             "create table pg_temp.t (a int)",
             "select * from pg_temp_3.t",
             "begin perform f('search_path', 'pg_temp, public'); end",
             "begin listen channel; end",
             "begin unlisten *; end",
             "begin execute 'listen ' || quote_ident(name); end",
             "begin execute 'prepare p as select 1'; end",
             "begin execute 'execute p'; end",
             "select count(*) from pg_prepared_statements",
             "begin execute 'deallocate all'; end",
             "begin execute 'declare c cursor with hold for select 1'; end",
             "begin load 'auto_explain'; end",
             "begin perform setseed(0.5); end",
             "begin execute 'do ''begin set work_mem = 1; end'''; end",
             "begin execute $q$ set work_mem = 1 $q$; end",
             R"(begin execute E'\'x\'; set work_mem = 1'; end)",
             "begin execute statement; end",
             "begin execute $1 using 2; end",
         }) {
        EXPECT_TRUE(leaves_something(source, true)) << source;
    }
}

TEST(leaves_something, what_ends_with_its_transaction_does_not) {
    for (const auto* source : {
             "",
             "begin return 1; end",
             "begin perform set_config('a.b', 'c', true); end",
             "begin perform current_setting('a.b'); end",
             "begin set local work_mem = 1; end",
             "begin set transaction read only; set constraints all deferred; end",
             "begin update t set a = 1 where b; end",
             "begin insert into t values (1) on conflict do update set a = 1; end",
             "alter table t alter a set default 1",
             "begin perform pg_advisory_xact_lock(1); perform pg_try_advisory_xact_lock(2); end",
             "select temp from weather",
             "begin temp := 1; load := 2; reset := 3; end",
             "begin -- set work_mem = 1;\n return 1; end",
             "begin /* ; set work_mem = 1 */ return 'a; b'; end",
             "declare q text := 'select 1'; begin execute q; end",
             "declare q text; begin q := f(); execute q using 1; end",
             "declare q text; begin select a into q from t; execute q; end",
             "begin for r in select 1 loop execute r.command; end loop; end",
             "begin execute format('select %s', a); end",
             "begin execute 'grant execute on function f to u'; end",
             "begin execute 'alter role u set work_mem = 1'; end",
         }) {
        EXPECT_FALSE(leaves_something(source, true)) << source;
    }
}

TEST(leaves_something, other_languages_are_searched_for_words) {
    for (const auto* source : {"plpy.execute(\"SET work_mem = 1\")", "spi_exec_query(q{LISTEN x});",
                               "plv8.execute(`select pg_advisory_lock($1)`, [1])",
                               "plpy.execute('''\n  create temp table x ()''')",
                               "plpy.execute(\"select set_config('a.b', 'c', false)\")"}) {
        EXPECT_TRUE(leaves_something(source, false)) << source;
    }
    for (const auto* source :
         {"plan = plpy.prepare(\"select 1\")", "x = set([1, 2])",
          "plpy.execute(\"update t set a = 1\")", "plpy.execute(\"SET LOCAL work_mem = 1\")",
          "plpy.execute(\"select set_config('a.b', 'c', true)\")"}) {
        EXPECT_FALSE(leaves_something(source, false)) << source;
    }
}

TEST(function_survey, nothing_found_gives_no_words) {
    const auto got = survey({{"f", "harmless", "select 1"}, {"e", "v", "harmless"}});
    EXPECT_EQ(got.words, nullptr);
    EXPECT_TRUE(got.settings.empty());
}

TEST(function_survey, functions_that_name_a_found_one_are_found_in_any_order) {
    const std::vector<const char*> names{"a", "b", "c", "d", "harmless"};
    const std::vector<row> rows{{"f", "c", "begin execute 'select B()'; end"},
                                {"f", "harmless", "begin perform other(); end"},
                                {"f", "b", "select s.a(1)"},
                                {"f", "a", sets},
                                {"g", "d", "plpy.execute(\"select c()\")"}};
    EXPECT_EQ(found(survey(rows), names), "a b c d ");
    EXPECT_EQ(found(survey({rows.rbegin(), rows.rend()}), names), "a b c d ");
}

TEST(function_survey, quoted_names_are_other_names) {
    const auto got = survey(
        {{"f", "Put", sets}, {"f", "one", "select \"Put\"()"}, {"f", "two", "select put()"}});
    EXPECT_EQ(found(got, {"Put", "put", "one", "two"}), "Put one ");
}

TEST(function_survey, edges_are_followed_to_everything_that_reaches_a_function) {
    const auto got = survey({{"f", "on_touch", sets},
                             {"e", "touched", "on_touch"},  // a trigger
                             {"e", "seen", "touched"},      // a view
                             {"e", "whole", "touched"},     // a partitioned table
                             {"e", "parent", "touched"},    // ON DELETE CASCADE
                             {"e", "other", "elsewhere"},
                             {"f", "inserts", "insert into touched values (1)"},
                             {"f", "reads", "select 1 from other"}});
    EXPECT_EQ(found(got, {"touched", "seen", "whole", "parent", "other", "inserts", "reads"}),
              "touched seen whole parent inserts ");
}

TEST(function_survey, rings_end) {
    const auto got = survey({{"f", "a", "select b()"},
                             {"f", "b", "select a() from t"},
                             {"e", "t", "u"},
                             {"e", "u", "t"},
                             {"f", "c", sets},
                             {"e", "u", "c"}});
    EXPECT_EQ(found(got, {"a", "b", "c", "t", "u"}), "a b c t u ");
}

TEST(function_survey, event_trigger_is_reached_by_ddl) {
    const auto got = survey({{"f", "watch", sets},
                             {"v", "watch", ""},
                             {"f", "migrate", "begin create table t (a int); end"}});
    EXPECT_EQ(found(got, {"create", "drop", "select", "migrate"}), "create drop migrate ");
}

TEST(function_survey, long_sources_and_known_names_are_found_unread) {
    const auto got = survey({{"x", "long", "select 1"}, {"w", "set_limit", ""}});
    EXPECT_EQ(found(got, {"long", "set_limit"}), "long set_limit ");
}

TEST(function_survey, settings_are_named_by_sources_and_policies) {
    auto got =
        survey({{"f", "a", "begin perform set_config('app.One', x, false); set app.two = 1; end"},
                {"f", "b", "select current_setting('app.three', true), 'no.setting'"},
                {"f", "c", "begin perform a('app.four'); execute 'set session app.five to 1'; end"},
                {"p", "", "(owner = current_setting('app.six'::text, true))"}});
    std::sort(got.settings.begin(), got.settings.end());
    EXPECT_EQ(got.settings, (std::vector<std::string>{"app.five", "app.four", "app.one", "app.six",
                                                      "app.three", "app.two"}));
}

TEST(function_survey, bytes_that_are_not_ascii_come_as_octal) {
    const auto got =
        survey({{"f", R"(gr\303\266\303\237e)", R"(select set_config(E'a\\x', b, false))"},
                {"f", "user", R"(select gr\303\266\303\237e())"}});
    EXPECT_EQ(found(got, {"gr\303\266\303\237e", "user"}), "gr\303\266\303\237e user ");
}

TEST(function_survey, rows_of_other_shapes_are_refused) {
    function_survey out;
    EXPECT_FALSE(out.add_row("", "a", "b"));
    EXPECT_FALSE(out.add_row("ff", "a", "b"));
    EXPECT_FALSE(out.add_row("?", "a", "b"));
    const std::string two_columns("\0\2\0\0\0\1f\0\0\0\1a", 12);
    EXPECT_FALSE(out.add_row(protocol::as_bytes(two_columns)));
    const std::string cut_short("\0\3\0\0\0\1f\0\0\0\1a\0\0\0\5b", 17);
    EXPECT_FALSE(out.add_row(protocol::as_bytes(cut_short)));
    const std::string with_null("\0\3\0\0\0\1f\0\0\0\1a\377\377\377\377", 16);
    EXPECT_TRUE(out.add_row(protocol::as_bytes(with_null)));
}

TEST(function_survey, any_bytes_are_a_source) {
    for (const std::string source : {"'", "$$", "$a$ '", "\"", "E'\\", "/*", "--", "set_config(",
                                     "execute", "execute $", "\\", "\\1", "\\12"}) {
        function_survey out;
        EXPECT_TRUE(out.add_row("f", source, source));
        EXPECT_TRUE(out.add_row("g", source, source));
        (void)out.finish();
    }
}

TEST(session_knowledge, is_in_doubt_until_the_last_change_is_surveyed) {
    session_knowledge known;
    EXPECT_TRUE(known.in_doubt());
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    ASSERT_TRUE(known.claim_survey(first));
    EXPECT_FALSE(known.claim_survey(second));  // somebody is at it
    known.changed();
    ASSERT_TRUE(known.claim_survey(second));
    known.learn(first, survey({{"f", "old", sets}}));
    EXPECT_TRUE(known.in_doubt());
    EXPECT_TRUE(known.words()->contains("old"));
    const auto edition = known.edition();
    known.learn(second, survey({{"f", "new", sets}}));
    EXPECT_FALSE(known.in_doubt());
    EXPECT_NE(known.edition(), edition);
    known.learn(first, survey({{"f", "old", sets}}));  // too late
    EXPECT_TRUE(known.words()->contains("new"));
}

TEST(session_knowledge, survey_that_ends_early_is_anothers) {
    session_knowledge known;
    std::uint64_t changes = 0;
    {
        survey_claim mine;
        survey_claim yours;
        ASSERT_TRUE(mine.take(known));
        EXPECT_FALSE(yours.take(known));
    }
    survey_claim next;
    ASSERT_TRUE(next.take(known));
    next.learn();
    EXPECT_FALSE(known.in_doubt());
    EXPECT_FALSE(known.claim_survey(changes));
}

TEST(session_knowledge, failed_survey_leaves_what_was_known_and_is_told_once) {
    session_knowledge known;
    known.learn(known.changes(), survey({{"f", "old", sets}}));
    for (int i = 0; i < 2; ++i) {
        known.changed();
        known.survey_failed(known.changes(), "42501");
        EXPECT_FALSE(known.in_doubt());
        EXPECT_TRUE(known.words()->contains("old"));
        EXPECT_EQ(known.take_failure(), i == 0 ? "42501" : "");
    }
}

}  // namespace
}  // namespace sluice::pool
