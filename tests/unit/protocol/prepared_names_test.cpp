#include "protocol/prepared_names.hpp"

#include <gtest/gtest.h>

namespace sluice::protocol {
namespace {

using names = std::vector<std::string>;

struct example {
    std::string_view sql;
    names executed;
    names changed;
    bool any = false;
};

TEST(prepared_names, texts_name_what_they_use) {
    const std::string long_name(70, 'n');
    const std::string long_execute = "EXECUTE " + long_name;
    const example examples[] = {
        {"EXECUTE p", {"p"}, {}},
        {"execute P(1, 'EXECUTE q')", {"p"}, {}},
        {"/* EXECUTE a */ EXECUTE -- b\n \"Q\"\"r\" (1)", {"Q\"r"}, {}},
        {"EXPLAIN (ANALYZE) EXECUTE p; EXECUTE q; EXECUTE p", {"p", "q"}, {}},
        {"CREATE TABLE t AS EXECUTE p WITH NO DATA", {"p"}, {}},
        {"PREPARE p AS SELECT 1", {}, {"p"}},
        {"SELECT 1; PREPARE P(int) AS SELECT $1", {}, {"p"}},
        {"PREPARE TRANSACTION 'x'", {}, {}},
        {"PREPARE transaction AS SELECT 1", {}, {"transaction"}},
        {"DEALLOCATE p; DEALLOCATE PREPARE q", {}, {"p", "q"}},
        {"DEALLOCATE prepare", {}, {"prepare"}},
        {"DEALLOCATE ALL; DEALLOCATE PREPARE ALL", {}, {}},
        {"DEALLOCATE \"all\"", {}, {"all"}},
        {"SELECT prepare, deallocate FROM t", {}, {}},
        {"SELECT * FROM pg_prepared_statements", {}, {}, true},
        {"SELECT pg_catalog.\"pg_prepared_statement\"()", {}, {}, true},
        {"EXECUTE U&\"\\0070\"", {"\\0070"}, {}, true},
        {"EXECUTE \xc3\x84", {"\xc3\x84"}, {}, true},
        {"EXECUTE \"\xc3\x84\"", {"\xc3\x84"}, {}},
        {"SELECT '\\'; EXECUTE a; SELECT '", {"a"}, {}},
        {"SELECT '\\''; EXECUTE a; SELECT ''", {"a"}, {}},
        {"EXECUTE", {}, {}},
        {"PREPARE", {}, {}},
        {"", {}, {}},
        {long_execute, {long_name.substr(0, 63)}, {}},
    };
    for (const auto& one : examples) {
        const auto got = prepared_names_in(one.sql, true);
        EXPECT_EQ(got.executed, one.executed) << one.sql;
        EXPECT_EQ(got.changed, one.changed) << one.sql;
        EXPECT_EQ(got.any, one.any) << one.sql;
    }
}

TEST(prepared_names, the_one_prepare_of_a_name_is_found) {
    struct source {
        std::string_view text, name, found;
    };
    const source sources[] = {
        {"PREPARE p AS SELECT 1", "p", "PREPARE p AS SELECT 1"},
        {" PREPARE p AS SELECT 1; -- x", "p", " PREPARE p AS SELECT 1; -- x"},
        {"SELECT 1; PREPARE p AS SELECT ';' ; SELECT 2", "p", "PREPARE p AS SELECT ';'"},
        {"PREPARE a AS SELECT 1;prepare B(int) as select $1", "b", "prepare B(int) as select $1"},
        {"PREPARE a AS SELECT $$;PREPARE b AS$$;PREPARE \"B\" AS SELECT 1;", "B",
         "PREPARE \"B\" AS SELECT 1"},
        {"PREPARE p AS SELECT 1; DEALLOCATE p; PREPARE p AS SELECT 2", "p", ""},
        {"PREPARE p AS SELECT 1", "q", ""},
        {"DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END $$", "p", ""},
        {"PREPARE p AS SELECT '\\'; PREPARE q AS SELECT ';'", "q", ""},
        {"PREPARE p AS SELECT '\\\\'; PREPARE q AS SELECT 1", "q", "PREPARE q AS SELECT 1"},
        {"/* PREPARE p AS SELECT 1; */ PREPARE p AS SELECT 2", "p",
         "/* PREPARE p AS SELECT 1; */ PREPARE p AS SELECT 2"},
        {"PREPARE U&\"p\" AS SELECT 1", "p", ""},
        {"", "p", ""},
    };
    for (const auto& one : sources)
        EXPECT_EQ(prepare_statement_in(one.text, one.name), one.found) << one.text;
}

TEST(prepared_names, settings_that_decide_parsing_are_seen) {
    for (const auto* sql :
         {"SET DateStyle = 'ISO'", "SET LOCAL search_path = a", "SET TIME ZONE 'UTC'",
          "SELECT set_config('datestyle', 'x', true)", "SET NAMES 'x'", "SET ROLE a", "RESET ALL",
          "SET SESSION AUTHORIZATION a", "SET XML OPTION DOCUMENT", "SET SCHEMA 'a'",
          "SELECT set_config(E'date\\x73tyle', 'x', true)"}) {
        EXPECT_TRUE(may_change_parsing(sql, true)) << sql;
    }
    for (const auto* sql : {"SET statement_timeout = 1", "SET LOCAL work_mem = '4MB'",
                            "SELECT set_config('app.user_id', '5', true)", ""}) {
        EXPECT_FALSE(may_change_parsing(sql, true)) << sql;
    }
}

}  // namespace
}  // namespace sluice::protocol
