// The expected outcomes were checked against redis-server 7.0.15.
#include "kvstore/glob.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>

namespace sluice::kvstore {
namespace {

using namespace std::string_view_literals;

// In blocks of exactly their size, so that AddressSanitizer sees a byte that is read too far.
bool matches(std::string_view pattern, std::string_view text) {
    const auto copy = [](std::string_view bytes) {
        auto block = std::make_unique<char[]>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), block.get());
        return block;
    };
    const auto p = copy(pattern);
    const auto t = copy(text);
    return glob_matches({p.get(), pattern.size()}, {t.get(), text.size()});
}

// What stars and question marks mean, said as plainly and as slowly as possible.
bool means(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern[0] == '*')
        return means(pattern.substr(1), text) || (!text.empty() && means(pattern, text.substr(1)));
    return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
           means(pattern.substr(1), text.substr(1));
}

// The bytes that the class matches.
std::string members(std::string_view pattern) {
    std::string out;
    for (int c = 0; c < 256; ++c) {
        const std::string text(1, static_cast<char>(c));
        if (matches(pattern, text)) out += text;
    }
    return out;
}

TEST(glob, plain_text_matches_itself_only) {
    EXPECT_TRUE(matches("", ""));
    EXPECT_TRUE(matches("key:1", "key:1"));
    EXPECT_TRUE(matches("a]b-^", "a]b-^"));
    EXPECT_TRUE(matches("a\0b"sv, "a\0b"sv));
    EXPECT_FALSE(matches("a\0b"sv, "a\0c"sv));
    EXPECT_FALSE(matches("", "a"));
    EXPECT_FALSE(matches("a", ""));
    EXPECT_FALSE(matches("abc", "ab"));
    EXPECT_FALSE(matches("ab", "abc"));
    EXPECT_FALSE(matches("a", "A"));
}

TEST(glob, question_mark_is_one_byte) {
    EXPECT_TRUE(matches("h?llo", "hello"));
    EXPECT_TRUE(matches("?", "\0"sv));
    EXPECT_TRUE(matches("?", "\xff"));
    EXPECT_FALSE(matches("?", "\xc3\xa9"));
    EXPECT_TRUE(matches("??", "\xc3\xa9"));
    EXPECT_FALSE(matches("?", ""));
}

TEST(glob, star_is_any_bytes) {
    EXPECT_TRUE(matches("*", ""));
    EXPECT_TRUE(matches("***", "abc"));
    EXPECT_TRUE(matches("a*", "a"));
    EXPECT_TRUE(matches("a*c", "abcbc"));
    EXPECT_TRUE(matches("*a*b*", "xaxbx"));
    EXPECT_TRUE(matches("a*?c", "abc"));
    EXPECT_FALSE(matches("a*?c", "ac"));
    EXPECT_FALSE(matches("a*c", "abcb"));
    EXPECT_FALSE(matches("*a*b*", "xbxax"));
}

TEST(glob, class_matches_one_of_its_bytes) {
    EXPECT_EQ(members("[abc]"), "abc");
    EXPECT_EQ(members("[a-c]"), "abc");
    EXPECT_EQ(members("[a-cx-z-]"), "-abcxyz");
    EXPECT_EQ(members("[*?[]"), "*?[");
    EXPECT_EQ(members("[]"), "");
    EXPECT_TRUE(matches("x[ab]y", "xay"));
    EXPECT_FALSE(matches("x[ab]y", "xy"));
    EXPECT_FALSE(matches("[ab]", "ab"));
}

TEST(glob, reversed_range_is_the_range) {
    EXPECT_EQ(members("[f-a]"), "abcdef");
    EXPECT_EQ(members("[a-a]"), "a");
}

TEST(glob, negated_class_matches_the_others) {
    EXPECT_EQ(members("[^a-c]").size(), 253U);
    EXPECT_FALSE(matches("[^a-c]", "b"));
    EXPECT_EQ(members("[^]").size(), 256U);
    EXPECT_EQ(members("[a^]"), "^a");
    EXPECT_FALSE(matches("[^a]", ""));
}

TEST(glob, bytes_above_127_are_bytes) {
    EXPECT_EQ(members("[\xf0-\xf3]"), "\xf0\xf1\xf2\xf3");
    EXPECT_EQ(members("[\xf3-\xf0]"), "\xf0\xf1\xf2\xf3");
    EXPECT_EQ(members("[\x7e-\x81]"), "\x7e\x7f\x80\x81");
    EXPECT_TRUE(matches("\xc3*\xff", "\xc3\xa9\xff"));
}

