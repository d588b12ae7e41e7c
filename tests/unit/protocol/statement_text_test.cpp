#include "protocol/statement_text.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace sluice::protocol {
namespace {

std::string shown(std::string_view sql, std::size_t limit = 2048) {
    return normalised_statement(sql, limit);
}

struct text_case {
    std::string_view sql;
    std::string_view want;
};

TEST(statement_text, constants_become_parameters) {
    const std::vector<text_case> cases{
        {"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
         "select abalance from pgbench_accounts where aid = $1"},
        {"select * from t where a = 'x''y' and b = E'\\'z' and c = $$raw$$ and d = 1.5e-3",
         "select * from t where a = $1 and b = $2 and c = $3 and d = $4"},
        {"select b'101', x'ff', U&'d\\0061t'", "select $1, $2, $3"},
        {"select $2, 5, $1", "select $2, $3, $1"},
        {"select count(*), t.*, a[1], b::int from \"My Table\" t",
         "select count(*), t.*, a[$1], b::int from \"My Table\" t"},
        {"INSERT INTO t(a,b) VALUES (1,'a') RETURNING id",
         "insert into t(a, b) values ($1, $2) returning id"},
        {"update t set a=-5 where b>=3", "update t set a = - $1 where b >= $2"},
        {"(select 1) union all (select 2)", "(select $1) union all (select $2)"},
        {"call f(1, 'secret')", "call f($1, $2)"},
        {"do $x$ begin perform 'secret'; end $x$", "do $1"},
        {"copy t (a, b) from stdin with (format csv, delimiter ';')",
         "copy t(a, b) from stdin with (format csv, delimiter $1)"},
        {"execute p(1, 'secret')", "execute p($1, $2)"},
        {"notify jobs, 'secret'", "notify jobs, $1"},
        {"explain analyze select 1", "explain analyze select $1"},
        {"begin isolation level serializable", "begin isolation level serializable"},
        {"COMMIT", "commit"},
        {"select 1; ; select 'x' ;", "select $1; select $2"},
        {"", "<empty>"},
        {" -- nothing\n;", "<empty>"},
    };
    for (const auto& one : cases)
        EXPECT_EQ(shown(one.sql), one.want) << one.sql;
}

TEST(statement_text, spacing_case_and_comments_make_no_difference) {
    const auto want = shown("select a from t where b = 1");
    EXPECT_EQ(shown("SELECT  a\n\tFROM t -- secret\n WHERE b=/* secret /* nested */ */ 2"), want);
    EXPECT_EQ(shown("/* app:secret */ select a from t where b = 'x'"), want);
}

TEST(statement_text, lists_of_any_length_are_one) {
    EXPECT_EQ(shown("select 1 from t where a in (1, 2, 3)"),
              "select $1 from t where a in ($2, ...)");
    EXPECT_EQ(shown("select 1 from t where a in (1, 2)"), "select $1 from t where a in ($2, ...)");
    EXPECT_EQ(shown("select 1 from t where a in ($3, $4)"),
              "select $5 from t where a in ($3, ...)");
    EXPECT_EQ(shown("select 1 from t where a in (1)"), "select $1 from t where a in ($2)");
    EXPECT_EQ(shown("select array[1, 2, 3]"), "select array[$1, ...]");
    EXPECT_EQ(shown("insert into t values (1, 'a'), (2, 'b'), (3, 'c')"),
              "insert into t values ($1, $2), ...");
    EXPECT_EQ(shown("insert into t values (1, f(2)), (2, 'b')"),
              "insert into t values ($1, f($2)), ($3, $4)");
    EXPECT_EQ(shown("select 1 from t where a in (select b from c)"),
              "select $1 from t where a in (select b from c)");
}

TEST(statement_text, names_that_are_made_up_are_left_out) {
    EXPECT_EQ(shown("savepoint s140_x7"), "savepoint ...");
    EXPECT_EQ(shown("SAVEPOINT \"_pg3_1\""), "savepoint ...");
    EXPECT_EQ(shown("release savepoint s140_x7"), "release savepoint ...");
    EXPECT_EQ(shown("rollback to savepoint s140_x7"), "rollback to savepoint ...");
    EXPECT_EQ(shown("rollback"), "rollback");
    EXPECT_EQ(shown("declare \"c_17\" cursor for select a from t where b = 1"),
              "declare ... cursor for select a from t where b = $1");
    EXPECT_EQ(shown("fetch forward 100 from \"c_17\""), "fetch forward $1 from ...");
    EXPECT_EQ(shown("close \"c_17\""), "close ...");
    EXPECT_EQ(shown("deallocate all"), "deallocate all");
}

// Wherever a secret can stand in a statement, it is not in what is shown.
TEST(statement_text, secrets_are_never_shown) {
    const std::vector<std::string_view> texts{
        "alter role alice password 'hunter2'",
        "alter role alice with encrypted password 'hunter2' valid until 'hunter2'",
        "create user alice password 'hunter2'",
        "create role hunter2 login",
        "alter role alice set app.key to hunter2",
        "alter role alice set app.key = 'hunter2'",
        "alter database d set app.key to hunter2",
        "alter system set app.key = hunter2",
        "set app.key = hunter2",
        "set app.key to 'hunter2', hunter2",
        "set local app.key = hunter2",
        "set session app.key = 'hunter2'",
        "select set_config('app.key', 'hunter2', false)",
        "create subscription s connection 'host=h password=hunter2' publication p",
        "alter subscription s connection 'password=hunter2'",
        "create server s foreign data wrapper w options (password 'hunter2', host 'hunter2')",
        "create user mapping for alice server s options (user 'a', password 'hunter2')",
        "alter user mapping for current_user server s options (set password 'hunter2')",
        "select * from dblink('host=h password=hunter2', 'select 1') as t(a int)",
        "select dblink_connect('c', $$password=hunter2$$)",
        "copy t from program 'curl -u a:hunter2 https://host'",
        "copy t to 'hunter2' with (delimiter 'h', null 'hunter2')",
        "do $$ begin execute 'alter role a password ''hunter2'''; end $$",
        "create function f() returns text language sql as 'select ''hunter2'''",
        "create function f() returns text language sql return 'hunter2'",
        "create procedure p() begin atomic select 'hunter2'; select $x$hunter2$x$; end",
        "comment on table t is 'hunter2'",
        "security label on table t is 'hunter2'",
        "notify c, 'hunter2'",
        "prepare p as select 'hunter2'",
        "execute p('hunter2')",
        "prepare transaction 'hunter2'",
        "create table t (a text default 'hunter2')",
        "create view v as select 'hunter2'",
        "create index i on t (a) where b = 'hunter2'",
        "alter table t add constraint c check (a <> 'hunter2')",
        "import foreign schema s from server x into y options (password 'hunter2')",
        "select 'hunter2' -- hunter2",
        "select 1 /* hunter2 */",
        "select E'it\\'s hunter2', U&'hunter2', n'hunter2'",
        // What the grammar refuses.
        "alter role alice password hunter2",
        "create user alice with password 'hunter2",
        "hunter2",
        "hunter2 select 1",
        "select 'a' hunter2 from from",
        "selecthunter2 1",
        "select \"hunter2",
        "select $$hunter2",
        // Read with standard_conforming_strings off, the string ends elsewhere.
        "select 'a\\'', hunter2, '\\'b'",
        "select 'it\\'s', \"hunter2\", 'b\\'c'",
    };
    for (const auto sql : texts) {
        const auto got = shown(sql);
        EXPECT_EQ(got.find("hunter2"), std::string::npos) << sql << "\n" << got;
        EXPECT_FALSE(got.empty());
    }
    EXPECT_EQ(shown(texts[0]), "alter role ...");
    EXPECT_EQ(shown("set application_name = 'x'"), "set application_name ...");
    EXPECT_EQ(shown("set session x.y to z"), "set session x.y ...");
    EXPECT_EQ(shown("create unique index i on t (a)"), "create unique index ...");
    EXPECT_EQ(shown("create temp table t as select 1"), "create temp table ...");
}

TEST(statement_text, what_does_not_parse_is_its_first_word) {
    EXPECT_EQ(shown("SELECT from where"), "select <unparsed>");
    EXPECT_EQ(shown("  /* c */ Update set"), "update <unparsed>");
    EXPECT_EQ(shown("nonsense 'x'"), "<unparsed>");
    EXPECT_EQ(shown(std::string("select 1\0, 'x'", 14)), "select <unparsed>");
    EXPECT_EQ(shown("select '" + std::string(20000, 'x') + "'"), "select <unparsed>");
    EXPECT_EQ(shown("select \"\xff\xfe\" from t"), "select <unparsed>");
    EXPECT_EQ(unparsed_statement("insert"), "insert <unparsed>");
    EXPECT_EQ(unparsed_statement(""), "<unparsed>");
}

TEST(statement_text, long_texts_are_cut) {
    std::string sql = "select a";
    for (int i = 0; i < 1000; ++i)
        sql += ", column_" + std::to_string(i);
    const auto got = shown(sql, 500);
    EXPECT_LE(got.size(), 504U);
    EXPECT_TRUE(got.ends_with(" ..."));
    EXPECT_EQ(shown("select " + std::string(12000, 'n'), 20), "select nnnnnnnnnnnnn ...");
    EXPECT_EQ(shown("select naïïïïïïïïïïïï", 18), "select naïïïï ...");
}

TEST(statement_text, names_may_be_in_any_language) {
    EXPECT_EQ(shown("select größe from \"日本\""), "select größe from \"日本\"");
}

// The grammar's own stack is not the thread's: depth is refused, or it is fine.
TEST(statement_text, depth_is_survived) {
    for (const std::string_view part : {"(", "not ", "- ", "array[", "case when ", "select ("}) {
        std::string sql = "select ";
        while (sql.size() + part.size() < longest_statement)
            sql += part;
        EXPECT_FALSE(shown(sql).empty());
    }
    std::string sql = "select ";
    for (int i = 0; i < 7000; ++i)
        sql += "- ";
    EXPECT_FALSE(shown(sql + "1").empty());
    sql = "select ";
    for (int i = 0; i < 5000; ++i)
        sql += "(";
    sql += "1";
    for (int i = 0; i < 5000; ++i)
        sql += ")";
    EXPECT_FALSE(shown(sql).empty());
    sql = "select 1";
    for (int i = 0; i < 5000; ++i)
        sql += "+1";
    EXPECT_FALSE(shown(sql).empty());
}

// Pieces of statements in any order: a constant of ours is never shown, nothing breaks.
TEST(statement_text, random_texts_show_no_constant) {
    const auto seed = std::random_device{}();
    RecordProperty("seed", std::to_string(seed));
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const std::vector<std::string> pieces{"select",
                                          "insert into t values",
                                          "update t set a =",
                                          "where",
                                          "'hunter2'",
                                          "E'hunter2\\''",
                                          "$$hunter2$$",
                                          "$x$ hunter2 $x$",
                                          "(",
                                          ")",
                                          ",",
                                          ";",
                                          "a",
                                          "\"B\"",
                                          "= 1",
                                          "in (1, 2)",
                                          "/* hunter2 */",
                                          "-- hunter2\n",
                                          "alter role a password 'hunter2'",
                                          "set a.b to hunter2;",
                                          "U&'hunter2'",
                                          "B'1'",
                                          "'hun''hunter2'",
                                          "from t",
                                          "as x",
                                          "union",
                                          "null",
                                          "[1]",
                                          "::text",
                                          "create table",
                                          "\\",
                                          "'",
                                          "\"",
                                          "$1",
                                          "1e5",
                                          ".5",
                                          "values ('hunter2', 1), ('hunter2', 2)"};
    std::size_t read = 0;
    for (int i = 0; i < 5000; ++i) {
        std::string sql;
        const auto count = 1 + random() % 8;
        for (std::size_t k = 0; k < count; ++k) {
            const auto& piece = pieces[random() % pieces.size()];
            // Directly behind a letter, a dollar sign goes on with the name: a$$b$$ is one.
            if (piece[0] == '$') sql += ' ';
            sql += piece;
            if (random() % 4 != 0) sql += ' ';
        }
        const auto got = shown(sql, 200);
        // A quoted name may hold anything; ours holds no secret unless the quotes are odd.
        if (sql.find('"') == std::string::npos || got.find('"') == std::string::npos) {
            ASSERT_EQ(got.find("hunter2"), std::string::npos) << sql << "\n" << got;
        }
        ASSERT_LT(got.size(), 400U);
        if (got.find("<unparsed>") == std::string::npos) ++read;
    }
    EXPECT_GT(read, 20U);
}

TEST(statement_text, random_bytes_are_survived) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 3000; ++i) {
        std::string sql = i % 2 == 0 ? "select " : "";
        const auto size = random() % 60;
        for (std::size_t k = 0; k < size; ++k)
            sql += static_cast<char>(random() % 256);
        EXPECT_FALSE(shown(sql).empty());
    }
}

}  // namespace
}  // namespace sluice::protocol
