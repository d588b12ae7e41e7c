#include "config/pgbouncer_ini.hpp"

#include <gtest/gtest.h>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

pgbouncer_ini read(const std::string& text, std::map<std::string, std::string> others = {}) {
    fake_world world;
    world.files = std::move(others);
    world.files["a.ini"] = text;
    return read_pgbouncer_ini("a.ini", world.env());
}

config_error error_in(const std::string& text, std::map<std::string, std::string> others = {}) {
    try {
        static_cast<void>(read(text, std::move(others)));
    } catch (const config_error& error) {
        return error;
    }
    ADD_FAILURE() << "no error in:\n" << text;
    return {"", 0, "", "", ""};
}

word_pairs words(const std::string& value) {
    return parse_words({"db", value, {"a.ini", 7}});
}

TEST(pgbouncer_ini, sections_are_read_with_their_lines) {
    const auto got = read(
        "; c\n# c\n[databases]\n a = host=x \n[users]\nu=pool_mode=session\n[peers]\n1=host=y\n"
        "[pgbouncer]\nlisten_addr = ; not a comment\n");
    ASSERT_EQ(got.databases.size(), 1U);
    EXPECT_EQ(got.databases[0].key, "a");
    EXPECT_EQ(got.databases[0].value, "host=x");
    EXPECT_EQ(got.databases[0].at, (text_place{"a.ini", 4}));
    EXPECT_EQ(got.users.at(0).value, "pool_mode=session");
    EXPECT_EQ(got.peers.at(0).key, "1");
    EXPECT_EQ(got.settings.at(0).value, "; not a comment");
}

TEST(pgbouncer_ini, quoted_name_may_hold_anything) {
    EXPECT_EQ(read("[databases]\n\"a \"\"b\"\"=\" = host=x").databases.at(0).key, "a \"b\"=");
    EXPECT_EQ(read("[databases]\n* = host=x").databases.at(0).key, "*");
}

TEST(pgbouncer_ini, windows_line_ends_are_no_part_of_values) {
    EXPECT_EQ(read("[pgbouncer]\r\npool_mode = session\r\n").settings.at(0).value, "session");
}

TEST(pgbouncer_ini, include_goes_on_in_the_section) {
    const auto got = read("[pgbouncer]\n%include b.ini\nc=3", {{"b.ini", "b = 2\n[users]\nu="}});
    EXPECT_EQ(got.settings.at(0).at, (text_place{"b.ini", 1}));
    ASSERT_EQ(got.users.size(), 2U);  // as PgBouncer has it: the section is the reader's
    EXPECT_EQ(got.users[1].key, "c");
}

TEST(pgbouncer_ini, include_is_found_beside_the_file) {
    fake_world world;
    world.files = {{"/etc/p/a.ini", "%include b.ini"}, {"/etc/p/b.ini", "[users]\nu="}};
    EXPECT_EQ(read_pgbouncer_ini("/etc/p/a.ini", world.env()).users.size(), 1U);
}

TEST(pgbouncer_ini, mistakes_have_their_line) {
    EXPECT_STREQ(error_in("x = 1").what(),
                 "a.ini:1: found a line before the first section, expected [databases], [users], "
                 "[peers] or [pgbouncer]");
    EXPECT_EQ(error_in("[pgbouncer]\n[other]").line, 2);
    EXPECT_EQ(error_in("[pgbouncer]\n\nnothing").line, 3);
    EXPECT_EQ(error_in("[pgbouncer]\n= 1").line, 2);
    EXPECT_EQ(error_in("[databases]\n\"a = 1").line, 2);
    EXPECT_EQ(error_in("[databases]\na b = 1").line, 2);
    EXPECT_EQ(error_in("%includes b").line, 1);
    EXPECT_EQ(error_in("[users]\nu = \xFF").line, 2);
    EXPECT_EQ(error_in("[users]\n%include missing.ini").line, 2);
    EXPECT_EQ(error_in("[users]\n%include a.ini").key, "%include");
    const auto in_included = error_in("%include b.ini", {{"b.ini", "\n[users]\nwhat"}});
    EXPECT_EQ(in_included.file, "b.ini");
    EXPECT_EQ(in_included.line, 3);
}

TEST(pgbouncer_ini, missing_file_is_named) {
    EXPECT_THROW(static_cast<void>(read_pgbouncer_ini("none.ini", fake_world{}.env())),
                 config_error);
}

TEST(pgbouncer_words, quotes_and_blanks_are_read) {
    EXPECT_EQ(
        words(" host = db\tuser='it''s me'  password='' dbname=a=b "),
        (word_pairs{{"host", "db"}, {"user", "it's me"}, {"password", ""}, {"dbname", "a=b"}}));
    EXPECT_TRUE(words("").empty());
}

TEST(pgbouncer_words, mistakes_are_errors_without_the_value) {
    for (const auto* const text : {"host", "=x", "password='secret", "a=b secret"}) {
        try {
            static_cast<void>(words(text));
            ADD_FAILURE() << text;
        } catch (const config_error& error) {
            EXPECT_EQ(error.line, 7);
            EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
        }
    }
}

std::vector<auth_entry> auth(const std::string& text) {
    fake_world world;
    world.files["users.txt"] = text;
    return read_auth_file({"auth_file", "users.txt", {"a.ini", 5}}, world.env());
}

TEST(pgbouncer_auth_file, users_are_read) {
    const auto got = auth("; c\n\n\"a\" \"x\" rest\n  \"b \"\"q\"\"\"\t\"p\"\"w\"\n");
    ASSERT_EQ(got.size(), 2U);
    EXPECT_EQ(got[0].user, "a");
    EXPECT_EQ(got[0].password, "x");
    EXPECT_EQ(got[1].user, "b \"q\"");
    EXPECT_EQ(got[1].password, "p\"w");
    EXPECT_EQ(got[1].at, (text_place{"users.txt", 4}));
}

TEST(pgbouncer_auth_file, broken_line_is_named_without_its_text) {
    for (const auto* const text : {"\"a\" \"x\"\nsecret", "\n\"secret\"", "\n\"a\" \"secret"}) {
        try {
            static_cast<void>(auth(text));
            ADD_FAILURE() << text;
        } catch (const config_error& error) {
            EXPECT_EQ(error.line, 2);
            EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
        }
    }
}

TEST(pgbouncer_auth_file, missing_file_is_a_mistake_of_the_setting) {
    try {
        static_cast<void>(
            read_auth_file({"auth_file", "users.txt", {"a.ini", 5}}, fake_world{}.env()));
        ADD_FAILURE();
    } catch (const config_error& error) {
        EXPECT_EQ(error.file, "a.ini");
        EXPECT_EQ(error.line, 5);
        EXPECT_EQ(error.key, "auth_file");
    }
}

}  // namespace
}  // namespace sluice::config
