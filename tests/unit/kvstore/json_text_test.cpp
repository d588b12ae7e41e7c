#include "kvstore/json_text.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace sluice::kvstore {
namespace {

using namespace std::string_literals;

std::string compact(std::string_view text) {
    std::string out;
    json_fault fault;
    if (compact_json(text, out, fault)) return out;
    return std::to_string(fault.offset) + ": " + std::string(fault.what);
}

std::string pretty(std::string_view text, std::size_t level = 0) {
    std::string out;
    return pretty_json(text, level, out) ? out : "refused" + out;
}

std::string nested(std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
}

TEST(json_text, canonical_what_stringify_writes_is_true) {
    for (const char* text : {"0",
                             "1",
                             "-1",
                             "42",
                             "12345",
                             "9007199254740991",
                             "-9007199254740991",
                             "0.1",
                             "-0.5",
                             "3.14",
                             "0.000001",
                             "0.0000015",
                             "123456.789",
                             "9007199254740.5",
                             "4503599627370495.5",
                             "true",
                             "false",
                             "null",
                             "{}",
                             "[]",
                             "[[]]",
                             "[{}]",
                             R"({"a":1})",
                             R"([1,"a",null])",
                             R"({"a":{"b":[1,2,{"c":""}]},"d":"e"})",
                             R"(["\n\u0001\ud800\"\\"])",
                             R"({"":0})",
                             R"({"a":{"x":1},"b":{"x":1}})",
                             R"(["a","a"])",
                             "[\"\xc3\xa9\x7f\"]",
                             R"({"$base64":"aGk="})"}) {
        EXPECT_TRUE(is_canonical_json(text)) << text;
    }
}

TEST(json_text, canonical_any_other_text_is_false) {
    for (const std::string& text : std::vector<std::string>{"",
                                                            "hello",
                                                            "tru",
                                                            "truex",
                                                            "nul",
                                                            "nothing",
                                                            "f",
                                                            "t",
                                                            "\"a\"",
                                                            " 1",
                                                            "1 ",
                                                            "1\n",
                                                            "007",
                                                            "01",
                                                            "+1",
                                                            "-",
                                                            "--1",
                                                            "-0",
                                                            "0.0",
                                                            "-0.0",
                                                            "1.0",
                                                            "0.10",
                                                            "1.",
                                                            ".5",
                                                            "1e5",
                                                            "1E5",
                                                            "1.5e3",
                                                            "0.0000001",
                                                            "9007199254740992",
                                                            "-9007199254740992",
                                                            "12345678901234567890",
                                                            "0.30000000000000001",
                                                            "0.1000000000000000055511151231257827",
                                                            "9007199254740993.5",
                                                            "12a",
                                                            "1,2",
                                                            "1]",
                                                            "NaN",
                                                            "Infinity",
                                                            "-Infinity",
                                                            "123456.7890123456789",
                                                            "{",
                                                            "}",
                                                            "[",
                                                            "{]",
                                                            "[1,]",
                                                            "[,1]",
                                                            "[1 ,2]",
                                                            "[1, 2]",
                                                            "[ ]",
                                                            "{ }",
                                                            R"({"a": 1})",
                                                            R"({"a":1,})",
                                                            R"({"a"})",
                                                            R"({a:1})",
                                                            R"({"a":1}{})",
                                                            "[1][2]",
                                                            R"({"a":1,"a":2})",
                                                            R"({"a":1,"b":2,"a":3})",
                                                            R"([{"a":1,"a":1}])",
                                                            R"(["\/"])",
                                                            R"(["\u0041"])",
                                                            R"(["\uD800"])",
                                                            R"({"\u0061":1})",
                                                            "[\"\n\"]",
                                                            "[\"\xff\"]",
                                                            "[\"\xed\xa0\x80\"]",
                                                            "[1.0]",
                                                            "[-0]",
                                                            "[1e5]",
                                                            "[1\0]"s,
                                                            "1\0"s,
                                                            "\xef\xbb\xbf{}"}) {
        EXPECT_FALSE(is_canonical_json(text)) << testing::PrintToString(text);
    }
}

