#include "config/units.hpp"

#include <gtest/gtest.h>

#include "config/error.hpp"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;

TEST(units, parse_duration_with_each_unit_gives_milliseconds) {
    EXPECT_EQ(parse_duration("500ms"), 500ms);
    EXPECT_EQ(parse_duration("60s"), 60s);
    EXPECT_EQ(parse_duration("5m"), 5min);
    EXPECT_EQ(parse_duration("5min"), 5min);
    EXPECT_EQ(parse_duration("1h"), 1h);
    EXPECT_EQ(parse_duration("1d"), 24h);
}

TEST(units, parse_duration_without_unit_takes_seconds_and_fractions) {
    EXPECT_EQ(parse_duration("120"), 120s);
    EXPECT_EQ(parse_duration("0.5"), 500ms);
    EXPECT_EQ(parse_duration("1.25"), 1250ms);
    EXPECT_EQ(parse_duration("1.5h"), 90min);
    EXPECT_EQ(parse_duration("0"), 0ms);
    EXPECT_EQ(parse_duration("0s"), 0ms);
    EXPECT_EQ(parse_duration("365d"), longest_duration);
}

TEST(units, parse_duration_of_bad_text_throws) {
    for (const auto* text : {"",
                             " ",
                             "s",
                             "-1",
                             "+1",
                             "1 s",
                             " 1s",
                             "1s ",
                             "1S",
                             "1sec",
                             "1w",
                             "1us",
                             "1h30m",
                             "1e3",
                             "0x10",
                             "inf",
                             "nan",
                             ".5",
                             "5.",
                             "1.2.3",
                             "1,5",
                             "366d",
                             "99999999999999999999",
                             "off",
                             "0.0001ms",
                             "0.9ms",
                             "0.0004",
                             "١"}) {
        EXPECT_THROW(static_cast<void>(parse_duration(text)), bad_value) << text;
    }
}

TEST(units, show_duration_gives_the_form_of_the_reference_that_parses_back) {
    EXPECT_EQ(show_duration(0ms), "0");
    EXPECT_EQ(show_duration(60s), "60s");
    EXPECT_EQ(show_duration(120s), "120s");
    EXPECT_EQ(show_duration(5min), "5min");
    EXPECT_EQ(show_duration(1h), "1h");
    EXPECT_EQ(show_duration(48h), "2d");
    for (const auto value : {1ms, 999ms, 1001ms, 59'000ms, 3'600'001ms, 86'400'000ms}) {
        EXPECT_EQ(parse_duration(show_duration(value)), value);
    }
}

TEST(units, parse_size_with_each_unit_gives_bytes) {
    EXPECT_EQ(parse_size("0"), 0U);
    EXPECT_EQ(parse_size("4096"), 4096U);
    EXPECT_EQ(parse_size("1B"), 1U);
    EXPECT_EQ(parse_size("2kB"), 2000U);
    EXPECT_EQ(parse_size("2MB"), 2'000'000U);
    EXPECT_EQ(parse_size("1GB"), 1'000'000'000U);
    EXPECT_EQ(parse_size("64KiB"), 65536U);
    EXPECT_EQ(parse_size("50MiB"), 52'428'800U);
    EXPECT_EQ(parse_size("1.5GiB"), 1'610'612'736U);
}

TEST(units, show_size_gives_the_largest_binary_unit_and_parses_back) {
    EXPECT_EQ(show_size(0), "0");
    EXPECT_EQ(show_size(1000), "1000");
    EXPECT_EQ(show_size(1024), "1KiB");
    EXPECT_EQ(show_size(1025), "1025");
    EXPECT_EQ(show_size(std::uint64_t{50} << 20), "50MiB");
    EXPECT_EQ(show_size(std::uint64_t{1536} << 20), "1536MiB");
    EXPECT_EQ(show_size(std::uint64_t{2} << 30), "2GiB");
    for (const std::uint64_t value : {1U, 1023U, 1024U, 1'000'000U, 1U << 30, 3U << 30}) {
        EXPECT_EQ(parse_size(show_size(value)), value);
    }
}

TEST(units, parse_size_of_bad_text_throws) {
    for (const auto* text : {"", "MiB", "-1", "1.5", "1 MiB", "1mib", "1K", "1TiB", "9999999GiB"}) {
        EXPECT_THROW(static_cast<void>(parse_size(text)), bad_value) << text;
    }
}

TEST(units, parse_count_holds_its_range) {
    EXPECT_EQ(parse_count("1", 1, 10), 1U);
    EXPECT_EQ(parse_count("10", 1, 10), 10U);
    EXPECT_EQ(parse_count("007", 1, 10), 7U);
    for (const auto* text : {"", "0", "11", "-1", "+1", "1.0", "1e1", "0x1", " 1", "1 ",
                             "4294967297", "99999999999999999999", "many"}) {
        EXPECT_THROW(static_cast<void>(parse_count(text, 1, 10)), bad_value) << text;
    }
}

TEST(units, parse_switch_knows_the_usual_words_only) {
    for (const auto* on : {"true", "yes", "on", "1"})
        EXPECT_TRUE(parse_switch(on)) << on;
    for (const auto* off : {"false", "no", "off", "0"})
        EXPECT_FALSE(parse_switch(off)) << off;
    for (const auto* text : {"", "2", "maybe", "enabled"}) {
        EXPECT_THROW(static_cast<void>(parse_switch(text)), bad_value) << text;
    }
}

}  // namespace
}  // namespace sluice::config