TEST(glob, backslash_takes_the_next_byte_as_it_is) {
    EXPECT_TRUE(matches(R"(\*\?\[a\])", "*?[a]"));
    EXPECT_FALSE(matches(R"(\*)", "a"));
    EXPECT_TRUE(matches(R"(\a\\)", R"(a\)"));
    EXPECT_EQ(members(R"([\]\-\\x])"), R"(-\]x)");
    EXPECT_EQ(members(R"([\a-c])"), "-ac");
    EXPECT_EQ(members(R"([a-\])"), R"(\]^_`a)");
}

TEST(glob, backslash_at_the_end_is_a_backslash) {
    EXPECT_TRUE(matches("a\\", "a\\"));
    EXPECT_FALSE(matches("a\\", "a"));
    EXPECT_FALSE(matches("a\\", "ab"));
}

TEST(glob, unterminated_class_ends_with_the_pattern) {
    EXPECT_EQ(members("[ab"), "ab");
    EXPECT_EQ(members("[^ab").size(), 254U);
    EXPECT_EQ(members("[a-c"), "abc");
    EXPECT_EQ(members("[a-"), "-a");
    EXPECT_EQ(members("[a\\"), "\\a");
    EXPECT_EQ(members("["), "");
    EXPECT_EQ(members("[^").size(), 256U);
    EXPECT_TRUE(matches("x*[bc", "xaac"));
}

TEST(glob, range_may_end_at_the_bracket) {
    EXPECT_EQ(members("[a-]"), "]^_`a");
    EXPECT_EQ(members("[a-]x]"), "]^_`ax");
}

// Each is hours of work for a matcher that tries every star at every byte.
TEST(glob, many_stars_are_not_exponential) {
    std::string stars;
    for (int i = 0; i < 50; ++i)
        stars += "a*";
    const std::string text(20'000, 'a');
    EXPECT_TRUE(matches(stars, text));
    EXPECT_FALSE(matches(stars + 'b', text));
    EXPECT_FALSE(matches(std::string(10'000, '*') + 'b', text));
    EXPECT_TRUE(matches(std::string(10'000, '*') + 'b', text + 'b'));
    EXPECT_FALSE(matches("*?*?*?*?*?*?*?*?*?*?*?*[^a]", text));
}

TEST(glob, random_patterns_match_what_they_mean) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    const auto word = [&random](std::string_view letters, std::size_t most) {
        std::string out(random() % (most + 1), '\0');
        for (auto& c : out)
            c = letters[random() % letters.size()];
        return out;
    };
    int found = 0;
    for (int i = 0; i < 20'000; ++i) {
        const auto pattern = word("aab?**", 8);
        const auto text = word("aab", 10);
        found += means(pattern, text) ? 1 : 0;
        ASSERT_EQ(matches(pattern, text), means(pattern, text)) << pattern << " on " << text;
        std::string classes;  // the same, said with classes and escapes
        for (const char c : pattern) {
            const bool special = c == '*' || c == '?';
            classes += special ? std::string(1, c)
                               : std::string(random() % 2 == 0 ? "[" : "[^\\") + c + "]";
            if (!special && classes[classes.size() - 3] == '\\')
                classes[classes.size() - 2] = c == 'a' ? 'b' : 'a';
        }
        ASSERT_EQ(matches(classes, text), means(pattern, text)) << classes << " on " << text;
    }
    EXPECT_GT(found, 1000);
}

TEST(literal_prefix, ends_at_the_first_special_byte) {
    const auto expect = [](std::string_view pattern, std::string_view text, bool rest_is_star) {
        const auto prefix = literal_prefix(pattern);
        EXPECT_EQ(prefix.text, text) << pattern;
        EXPECT_EQ(prefix.rest_is_star, rest_is_star) << pattern;
    };
    expect("", "", false);
    expect("*", "", true);
    expect("key", "key", false);
    expect("key*", "key", true);
    expect("key**", "key", false);
    expect("key*a", "key", false);
    expect("key?", "key", false);
    expect("k[e]*", "k", false);
    expect("key\\*", "key", false);
    expect("a]-^*", "a]-^", true);
}

}  // namespace
}  // namespace sluice::kvstore
