// The expected outcomes were checked against redis-server 7.0.15.
#include "kvstore/numbers.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace sluice::kvstore {
namespace {

using namespace std::string_view_literals;

constexpr auto least = std::numeric_limits<std::int64_t>::min();
constexpr auto most = std::numeric_limits<std::int64_t>::max();

std::string text_of(std::int64_t value) {
    std::string out;
    append_integer(out, value);
    return out;
}

TEST(parse_integer, canonical_forms_are_read) {
    EXPECT_EQ(parse_integer("0"), 0);
    EXPECT_EQ(parse_integer("7"), 7);
    EXPECT_EQ(parse_integer("-1"), -1);
    EXPECT_EQ(parse_integer("1000000000000000000"), 1'000'000'000'000'000'000);
    EXPECT_EQ(parse_integer("9223372036854775807"), most);
    EXPECT_EQ(parse_integer("-9223372036854775807"), -most);
    EXPECT_EQ(parse_integer("-9223372036854775808"), least);
}

TEST(parse_integer, other_forms_are_refused) {
    for (const auto text : {""sv,
                            "-"sv,
                            "+1"sv,
                            "-0"sv,
                            "00"sv,
                            "01"sv,
                            "-01"sv,
                            " 1"sv,
                            "1 "sv,
                            "1\n"sv,
                            "--1"sv,
                            "1-"sv,
                            "1.0"sv,
                            "1e3"sv,
                            "0x1"sv,
                            "1\0"sv,
                            "\0"sv,
                            "/"sv,
                            ":"sv,
                            "1:"sv,
                            "1/"sv,
                            "\xb1"sv,
                            "9223372036854775808"sv,
                            "-9223372036854775809"sv,
                            "9999999999999999999"sv,
                            "18446744073709551617"sv,
                            "-18446744073709551617"sv,
                            "100000000000000000000000"sv}) {
        EXPECT_EQ(parse_integer(text), std::nullopt) << text;
    }
}

TEST(parse_integer, random_integers_round_trip) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    for (int i = 0; i < 10'000; ++i) {
        const auto value = static_cast<std::int64_t>(random()) >> (random() % 64);
        EXPECT_EQ(text_of(value), std::to_string(value));
        EXPECT_EQ(parse_integer(text_of(value)), value);
    }
}

TEST(parse_whole, only_a_whole_number_in_range_is_read) {
    std::uint8_t small = 0;
    EXPECT_TRUE(parse_whole("255", small));
    EXPECT_EQ(small, 255);
    for (const auto text : {""sv, "256"sv, "-1"sv, "+1"sv, " 1"sv, "1 "sv, "1x"sv, "1\0"sv})
        EXPECT_FALSE(parse_whole(text, small)) << text;
    std::int64_t number = 0;
    EXPECT_TRUE(parse_whole("-12", number));
    EXPECT_EQ(number, -12);
}

TEST(hexadecimal, digits_come_back_as_the_number) {
    EXPECT_EQ(hexadecimal(0), "0000000000000000");
    EXPECT_EQ(hexadecimal(0x0123456789abcdef), "0123456789abcdef");
    EXPECT_EQ(hexadecimal(~std::uint64_t{0}), "ffffffffffffffff");
    std::uint64_t number = 0;
    EXPECT_TRUE(parse_whole(hexadecimal(0xfedcba9876543210), number, 16));
    EXPECT_EQ(number, 0xfedcba9876543210);
}

TEST(append_integer, text_is_put_behind_what_is_there) {
    std::string out = "a";
    append_integer(out, least);
    append_integer(out, 0);
    append_integer(out, most);
    EXPECT_EQ(out, "a-922337203685477580809223372036854775807");
}

TEST(parse_float, whatever_strtold_reads_is_read) {
    EXPECT_EQ(parse_float("0"), 0.0L);
    EXPECT_EQ(parse_float("-1.5"), -1.5L);
    EXPECT_EQ(parse_float("+1"), 1.0L);
    EXPECT_EQ(parse_float("007"), 7.0L);
    EXPECT_EQ(parse_float(".5"), 0.5L);
    EXPECT_EQ(parse_float("5."), 5.0L);
    EXPECT_EQ(parse_float("3.0e3"), 3000.0L);
    EXPECT_EQ(parse_float("0x1p3"), 8.0L);
    EXPECT_EQ(parse_float("0.1"), 0.1L);
    EXPECT_EQ(parse_float("9223372036854775807"), 9223372036854775807.0L);
}

TEST(parse_float, infinity_is_read_and_nan_is_not) {
    constexpr auto infinity = std::numeric_limits<long double>::infinity();
    for (const auto text : {"inf", "+inf", "INF", "infinity"})
        EXPECT_EQ(parse_float(text), infinity) << text;
    EXPECT_EQ(parse_float("-inf"), -infinity);
    for (const auto text : {"nan", "-nan", "NaN", "nan(1)"})
        EXPECT_EQ(parse_float(text), std::nullopt) << text;
}

