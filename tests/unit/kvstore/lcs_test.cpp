#include "kvstore/lcs.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace sluice::kvstore {
namespace {

std::string text_of(std::string_view a, std::string_view b) {
    return longest_common(a, b, lcs_wants::text).text;
}

std::vector<lcs_range> ranges_of(std::string_view a, std::string_view b) {
    return longest_common(a, b, lcs_wants::ranges).ranges;
}

// The length by the definition, without a table.
std::uint32_t length_of(std::string_view a, std::string_view b) {
    if (a.empty() || b.empty()) return 0;
    if (a.back() == b.back()) {
        return length_of(a.substr(0, a.size() - 1), b.substr(0, b.size() - 1)) + 1;
    }
    return std::max(length_of(a.substr(0, a.size() - 1), b),
                    length_of(a, b.substr(0, b.size() - 1)));
}

bool is_subsequence(std::string_view part, std::string_view of) {
    for (const char c : of) {
        if (!part.empty() && part.front() == c) part.remove_prefix(1);
    }
    return part.empty();
}

TEST(longest_common, nothing_in_common_is_empty) {
    for (const auto& [a, b] : {std::pair{"", ""}, {"", "abc"}, {"abc", ""}, {"abc", "xyz"}}) {
        const auto found = longest_common(a, b, lcs_wants::ranges);
        EXPECT_EQ(found.length, 0U);
        EXPECT_TRUE(found.ranges.empty());
        EXPECT_EQ(text_of(a, b), "");
    }
}

TEST(longest_common, of_equal_strings_is_the_string) {
    EXPECT_EQ(text_of("abc", "abc"), "abc");
    EXPECT_EQ(ranges_of("abc", "abc"), (std::vector<lcs_range>{{0, 2, 0, 2}}));
}

// Redis's own example.
TEST(longest_common, ohmytext_and_mynewtext_have_mytext) {
    EXPECT_EQ(text_of("ohmytext", "mynewtext"), "mytext");
    EXPECT_EQ(ranges_of("ohmytext", "mynewtext"),
              (std::vector<lcs_range>{{4, 7, 5, 8}, {2, 3, 0, 1}}));
    EXPECT_EQ(longest_common("ohmytext", "mynewtext", lcs_wants::length).length, 6U);
}

// What redis-server 7.0.15 answers where there are several longest ones.
TEST(longest_common, of_several_longest_it_is_redis_s) {
    EXPECT_EQ(text_of("abcbdab", "bdcaba"), "bdab");
    EXPECT_EQ(text_of("bdcaba", "abcbdab"), "bcba");
    EXPECT_EQ(text_of("ab", "ba"), "b");
    EXPECT_EQ(text_of("ba", "ab"), "a");
}

TEST(longest_common, bytes_are_bytes) {
    const std::string a("\0\xff\0", 3);
    EXPECT_EQ(text_of(a, std::string("\xff\0", 2)), std::string("\xff\0", 2));
}

TEST(longest_common, random_strings_have_a_longest_one) {
    const auto seed = std::random_device()();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 numbers(seed);
    const auto make = [&] {
        std::string out(numbers() % 11, '\0');
        for (auto& c : out)
            c = static_cast<char>('a' + numbers() % 3);
        return out;
    };
    for (int i = 0; i < 500; ++i) {
        const auto a = make();
        const auto b = make();
        const auto text = text_of(a, b);
        const auto found = longest_common(a, b, lcs_wants::ranges);
        ASSERT_EQ(found.length, length_of(a, b)) << a << " " << b;
        ASSERT_EQ(longest_common(a, b, lcs_wants::length).length, found.length) << a << " " << b;
        ASSERT_EQ(text.size(), found.length) << a << " " << b;
        ASSERT_TRUE(is_subsequence(text, a) && is_subsequence(text, b)) << a << " " << b;
        std::string joined;
        for (auto one = found.ranges.rbegin(); one != found.ranges.rend(); ++one) {
            const auto part = a.substr(one->a_first, one->a_last - one->a_first + 1);
            ASSERT_EQ(part, b.substr(one->b_first, one->b_last - one->b_first + 1));
            joined += part;
        }
        ASSERT_EQ(joined, text) << a << " " << b;
    }
}

TEST(lcs_is_possible, up_to_the_table_that_redis_allows) {
    const std::size_t pairs = std::size_t{128} << 20;
    EXPECT_TRUE(lcs_is_possible(0, 0));
    EXPECT_TRUE(lcs_is_possible(0, pairs - 1));
    EXPECT_FALSE(lcs_is_possible(0, pairs));
    EXPECT_TRUE(lcs_is_possible(pairs - 1, 0));
    EXPECT_FALSE(lcs_is_possible(pairs, 0));
    EXPECT_TRUE(lcs_is_possible(16383, 8191));
    EXPECT_FALSE(lcs_is_possible(16384, 8191));
    EXPECT_FALSE(lcs_is_possible(std::size_t{512} << 20, std::size_t{512} << 20));
}

}  // namespace
}  // namespace sluice::kvstore
