#include "protocol/session_hints.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace sluice::protocol {
namespace {

struct row {
    const char* sql;
    std::uint32_t bits;
};

std::uint32_t hints_of(std::string_view sql, bool standard_strings = true,
                       const hint_words* names = nullptr) {
    // A copy of exactly this size, so that a sanitizer sees a read behind it.
    const auto copy = std::make_unique<char[]>(sql.size());
    std::copy(sql.begin(), sql.end(), copy.get());
    return read_session_hints({copy.get(), sql.size()}, standard_strings, names);
}

void expect(const std::vector<row>& rows, bool standard_strings = true) {
    for (const auto& one : rows)
        EXPECT_EQ(hints_of(one.sql, standard_strings), one.bits) << one.sql;
}

const std::vector<row> settings_rows{
    {"SET x = 1", hint_settings},
    {"set Search_Path to a, b", hint_settings},
    {"SET SESSION x = 1", hint_settings},
    {"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", hint_settings},
    {"SET SESSION AUTHORIZATION bob", hint_settings},
    {"SET ROLE bob", hint_settings},
    {"SET ROLE NONE", hint_settings},
    {"SET TIME ZONE 'UTC'", hint_settings},
    {"SET NAMES 'UTF8'", hint_settings},
    {"SET \"app.x\" = 1", hint_settings},
    {"SET local.x = 1", hint_settings},
    {"BEGIN; SET x = 1", hint_settings},
    {"BEGIN;SET LOCAL y=1;SET x=1;COMMIT", hint_settings | hint_local | hint_release},
    {"  ;; -- c\n SET x = 1", hint_settings},
    {"SET LOCAL x = 1", hint_local},
    {"SET LOCAL x TO DEFAULT", hint_local},
    {"SET /* a */ LOCAL x = 1", hint_local},
    {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", 0},
    {"SET CONSTRAINTS ALL DEFERRED", 0},
    {"UPDATE t SET x = 1 WHERE y = 2", 0},
    {"INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET x = 1", hint_sequences},
    {"MERGE INTO t USING s ON a = b WHEN MATCHED THEN UPDATE SET x = 1", hint_sequences},
    {"ALTER TABLE t SET (fillfactor = 70)", 0},
    {"ALTER TABLE t ALTER COLUMN c SET NOT NULL", 0},
    {"ALTER ROLE bob SET search_path = a", 0},
    {"ALTER DATABASE d SET x = 1", 0},
    {"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET x = 1 AS $$ SELECT 1 $$", hint_functions},
    {"SELECT set_config('a.b', 'x', false)", hint_settings},
    {"SELECT pg_catalog.set_config('a.b', 'x', $1)", hint_settings},
    {"SELECT \"set_config\"('a.b', 'x', false)", hint_settings},
    {"SELECT set_config /* c */ ('a.b', f(1, true), false)", hint_settings},
    {"SELECT set_config('a.b', 'x', true AND false)", hint_settings},
    {"SELECT set_config('a.b', 'x', is_local => true)", hint_settings},
    {"SELECT set_config('a.b', 'x', 't')", hint_settings},
    {"SELECT set_config('a.b', 'x', true), set_config('a.b', 'x', false)",
     hint_settings | hint_local},
    {"SELECT set_config('a.b', set_config('a.c', 'x', false), true)", hint_settings | hint_local},
    {"SELECT set_config('a.b', 'x'", hint_settings},
    {"SELECT set_config('a.b', 'x,)(', TRUE)", hint_local},
    {"SELECT set_config('a.b', f(1, ARRAY[2, 3]), true /* local */)", hint_local},
    {"SELECT \"SET_CONFIG\"('a.b', 'x', false)", 0},
    {"SELECT set_config FROM t", 0},
    {"SELECT 'set_config(1,2,3)'", 0},
    {"SELECT 1 -- ; SET x = 1", 0},
    {"SELECT (1; SET x = 1)", 0},
};

const std::vector<row> reset_rows{
    {"RESET x", hint_settings | hint_reset},
    {"RESET ALL", hint_settings | hint_reset},
    {"RESET SESSION AUTHORIZATION", hint_settings | hint_reset},
    {"SET x TO DEFAULT", hint_settings | hint_reset},
    {"SET x = default", hint_settings | hint_reset},
    {"SET SESSION AUTHORIZATION DEFAULT", hint_settings | hint_reset},
    {"SET TIME ZONE LOCAL", hint_settings | hint_reset},
    {"SET NAMES", hint_settings | hint_reset},
    {"SET x = 'default'", hint_settings},
    {"SET x = \"default\"", hint_settings},
    {"DISCARD ALL", hint_release | hint_discard | hint_reset},
    {"DISCARD TEMP", hint_release | hint_discard | hint_temporary},
    {"DISCARD SEQUENCES", hint_release | hint_discard},
    {"DISCARD PLANS", hint_release | hint_discard},
    {"SELECT discard FROM reset", 0},
};

const std::vector<row> object_rows{
    {"CREATE TEMP TABLE t (a int)", hint_temporary},
    {"CREATE LOCAL TEMPORARY TABLE t (a int)", hint_temporary},
    {"CREATE TABLE pg_temp.t (a int)", hint_temporary},
    {"CREATE TABLE \"pg_temp\".t (a int)", hint_temporary},
    {"CREATE TABLE pg_temp_3.t (a int)", hint_temporary},
    {"SELECT 1 INTO TEMP t", hint_temporary},
    {"SET search_path = 'PG_TEMP'", hint_settings | hint_temporary},
    {"SELECT set_config('search_path', $$a, pg_temp$$, true)", hint_temporary | hint_local},
    {"SELECT '_pg_temp_', 1", hint_temporary},
    {"SELECT 'temp', 'pg_tem', 'p_temp', '_', 'pg_', '_temp', 'abc_temp'", 0},
    {"SELECT \"temp\", temperature, templates, pg_template", 0},
    {"SELECT 1 /* temp */", 0},
    {"CREATE FUNCTION f() RETURNS int AS 'SELECT pg_temp.g()' LANGUAGE sql", hint_functions},
    {"CREATE FUNCTION f() RETURNS int AS $$ CREATE TEMP TABLE t() $$ LANGUAGE sql", hint_functions},
    {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", hint_cursors},
    {"DECLARE c SCROLL CURSOR WITH /* a */ HOLD FOR SELECT 1", hint_cursors},
    {"DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", 0},
    {"DECLARE c CURSOR WITHOUT /* a */ hold FOR SELECT 1", 0},
    {"DECLARE c CURSOR FOR SELECT 'hold'", 0},
    {"SELECT hold FROM t", 0},
    {"SELECT pg_advisory_lock(1)", hint_locks},
    {"SELECT pg_advisory_lock_shared(1, 2)", hint_locks},
    {"SELECT pg_catalog.PG_TRY_ADVISORY_LOCK(1)", hint_locks},
    {"SELECT pg_try_advisory_lock_shared(1)", hint_locks},
    {"SELECT \"pg_advisory_unlock\"(1)", hint_locks},
    {"SELECT pg_advisory_unlock_all()", hint_locks},
    {"SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1)", 0},
    {"SELECT pg_advisory, my_pg_advisory_lock, pg_advisory_l", 0},
    {"LOAD 'auto_explain'", hint_library},
    {"SELECT load FROM t", 0},
    {"SELECT setseed(0.5)", hint_seed},
    {"SELECT lo_get(1), lo_opener, lo_clos", 0},
    {"SELECT dblink_connect('a', 'b')", hint_dblink},
    {"SELECT dblink_connect_u('a')", hint_dblink},
    {"SELECT dblink_disconnect()", hint_dblink},
    {"SELECT * FROM dblink('host=a', 'b') AS t(a int)", 0},
};

const std::vector<row> statement_rows{
    {"PREPARE p AS SELECT 1", hint_prepared},
    {"PREPARE p (int) AS INSERT INTO t VALUES ($1)", hint_prepared | hint_sequences},
    {"PREPARE transaction AS SELECT 1", hint_prepared},
    {"DEALLOCATE p", hint_prepared},
    {"DEALLOCATE PREPARE ALL", hint_prepared},
    {"PREPARE TRANSACTION 'x'", hint_release},
    {"SELECT prepare FROM deallocate", 0},
    {"EXECUTE p(1)", hint_executes},
    {"EXPLAIN (ANALYZE, VERBOSE) EXECUTE p", hint_executes},
    {"CREATE TABLE t AS EXECUTE p", hint_executes},
    {"SELECT * FROM pg_prepared_statements", hint_executes},
    {"SELECT * FROM pg_prepared_statement()", hint_executes},
    {"SELECT * FROM pg_prepared_xacts", 0},
    {"CREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", hint_functions},
    {"CREATE OR REPLACE CONSTRAINT TRIGGER a AFTER INSERT ON t EXECUTE PROCEDURE f()",
     hint_functions},
    {"GRANT EXECUTE ON FUNCTION f TO bob", 0},
    {"REVOKE INSERT, EXECUTE ON t FROM bob", 0},
    {"ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT EXECUTE ON FUNCTIONS TO bob", 0},
    {"SELECT 'execute'", 0},
    {"LISTEN a", hint_channels},
    {"UNLISTEN *", hint_channels},
    {"SELECT pg_listening_channels()", hint_channels},
    {"SELECT listen FROM unlisten", 0},
    {"NOTIFY a, 'x'", hint_notifies},
    {"SELECT pg_notify('a', 'x')", hint_notifies},
    {"SELECT notify FROM t", 0},
    {"INSERT INTO t VALUES (1)", hint_sequences},
    {"(INSERT INTO t VALUES (1))", hint_sequences},
    {"WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x", hint_sequences},
    {"EXPLAIN ANALYZE INSERT INTO t VALUES (1)", hint_sequences},
    {"COPY t (a, b) FROM STDIN", hint_sequences},
    {"COPY (SELECT a FROM t) TO STDOUT", 0},
    {"COPY t TO STDOUT", 0},
    {"SELECT nextval('s')", hint_sequences},
    {"SELECT setval('s', 1)", hint_sequences},
    {"UPDATE t SET id = DEFAULT", hint_sequences},
    {"SELECT 'insert'", 0},
    {"SELECT currval('s')", hint_reads_sequence},
    {"SELECT \"lastval\"()", hint_reads_sequence},
    {"SELECT lastvalue, curr", 0},
    {"SELECT pg_backend_pid()", 0},
    {"SELECT 1 FROM t WHERE pid = pg_backend_pid() FOR UPDATE", 0},
    {"INSERT INTO t SELECT pg_backend_pid()", hint_process_id | hint_sequences},
    {"UPDATE t SET pid = pg_catalog.PG_BACKEND_PID ( )", hint_process_id},
    {"WITH p AS (SELECT pg_backend_pid()) INSERT INTO t SELECT * FROM p",
     hint_process_id | hint_sequences},
    {"SELECT pg_backend_pid(); INSERT INTO t VALUES (1)", hint_sequences},
    {"UPDATE t SET a = 1; SELECT pg_backend_pid()", 0},
    {"DO $$ BEGIN PERFORM nextval('s'); END $$", hint_unknown},
    {"CALL p()", hint_unknown},
    {"SELECT 1;DO 'x'", hint_unknown},
    {"SELECT do, call FROM t", 0},
    {"SELECT U&\"\\0073et_config\"('a', 'b', false)", hint_unknown},
    {"SELECT U&'\\0073', B'1', X'f', N'a', e'a'", 0},
    {"DROP TABLE t", hint_release},
    {"CLOSE ALL", hint_release},
    {"COMMIT", hint_release},
    {"end", hint_release},
    {"ROLLBACK TO SAVEPOINT a", hint_release},
    {"ABORT", hint_release},
    {"TRUNCATE t", 0},
    {"SELECT CASE WHEN a THEN 1 END FROM drop", 0},
    {"BEGIN", 0},
    {"", 0},
};

const std::vector<row> function_rows{
    {"CREATE OR REPLACE FUNCTION f() RETURNS int AS 'x' LANGUAGE c", hint_functions},
    {"CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC SELECT nextval('s'); END",
     hint_functions | hint_sequences | hint_release},
    {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC INSERT INTO t VALUES (1); END",
     hint_functions | hint_sequences | hint_release},
    {"ALTER FUNCTION f() SET x = 1", hint_functions},
    {"DROP ROUTINE f", hint_functions | hint_release},
    {"CREATE VIEW v AS SELECT 1", hint_functions},
    {"CREATE OR REPLACE TEMP RECURSIVE VIEW v(a) AS SELECT 1", hint_functions | hint_temporary},
    {"CREATE MATERIALIZED VIEW v AS SELECT 1", hint_functions},
    {"CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING", hint_functions},
    {"CREATE POLICY p ON t USING (true)", hint_functions},
    {"CREATE EXTENSION IF NOT EXISTS e", hint_functions},
    {"CREATE AGGREGATE a (int) (SFUNC = f)", hint_functions},
    {"CREATE EVENT TRIGGER a ON ddl_command_end EXECUTE FUNCTION f()", hint_functions},
    {"DROP TRIGGER a ON t", hint_functions | hint_release},
    {"CREATE TABLE t (a int DEFAULT f())", hint_functions},
    {"ALTER TABLE t ALTER a SET DEFAULT f()", hint_functions},
    {"ALTER TABLE t RENAME TO u", hint_functions},
    {"CREATE TABLE t (a int, b text)", 0},
    {"CREATE INDEX i ON t (a)", 0},
    {"ALTER TABLE t ADD COLUMN a int", 0},
    {"SELECT function, view, default_x FROM create_table", 0},
};

TEST(session_hints, settings) {
    expect(settings_rows);
}
TEST(session_hints, resets) {
    expect(reset_rows);
}
TEST(session_hints, objects_of_a_session) {
    expect(object_rows);
}
TEST(session_hints, statements) {
    expect(statement_rows);
}
TEST(session_hints, functions_of_the_database) {
    expect(function_rows);
}

TEST(session_hints, quoting_hides_what_is_in_it) {
    expect({
        {"SELECT 'it''s; SET x = 1'", 0},
        {"SELECT E'it\\'s; SET x = 1'", 0},
        {"SELECT E'a\\\\'; SET x = 1", hint_settings},
        {"SELECT 'a\\'; SET x = 1", hint_settings},
        {"SELECT E'a'\n 'b\\'; SET x = 1'", 0},
        {"SELECT E'a' -- c\n 'b\\'; SET x = 1'", 0},
        {"SELECT E'a' 'b\\'; SET x = 1", hint_settings},
        {"SELECT U&'a\\'; SET x = 1", hint_settings},
        {"SELECT B'1'; SET x = 1", hint_settings},
        {"SELECT \"a\"\"; SET x = 1\"", 0},
        {"SELECT \"a'\"; SET x = 1; '\"", hint_settings},
        {"SELECT $$ ; SET x = 1 $$", 0},
        {"SELECT $a$ $$ $b$; SET x = 1 $a$", 0},
        {"SELECT $a$ $a$; SET x = 1", hint_settings},
        {"SELECT $1; SET x = $2", hint_settings},
        {"SELECT $1$a$;SET x = 1$a$", 0},
        {"SELECT a$$; SET x = 1; b$$", hint_settings},
        {"SELECT $ab; SET x = 1", hint_settings},
        {"SELECT 1 /* ; SET x /* ; */ ; SET x */", 0},
        {"SELECT 1 /* /* */ */; SET x = 1", hint_settings},
        {"SELECT 1 - 2 / 3 * 4 --\r; SET x = 1", hint_settings},
        {"SELECT 1e5, 2; SET x = 1", hint_settings},
        {"SELECT '; SET x = 1", 0},
        {"SELECT \"; SET x = 1", 0},
        {"SELECT $$; SET x = 1", 0},
        {"SELECT /*; SET x = 1 */ */", 0},
        {"SELECT /* /* */; SET x = 1", 0},
    });
    expect(
        {
            {"SELECT 'a\\'; SET x = 1'", 0},
            {"SELECT 'a\\\\'; SET x = 1", hint_settings},
            {"SELECT B'1', $$\\$$; SET x = 1", hint_settings},
            {"SELECT \"a\\\"; SET x = 1", hint_settings},
        },
        false);
}

TEST(session_hints, names_of_the_database_are_found_as_the_catalog_has_them) {
    const std::string longest(63, 'n');
    const hint_words names({"take_lock", "Mixed", "f", longest,
                            "gr\xc3\xb6\xc3\x9f"
                            "e"});
    EXPECT_EQ(names.size(), 5U);
    EXPECT_FALSE(names.empty());
    EXPECT_TRUE(names.contains("take_lock"));
    EXPECT_FALSE(names.contains("TAKE_LOCK"));
    const auto named = [&](std::string_view sql) { return hints_of(sql, true, &names); };
    EXPECT_EQ(named("SELECT take_lock(1)"), hint_named);
    EXPECT_EQ(named("SELECT app.Take_Lock(1)"), hint_named);
    EXPECT_EQ(named("SELECT \"take_lock\"(1)"), hint_named);
    EXPECT_EQ(named("SELECT \"Mixed\"(1)"), hint_named);
    EXPECT_EQ(named("SELECT f(1)"), hint_named);
    EXPECT_EQ(named("SELECT Gr\xc3\xb6\xc3\x9f"
                    "E"),
              hint_named);
    EXPECT_EQ(named("SELECT " + longest + "nnn()"), hint_named);
    EXPECT_EQ(named("SET f = 1"), hint_named | hint_settings);
    EXPECT_EQ(named("SELECT Mixed, \"TAKE_LOCK\", take_lock2, take_loc, 'take_lock', ff"), 0U);
    EXPECT_EQ(hints_of("SELECT take_lock(1)"), 0U);
    EXPECT_TRUE(hint_words{}.empty());
}

// Case, spaces, comments and statements around do not hide a hint.
TEST(session_hints, variations_of_a_text_have_the_same_hints) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const std::vector<std::string> blanks{" ",    "\n",         "\t\r\n", " /* x; SET '\" */ ",
                                          "/**/", "-- SET '\n", "\f",     "/* /* ; */ $$ */"};
    for (const auto* rows :
         {&settings_rows, &reset_rows, &object_rows, &statement_rows, &function_rows}) {
        for (const auto& one : *rows) {
            const std::string_view sql{one.sql};
            // Texts with comments of their own would need a lexer here.
            if (sql.find('-') != sql.npos || sql.find('/') != sql.npos) continue;
            for (int round = 0; round < 20; ++round) {
                std::string varied;
                char quote = 0;
                for (std::size_t i = 0; i < sql.size(); ++i) {
                    const char c = sql[i];
                    if (quote == 0 && (c == '\'' || c == '"' || sql.substr(i, 2) == "$$")) {
                        quote = c;
                        if (c == '$') varied += sql[i++];
                        varied += c;
                    } else if (quote != 0) {
                        varied += c;
                        if (c == quote) {
                            if (c == '$') varied += sql[++i];
                            quote = 0;
                        }
                    } else if (c == ' ') {
                        varied += blanks[random() % blanks.size()];
                        if (random() % 2 == 0) varied += blanks[random() % blanks.size()];
                    } else if (random() % 2 == 0) {
                        varied += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
                    } else {
                        varied += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
                    }
                }
                varied = blanks[random() % blanks.size()] + varied + "\n";
                EXPECT_EQ(hints_of(varied), one.bits) << varied;
                if (sql == "SELECT set_config('a.b', 'x'") continue;
                const auto among = "SELECT 'a'; " + varied + "; SELECT $$b$$";
                EXPECT_EQ(hints_of(among), one.bits) << among;
            }
        }
    }
}

TEST(session_hints, hostile_texts_take_linear_time) {
    // Quadratic, any of these would take a minute.
    for (const std::string_view piece :
         {"set_config(",   "E''\n", "$a$b",       "/*", "pg_backend_pid() ",
          "'_'",           "_",     "\\",         "\"", "set_config('a',",
          "SET local ",    "(",     "U&\"",       "$",  "E'\\",
          "SET names/**/", "a.",    "set reset.", "'",  "''"}) {
        std::string text;
        while (text.size() < 200'000)
            text += piece;
        (void)hints_of(text);
        (void)hints_of(text, false);
        (void)hints_of("SELECT '" + text);
        (void)settings_named_in("DO " + text);
        (void)settings_named_in("DO '" + text);
        (void)set_config_names_are_literal("DO $$ " + text);
        (void)read_channel_statement("LISTEN " + text);
    }
}

}  // namespace
}  // namespace sluice::protocol