TEST(parse_float, other_texts_are_refused) {
    for (const auto text : {""sv,    " 1"sv,  "\v1"sv,  "\t1"sv,   "1 "sv, "1\n"sv, "1\0"sv,
                            "\0"sv,  "1e"sv,  "e1"sv,   "."sv,     "-"sv,  "0x"sv,  "0xg"sv,
                            "1,5"sv, "1_0"sv, "infi"sv, "1.5.5"sv, "a"sv,  "- 1"sv}) {
        EXPECT_EQ(parse_float(text), std::nullopt) << text;
    }
}

TEST(parse_float, numbers_out_of_range_are_refused) {
    EXPECT_EQ(parse_float("1e5000"), std::nullopt);
    EXPECT_EQ(parse_float("-1e5000"), std::nullopt);
    EXPECT_EQ(parse_float("1e-5000"), std::nullopt);
    EXPECT_TRUE(parse_float("1e4932"));
    EXPECT_NE(parse_float("1e-4940").value_or(0), 0.0L);  // without full precision
    EXPECT_EQ(parse_float("0e-5000"), 0.0L);
}

TEST(parse_float, text_of_5119_bytes_is_the_longest) {
    EXPECT_EQ(parse_float(std::string(5118, '0') + "1"), 1.0L);
    EXPECT_EQ(parse_float(std::string(5119, '0') + "1"), std::nullopt);
}

TEST(format_float, zeros_at_the_end_are_cut) {
    EXPECT_EQ(format_float(0.0L), "0");
    EXPECT_EQ(format_float(3.0L), "3");
    EXPECT_EQ(format_float(-100.0L), "-100");
    EXPECT_EQ(format_float(5200.0L), "5200");
    EXPECT_EQ(format_float(1.5L), "1.5");
    EXPECT_EQ(format_float(10.50L), "10.5");
    EXPECT_EQ(format_float(0.1L), "0.1");
    EXPECT_EQ(format_float(0.1L + 0.2L), "0.3");
    EXPECT_EQ(format_float(-0.000001L), "-0.000001");
}

TEST(format_float, digits_behind_the_seventeenth_are_rounded) {
    EXPECT_EQ(format_float(6e-18L), "0.00000000000000001");
    EXPECT_EQ(format_float(4e-18L), "0");
    EXPECT_EQ(format_float(-2.5e-17L), "-0.00000000000000002");
    EXPECT_EQ(format_float(1.0L / 3), "0.33333333333333333");
}

TEST(format_float, negative_zero_is_zero) {
    EXPECT_EQ(format_float(-0.0L), "0");
    EXPECT_EQ(format_float(-4e-18L), "0");
}

TEST(format_float, large_numbers_have_no_exponent) {
    EXPECT_EQ(format_float(1e20L), "100000000000000000000");
    if constexpr (std::numeric_limits<long double>::digits == 64) {
        EXPECT_EQ(format_float(123456789012345678901234567890.0L),
                  "123456789012345678899921813504");
    }
    const auto longest = format_float(std::numeric_limits<long double>::max());
    EXPECT_EQ(parse_float(longest), std::numeric_limits<long double>::max());
    EXPECT_EQ(longest.find_first_not_of("0123456789"), std::string::npos);
}

TEST(format_float, infinity_and_nan_have_no_text) {
    EXPECT_EQ(format_float(std::numeric_limits<long double>::infinity()), "");
    EXPECT_EQ(format_float(-std::numeric_limits<long double>::infinity()), "");
    EXPECT_EQ(format_float(std::numeric_limits<long double>::quiet_NaN()), "");
}

TEST(format_float, random_decimals_round_trip) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    for (int i = 0; i < 2'000; ++i) {
        auto text = std::to_string(random() % 10) + '.';  // more has noise behind it
        if (random() % 2 == 0) text = '-' + text;
        for (auto digits = random() % 16; digits != 0; --digits)
            text += static_cast<char>('0' + random() % 10);
        text += static_cast<char>('1' + random() % 9);
        const auto value = parse_float(text);
        ASSERT_TRUE(value) << text;
        EXPECT_EQ(format_float(*value), text);
    }
}

TEST(parse_cursor, unsigned_numbers_are_read) {
    EXPECT_EQ(parse_cursor("0"), 0U);
    EXPECT_EQ(parse_cursor("17"), 17U);
    EXPECT_EQ(parse_cursor("18446744073709551615"), 18446744073709551615U);
    EXPECT_EQ(parse_cursor(""), 0U);
    EXPECT_EQ(parse_cursor("007"), 7U);
    EXPECT_EQ(parse_cursor("+5"), 5U);
    EXPECT_EQ(parse_cursor("-1"), 18446744073709551615U);
    EXPECT_EQ(parse_cursor("-18446744073709551615"), 1U);
}

TEST(parse_cursor, other_texts_are_refused) {
    for (const auto text : {"-"sv, "+"sv, "+-1"sv, " 1"sv, "1 "sv, "a"sv, "1a"sv, "0x1"sv, "1.0"sv,
                            "18446744073709551616"sv, "-18446744073709551616"sv,
                            "99999999999999999999"sv, "28446744073709551615"sv, "1\0"sv}) {
        EXPECT_EQ(parse_cursor(text), std::nullopt) << text;
    }
}

}  // namespace
}  // namespace sluice::kvstore