TEST(json_text, canonical_name_twice_in_a_large_object_is_false) {
    std::string text = "{";
    for (int i = 0; i < 5000; ++i)
        text += "\"k" + std::to_string(i * 7919 % 5000) + "\":" + std::to_string(i) + ',';
    EXPECT_TRUE(is_canonical_json(text + R"("last":1})"));
    EXPECT_FALSE(is_canonical_json(text + R"("k77":1})"));
}

TEST(json_text, nesting_up_to_the_limit_is_read) {
    EXPECT_TRUE(is_canonical_json(nested(json_most_nested)));
    EXPECT_FALSE(is_canonical_json(nested(json_most_nested + 1)));
    EXPECT_EQ(compact(nested(json_most_nested)), nested(json_most_nested));
    EXPECT_EQ(compact(nested(json_most_nested + 1)),
              "1000: arrays and objects are nested too deep");
    EXPECT_EQ(compact(std::string(1 << 20, '[')), "1000: arrays and objects are nested too deep");
    json_fault fault;
    EXPECT_TRUE(check_json(nested(3), 3, fault));
    EXPECT_FALSE(check_json(nested(4), 3, fault));
}

TEST(json_text, compact_valid_text_keeps_all_but_white_space) {
    EXPECT_EQ(compact(" 1.0 "), "1.0");
    EXPECT_EQ(compact("\t[ 1e5 ,\r\n -0, 12345678901234567890, 0.10 ]"),
              "[1e5,-0,12345678901234567890,0.10]");
    EXPECT_EQ(compact(R"( { "b" : 1 , "a" : [ ] , "b" : { } } )"), R"({"b":1,"a":[],"b":{}})");
    EXPECT_EQ(compact(R"( " \u0041\/ \ud800 " )"), R"(" \u0041\/ \ud800 ")");
    EXPECT_EQ(compact("null"), "null");
}

TEST(json_text, compact_broken_text_says_where) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"", "0: the text ends too early"},
        {"  ", "2: the text ends too early"},
        {"{", "1: the text ends too early"},
        {"[1", "2: the text ends too early"},
        {"[1,]", "3: a value expected"},
        {"[1 2]", "3: a comma or ] expected"},
        {"[01]", "2: a comma or ] expected"},
        {"[1}", "2: a comma or ] expected"},
        {R"({"a":1])", "6: a comma or } expected"},
        {R"({"a" 1})", "5: a colon expected"},
        {R"({a:1})", "1: a member's name expected"},
        {R"({"a":1,})", "7: a member's name expected"},
        {R"({1:1})", "1: a member's name expected"},
        {"1 1", "2: more text behind the end"},
        {"[]]", "2: more text behind the end"},
        {"[1.]", "3: a number that is no JSON number"},
        {"[-]", "2: a number that is no JSON number"},
        {"[1e+]", "4: a number that is no JSON number"},
        {"[+1]", "1: a value expected"},
        {"[.5]", "1: a value expected"},
        {"[nul]", "1: a value expected"},
        {"[True]", "1: a value expected"},
        {"['a']", "1: a value expected"},
        {"[1]\0"s, "3: more text behind the end"},
        {"\0"s, "0: a value expected"},
        {"\"\x01\"", "1: a byte that a JSON string may not hold"},
        {"\"ab\x80\"", "3: a byte that a JSON string may not hold"},
        {"\"\xed\xa0\x80\"", "1: a byte that a JSON string may not hold"},
        {R"("\x")", "1: an escape that JSON does not have"},
        {R"("\u12")", "1: an escape that JSON does not have"},
        {R"("abc)", "4: the text ends too early"},
        {"\xef\xbb\xbf{}", "0: a value expected"},
    };
    for (const auto& [text, expected] : cases)
        EXPECT_EQ(compact(text), expected) << testing::PrintToString(text);
}

