// The expected outcomes were checked against PostgreSQL 15.
#include "protocol/pg_options.hpp"

#include <gtest/gtest.h>

namespace sluice::protocol {
namespace {

using words = std::vector<std::string>;
using settings = std::vector<setting>;

settings parsed(std::string_view options) {
    settings out;
    const auto error = parse_options(options, out);
    EXPECT_FALSE(error) << options << ": " << error->message;
    return out;
}

login_error error_of(std::string_view options) {
    settings out;
    return parse_options(options, out).value_or(login_error{});
}

TEST(pg_options, words_split_at_any_white_space) {
    EXPECT_EQ(split_options(""), words{});
    EXPECT_EQ(split_options(" \t\n\v\f\r"), words{});
    EXPECT_EQ(split_options(" a\tb\nc\vd\fe\rf "), (words{"a", "b", "c", "d", "e", "f"}));
}

TEST(pg_options, backslash_takes_the_next_character_as_it_is) {
    EXPECT_EQ(split_options(R"(a\ b)"), words{"a b"});
    EXPECT_EQ(split_options(R"(a\\ b)"), (words{"a\\", "b"}));
    EXPECT_EQ(split_options(R"(\a\-)"), words{"a-"});
    EXPECT_EQ(split_options(R"(a\)"), words{"a"});
    EXPECT_EQ(split_options("\\"), words{""});
    EXPECT_EQ(split_options("\\\t"), words{"\t"});
}

TEST(pg_options, plus_and_percent_stay) {
    EXPECT_EQ(parsed("-c search_path=a+b%20c"), (settings{{"search_path", "a+b%20c"}}));
}

TEST(pg_options, settings_in_every_form_are_taken_in_order) {
    EXPECT_EQ(parsed("-c a=1 -cb=2 --c=3 -c  d=4"),
              (settings{{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}}));
}

TEST(pg_options, dashes_become_underscores_in_names_only) {
    EXPECT_EQ(parsed("--statement-timeout=5-s -c work-mem=1-MB"),
              (settings{{"statement_timeout", "5-s"}, {"work_mem", "1-MB"}}));
}

TEST(pg_options, value_keeps_its_equals_signs_spaces_and_emptiness) {
    EXPECT_EQ(parsed(R"(-c search_path=a,\ "b\ c" --application_name= --x.y=a=b)"),
              (settings{{"search_path", "a, \"b c\""}, {"application_name", ""}, {"x.y", "a=b"}}));
}

TEST(pg_options, short_switches_stand_for_settings) {
    EXPECT_EQ(parsed("-e"), (settings{{"datestyle", "euro"}}));
    EXPECT_EQ(parsed("-S 64"), (settings{{"work_mem", "64"}}));
    EXPECT_EQ(parsed("-s -O -P -F -W 1"), (settings{{"log_statement_stats", "true"},
                                                    {"allow_system_table_mods", "true"},
                                                    {"ignore_system_indexes", "true"},
                                                    {"fsync", "false"},
                                                    {"post_auth_delay", "1"}}));
    EXPECT_EQ(parsed("-fs -f i -fo -fb -ft -fn -fm -fh"),
              (settings{{"enable_seqscan", "false"},
                        {"enable_indexscan", "false"},
                        {"enable_indexonlyscan", "false"},
                        {"enable_bitmapscan", "false"},
                        {"enable_tidscan", "false"},
                        {"enable_nestloop", "false"},
                        {"enable_mergejoin", "false"},
                        {"enable_hashjoin", "false"}}));
    EXPECT_EQ(parsed("-tpa -tpl -te"), (settings{{"log_parser_stats", "true"},
                                                 {"log_planner_stats", "true"},
                                                 {"log_executor_stats", "true"}}));
}

TEST(pg_options, debug_level_stands_for_several_settings) {
    EXPECT_EQ(parsed("-d 0"), (settings{{"log_min_messages", "notice"}}));
    EXPECT_EQ(parsed("-d1"), (settings{{"log_min_messages", "debug1"}}));
    EXPECT_EQ(parsed("-d 5"), (settings{{"log_min_messages", "debug5"},
                                        {"log_statement", "all"},
                                        {"debug_print_parse", "true"},
                                        {"debug_print_plan", "true"},
                                        {"debug_print_rewritten", "true"}}));
    EXPECT_EQ(parsed("-d 99999999999999999999999").size(), 5U);
}

TEST(pg_options, switches_without_effect_are_passed_over_with_their_arguments) {
    EXPECT_EQ(parsed("-b -C x -D y -E -j -n -r z -T -v 3 -c a=1"), (settings{{"a", "1"}}));
}

TEST(pg_options, joined_switches_are_taken_apart) {
    EXPECT_EQ(parsed("-esca=1"),
              (settings{{"datestyle", "euro"}, {"log_statement_stats", "true"}, {"a", "1"}}));
    EXPECT_EQ(parsed("-ec a=1"), (settings{{"datestyle", "euro"}, {"a", "1"}}));
    EXPECT_EQ(parsed("-e-x-y=1"), (settings{{"datestyle", "euro"}, {"x_y", "1"}}));
}

TEST(pg_options, double_dash_ends_the_switches) {
    EXPECT_EQ(parsed("-c a=1 --"), (settings{{"a", "1"}}));
    EXPECT_EQ(error_of("-- -c a=1").message,
              "invalid command-line argument for server process: -c");
}

TEST(pg_options, anything_else_is_a_syntax_error) {
    for (const std::string_view options :
         {"a", "a=1", "-", "-x", "-A", "-:", "-?", "-c", "-e -c", "-S", "-fz", "-f", "-tx", "-tp",
          "\\ ", "-c a=1 b", "\xff"}) {
        const auto error = error_of(options);
        EXPECT_STREQ(error.sqlstate, "42601") << options;
        EXPECT_TRUE(error.message.starts_with("invalid command-line argument for server process: "))
            << options;
    }
}

TEST(pg_options, setting_without_a_value_is_a_syntax_error) {
    EXPECT_EQ(error_of("--work_mem").message, "--work_mem requires a value");
    EXPECT_EQ(error_of("-c work_mem").message, "-c work_mem requires a value");
    EXPECT_EQ(error_of("-c -c").message, "-c -c requires a value");
    EXPECT_STREQ(error_of("--work_mem").sqlstate, "42601");
}

}  // namespace
}  // namespace sluice::protocol
