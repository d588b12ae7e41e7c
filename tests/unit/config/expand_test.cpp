#include "config/expand.hpp"

#include <gtest/gtest.h>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

const fake_world world{.variables = {{"NAME", "value"},
                                     {"_a1", "x"},
                                     {"EMPTY", ""},
                                     {"DIR", "/run/credentials"},
                                     {"TRICK", "${NAME}"}},
                       .files = {{"/etc/secret", "hunter2\n"},
                                 {"/run/credentials/alice", "s3cret\r\n"},
                                 {"/etc/two", "one\ntwo\n\n"}}};

std::string text_of(std::string_view text) {
    return expand(text, world.env()).text;
}

TEST(expand, text_without_references_stays) {
    for (const auto* text : {"", "plain", "$", "a$b", "$NAME", "{NAME}", "100%", "$ {NAME}",
                             "SCRAM-SHA-256$4096:c2FsdA==$a:b"}) {
        const auto out = expand(text, world.env());
        EXPECT_EQ(out.text, text);
        EXPECT_FALSE(out.from_outside);
    }
}

TEST(expand, variable_is_replaced_wherever_it_stands) {
    EXPECT_EQ(text_of("${NAME}"), "value");
    EXPECT_EQ(text_of("a${NAME}b${_a1}c"), "avaluebxc");
    EXPECT_EQ(text_of("[${EMPTY}]"), "[]");
    EXPECT_TRUE(expand("${NAME}", world.env()).from_outside);
}

TEST(expand, two_dollars_are_one) {
    EXPECT_EQ(text_of("$$"), "$");
    EXPECT_EQ(text_of("$$$$"), "$$");
    EXPECT_EQ(text_of("$${NAME}"), "${NAME}");
    EXPECT_EQ(text_of("$$${NAME}"), "$value");
}

TEST(expand, file_is_read_without_its_line_end) {
    EXPECT_EQ(text_of("${file:/etc/secret}"), "hunter2");
    EXPECT_EQ(text_of("${file:/etc/two}"), "one\ntwo");
    EXPECT_EQ(text_of("${file:${DIR}/alice}"), "s3cret");
}

TEST(expand, value_of_a_variable_is_not_expanded_again) {
    EXPECT_EQ(text_of("${TRICK}"), "${NAME}");
}

TEST(expand, unset_variable_throws_with_its_name) {
    try {
        text_of("${MISSING}");
        FAIL();
    } catch (const expand_error& error) {
        EXPECT_NE(error.found.find("MISSING"), std::string::npos);
    }
}

TEST(expand, unreadable_file_throws_with_path_and_reason) {
    try {
        text_of("${file:/nowhere}");
        FAIL();
    } catch (const expand_error& error) {
        EXPECT_NE(error.found.find("/nowhere"), std::string::npos);
        EXPECT_NE(error.found.find("No such file"), std::string::npos);
    }
}

TEST(expand, unreadable_file_is_named_as_written) {
    try {
        text_of("${file:${NAME}/x}");
        FAIL();
    } catch (const expand_error& error) {
        EXPECT_NE(error.found.find("${file:${NAME}/x}"), std::string::npos) << error.found;
        EXPECT_EQ(error.found.find("value"), std::string::npos) << error.found;
    }
}

TEST(expand, malformed_reference_throws) {
    for (const auto* text : {"${", "${NAME", "${}", "${1A}", "${A-B}", "${NAME:-x}", "${ NAME}",
                             "${file:}", "${File:/a}", "${file:${DIR/alice}", "${file:${}}",
                             "${file:${file:/etc/secret}}", "${file:${MISSING}}"}) {
        EXPECT_THROW(text_of(text), expand_error) << text;
    }
}

}  // namespace
}  // namespace sluice::config