TEST(json_text, pretty_is_laid_out_as_stringify_does) {
    EXPECT_EQ(pretty("1"), "1");
    EXPECT_EQ(pretty("[]"), "[]");
    EXPECT_EQ(pretty("{}"), "{}");
    EXPECT_EQ(pretty(R"([1,[],{},["a"],{"b":{"c":null}}])"), R"([
  1,
  [],
  {},
  [
    "a"
  ],
  {
    "b": {
      "c": null
    }
  }
])");
    EXPECT_EQ(pretty(R"({"a":[1.0]})", 2), "{\n      \"a\": [\n        1.0\n      ]\n    }");
}

TEST(json_text, pretty_of_other_text_is_refused_and_leaves_out_alone) {
    for (const char* text : {"", " 1", "[1, 2]", "[1", "[1]]", "[1]x", R"({"a" :1})", "hello"}) {
        EXPECT_EQ(pretty(text), "refused") << text;
    }
    std::string out = "before";
    EXPECT_FALSE(pretty_json("[1,2]", 0, out, 11));
    EXPECT_EQ(out, "before");
    EXPECT_TRUE(pretty_json("[1,2]", 0, out, 12));
    EXPECT_EQ(out, "before[\n  1,\n  2\n]");
}

TEST(json_text, skip_unchecked_ends_behind_the_bracket) {
    for (const std::string& text : {R"({})"s, R"({"a":[1,{"b":"}]"}]})"s, R"(["\"]","\\"])"s,
                                    R"({"\\\"}":"\\\\"})"s, "[\"\xff\x01\n]\"]"s}) {
        const auto padded = text + "]}\"";
        json_scanner with_more(padded);
        EXPECT_TRUE(with_more.skip_unchecked()) << text;
        EXPECT_EQ(with_more.offset(), text.size()) << text;
        for (std::size_t cut = 1; cut < text.size(); ++cut) {
            json_scanner short_of(std::string_view(text).substr(0, cut));
            EXPECT_FALSE(short_of.skip_unchecked()) << text << " cut at " << cut;
            EXPECT_EQ(short_of.fault().what, "the text ends too early");
        }
    }
}

// Any text: what is refused has a place in it, what is taken stays as it is when taken again, and
// canonical text is compact and comes back from the pretty one.
TEST(json_text, random_texts_hold_to_one_another) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const std::vector<std::string> pieces = {
        "{",    "}",    "[", "]",  ",",  ":",       "\"a\"",  "\"b\"",  "1",   "-0",        "1.5",
        "true", "null", " ", "\n", "\"", "\\u0041", "\"a\":", "\"b\":", "[1,", "{\"c\":[]}"};
    int valid = 0;
    int canonical = 0;
    for (int round = 0; round < 100000; ++round) {
        std::string text;
        for (auto n = 1 + random() % 7; n > 0; --n)
            text += pieces[random() % pieces.size()];
        std::string once;
        json_fault fault;
        const bool good = compact_json(text, once, fault);
        ASSERT_EQ(check_json(text, json_most_nested, fault), good);
        if (!good) {
            ASSERT_LE(fault.offset, text.size());
            ASSERT_FALSE(fault.what.empty());
            ASSERT_FALSE(is_canonical_json(text)) << text;
            continue;
        }
        ++valid;
        ASSERT_EQ(compact(once), once);
        ASSERT_EQ(compact(pretty(once)), once);
        ASSERT_EQ(pretty(text) == "refused", once != text) << text;
        if (is_canonical_json(text)) {
            ++canonical;
            ASSERT_EQ(once, text);
        }
    }
    EXPECT_GT(valid, 1000);
    EXPECT_GT(canonical, 300);
}

}  // namespace
}  // namespace sluice::kvstore
