#include "kvstore/json_string.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace sluice::kvstore {
namespace {

using namespace std::string_literals;

std::string literal(std::string_view bytes) {
    std::string out;
    return append_json_string(out, bytes) ? out : "not a string: " + out;
}

std::string unescaped(std::string_view inside) {
    std::string out;
    append_unescaped(out, inside);
    return out;
}

const std::string high = "\xed\xa0\xbd";      // U+D83D
const std::string low = "\xed\xb8\x80";       // U+DE00
const std::string face = "\xf0\x9f\x98\x80";  // both
const std::vector<std::string> not_utf8 = {
    "\x80",
    "\xff",
    "\xc0\x80",
    "\xc1\xbf",
    "\xc3",
    "\xc3(",
    "\xe0\x80\x80",
    "\xe0\x9f\xbf",
    "\xe2\x82",
    "\xe2\x82(",
    "\xf0\x9f\x98",
    "\xf0\x8f\xbf\xbf",
    "\xf4\x90\x80\x80",
    "\xf5\x80\x80\x80",
    "\xed\xa0",
};

TEST(json_string, append_plain_text_is_quoted) {
    EXPECT_EQ(literal(""), R"("")");
    EXPECT_EQ(literal("hello, world: 0123456789 / \x7f"), "\"hello, world: 0123456789 / \x7f\"");
    EXPECT_EQ(literal("gr\xc3\xbc\xc3\x9f \xe2\x82\xac " + face),
              "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac " + face + '"');
}

TEST(json_string, append_controls_has_javascripts_escapes) {
    EXPECT_EQ(literal("\b\f\n\r\t\"\\"), R"("\b\f\n\r\t\"\\")");
    EXPECT_EQ(literal("\0\x01\x0b\x1f"s), R"("\u0000\u0001\u000b\u001f")");
}

TEST(json_string, append_lone_surrogates_are_escaped) {
    EXPECT_EQ(literal(high), R"("\ud83d")");
    EXPECT_EQ(literal(low + high), R"("\ude00\ud83d")");
    EXPECT_EQ(literal(high + "x" + low), R"("\ud83dx\ude00")");
    EXPECT_EQ(literal(high + high + "\n"), R"("\ud83d\ud83d\n")");
}

TEST(json_string, append_what_cannot_be_a_string_leaves_out_alone) {
    auto bad = not_utf8;
    bad.push_back(high + low);
    bad.push_back(high + high + low);
    for (const auto& bytes : bad) {
        for (const std::string& text : {bytes, "0123456789" + bytes, bytes + "0123456789"}) {
            std::string out = "before";
            EXPECT_FALSE(append_json_string(out, text)) << testing::PrintToString(text);
            EXPECT_EQ(out, "before");
            EXPECT_FALSE(can_be_json_string(text)) << testing::PrintToString(text);
        }
    }
}

TEST(json_string, unescape_each_escape_gives_its_bytes) {
    EXPECT_EQ(unescaped(""), "");
    EXPECT_EQ(unescaped("plain"), "plain");
    EXPECT_EQ(unescaped(R"(\b\f\n\r\t\"\\\/)"), "\b\f\n\r\t\"\\/");
    EXPECT_EQ(unescaped(R"(a\u0000b\u0041\u00e9\u20AC)"), "a\0b\x41\xc3\xa9\xe2\x82\xac"s);
    EXPECT_EQ(unescaped(R"(\ud83d\ude00)"), face);
    EXPECT_EQ(unescaped(R"(\uD83D\uDE00!)"), face + "!");
    EXPECT_EQ(unescaped(R"(\udbff\udfff\u10ff)"), "\xf4\x8f\xbf\xbf\xe1\x83\xbf");
}

TEST(json_string, unescape_lone_surrogates_gives_three_bytes) {
    EXPECT_EQ(unescaped(R"(\ud83d)"), high);
    EXPECT_EQ(unescaped(R"(\ud83dx\ude00)"), high + "x" + low);
    EXPECT_EQ(unescaped(R"(\ude00\ud83d)"), low + high);
    EXPECT_EQ(unescaped(R"(\ud83d\ud83d\ude00)"), high + face);
    EXPECT_EQ(unescaped(R"(\ud83d\\ude00)"), high + "\\ude00");
}

TEST(json_string, minimal_escaping_is_what_stringify_writes) {
    for (const char* text : {"", "plain", R"(\b\f\n\r\t\"\\)", R"(\u0000\u000b\u001f)", R"(\ud83d)",
                             R"(\ude00\ud83d)", R"(\ud83d\n\ude00)"}) {
        EXPECT_TRUE(is_minimal_escaping(text)) << text;
    }
    for (const char* text :
         {R"(\/)", R"(\u0041)", R"(\u000a)", R"(\u0008)", R"(\u0022)", R"(\u000B)", R"(\u001F)",
          R"(\uD83D)", R"(\ud83d\ude00)", R"(x\n\u0020)", R"(\u007f)", R"(\u2028)"}) {
        EXPECT_FALSE(is_minimal_escaping(text)) << text;
    }
}

TEST(json_string, escape_length_refuses_what_json_does_not_have) {
    const auto length = [](std::string_view text) {
        return escape_length(text.data(), text.data() + text.size());
    };
    for (const char* text :
         {R"(\")", R"(\\)", R"(\/)", R"(\b)", R"(\f)", R"(\n)", R"(\r)", R"(\t)"})
        EXPECT_EQ(length(text), 2U) << text;
    EXPECT_EQ(length(R"(\uaF09f)"), 6U);
    for (const std::string& text :
         {R"(\)"s, R"(\a)"s, R"(\u)"s, R"(\u123)"s, R"(\u12g4)"s, "\\\0"s, R"(\U1234)"s})
        EXPECT_EQ(length(text), 0U) << text;
}

TEST(json_string, find_special_at_each_place_finds_the_first) {
    for (int c = 0; c < 256; ++c) {
        const bool special = c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
        for (std::size_t at = 0; at < 20; ++at) {
            std::string text(20, 'x');
            text[at] = static_cast<char>(c);
            const char* const end = text.data() + text.size();
            const char* const expected = special ? text.data() + at : end;
            ASSERT_EQ(find_special(text.data(), end), expected) << c << " at " << at;
            if (at + 1 < text.size()) text[at + 1] = '!';  // next above a quote's code
            ASSERT_EQ(find_special(text.data(), end), expected) << c << " at " << at;
        }
    }
}

TEST(json_string, random_bytes_come_back) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const std::vector<std::string> pieces = {"a", "\"",   "\\",       "\n",           "\x01", "\0"s,
                                             "u", "d83d", "\xc3\xa9", "\xe2\x82\xac", face,   high,
                                             low, "\xff", "12345678", "\xed"};
    int strings = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string bytes;
        for (auto n = random() % 8; n > 0; --n)
            bytes += pieces[random() % pieces.size()];
        std::string out;
        const bool fits = append_json_string(out, bytes);
        ASSERT_EQ(fits, can_be_json_string(bytes)) << testing::PrintToString(bytes);
        if (!fits) continue;
        ++strings;
        const auto inside = std::string_view(out).substr(1, out.size() - 2);
        ASSERT_EQ(unescaped(inside), bytes);
        ASSERT_TRUE(is_minimal_escaping(inside)) << out;
    }
    EXPECT_GT(strings, 5000);
}

}  // namespace
}  // namespace sluice::kvstore
