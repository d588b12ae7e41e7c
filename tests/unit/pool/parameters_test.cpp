#include "pool/parameters.hpp"

#include <gtest/gtest.h>

namespace sluice::pool {
namespace {

struct parameters_test : testing::Test {
    parameter_table table;

    parameters of(const std::vector<parameter_set::entry>& entries) {
        return table.with(table.none(), entries);
    }
    std::string sql(const std::vector<parameter_set::entry>& from,
                    const std::vector<parameter_set::entry>& to) {
        return settings_sql(*of(from), *of(to));
    }
    bool safe(const std::vector<parameter_set::entry>& from,
              const std::vector<parameter_set::entry>& to) {
        return change_cannot_fail(*of(from), *of(to));
    }
};

TEST_F(parameters_test, equal_sets_are_one_object) {
    EXPECT_EQ(of({{"a", "1"}, {"b", "2"}}), of({{"b", "2"}, {"a", "1"}}));
    EXPECT_EQ(table.without(of({{"a", "1"}}), "a"), table.none());
    EXPECT_EQ(table.with(of({{"a", "1"}}), "b", "2"), of({{"a", "1"}, {"b", "2"}}));
    EXPECT_NE(of({{"a", "1"}}), of({{"a", "2"}}));
    EXPECT_NE(of({{"a", "b"}}), of({{"ab", ""}}));
    EXPECT_TRUE(table.none()->empty());
}

TEST_F(parameters_test, names_are_found_in_any_case_and_kept_as_first_written) {
    const auto set = of({{"DateStyle", "ISO"}});
    ASSERT_NE(set->find("datestyle"), nullptr);
    EXPECT_EQ(*set->find("DATESTYLE"), "ISO");
    const auto changed = table.with(set, "DATESTYLE", "SQL");
    ASSERT_EQ(changed->entries().size(), 1U);
    EXPECT_EQ(changed->entries()[0], (parameter_set::entry{"DateStyle", "SQL"}));
    EXPECT_EQ(table.without(changed, "dateSTYLE"), table.none());
    EXPECT_EQ(set->find("datestyl"), nullptr);
    EXPECT_TRUE(same_name("TimeZone", "timezone"));
    EXPECT_FALSE(same_name("TimeZone", "timezones"));
    EXPECT_FALSE(same_name("[", "{")) << "only letters have a case";
}

TEST_F(parameters_test, a_later_change_of_a_name_wins) {
    EXPECT_EQ(of({{"a", "1"}, {"A", "2"}}), of({{"a", "2"}}));
}

TEST_F(parameters_test, changing_nothing_gives_the_same_set) {
    const auto set = of({{"a", "1"}});
    EXPECT_EQ(table.with(set, "A", "1"), set);
    EXPECT_EQ(table.without(set, "b"), set);
}

TEST_F(parameters_test, sets_in_use_survive_the_purge_of_others) {
    const auto kept = of({{"kept", "1"}});
    for (int i = 0; i < 1000; ++i)
        static_cast<void>(of({{"a", std::to_string(i)}}));
    EXPECT_EQ(of({{"kept", "1"}}), kept);
}

TEST_F(parameters_test, sql_of_no_difference_is_empty) {
    EXPECT_EQ(sql({}, {}), "");
    EXPECT_EQ(sql({{"a", "1"}}, {{"A", "1"}}), "");
}

TEST_F(parameters_test, sql_sets_what_differs_and_resets_what_is_gone) {
    EXPECT_EQ(sql({}, {{"a", "1"}, {"b", "2"}}), R"(SET "a"=E'1';SET "b"=E'2')");
    EXPECT_EQ(sql({{"a", "1"}}, {}), "RESET \"a\"");
    EXPECT_EQ(sql({{"a", "1"}, {"b", "1"}, {"c", "1"}}, {{"b", "2"}}),
              R"(SET "b"=E'2';RESET "a";RESET "c")");
}

TEST_F(parameters_test, sql_sets_lists_of_names_and_long_names_by_function) {
    EXPECT_EQ(sql({}, {{"search_path", "a"}, {"x", "1"}}),
              R"(SELECT pg_catalog.set_config(E'search_path',E'a',false);SET "x"=E'1')");
    const std::string longest(64, 'n');
    EXPECT_EQ(sql({}, {{longest, "1"}}),
              "SELECT pg_catalog.set_config(E'" + longest + "',E'1',false)");
}

TEST_F(parameters_test, sql_sets_who_the_session_is_last) {
    EXPECT_EQ(sql({}, {{"role", "r"}, {"session_authorization", "s"}, {"work_mem", "1"}}),
              R"(SET "work_mem"=E'1';)"
              "SELECT pg_catalog.set_config(E'session_authorization',E's',false);"
              "SELECT pg_catalog.set_config(E'role',E'r',false)");
    EXPECT_EQ(sql({{"role", "r"}}, {{"work_mem", "1"}}),
              R"(RESET SESSION AUTHORIZATION;RESET ROLE;SET "work_mem"=E'1')");
    EXPECT_EQ(sql({{"role", "r"}}, {{"role", "r"}}), "");
}

TEST_F(parameters_test, sql_quotes_what_could_end_a_literal_or_a_name) {
    EXPECT_EQ(sql({}, {{"a", "it's \\ ;--"}}), R"(SET "a"=E'it''s \\ ;--')");
    EXPECT_EQ(sql({}, {{"a", "\\'"}}), R"(SET "a"=E'\\''')");
    EXPECT_EQ(sql({}, {{"x'); DROP TABLE t; --", "1"}}), R"(SET "x'); DROP TABLE t; --"=E'1')");
    EXPECT_EQ(sql({}, {{"a\"=1; DROP", "1"}}), R"(SET "a""=1; DROP"=E'1')");
    EXPECT_EQ(sql({{"app.user\"; DROP", "1"}}, {}), "RESET \"app\".\"user\"\"; DROP\"");
    EXPECT_EQ(sql({}, {{"search_path", "\"a\", b"}}),
              "SELECT pg_catalog.set_config(E'search_path',E'\"a\", b',false)");
}

TEST_F(parameters_test, changes_that_are_checked_by_value_alone_cannot_fail_again) {
    EXPECT_TRUE(safe({}, {}));
    EXPECT_TRUE(safe({}, {{"Application_Name", "x"}, {"TimeZone", "UTC"}}));
    EXPECT_TRUE(safe({{"statement_timeout", "1"}}, {}));
    EXPECT_FALSE(safe({}, {{"role", "admin"}}));
    EXPECT_FALSE(safe({}, {{"application_name", "x"}, {"session_authorization", "x"}}));
    EXPECT_FALSE(safe({{"role", "admin"}}, {}));
    EXPECT_TRUE(safe({{"role", "admin"}}, {{"role", "admin"}, {"application_name", "x"}}));
}

}  // namespace
}  // namespace sluice::pool
