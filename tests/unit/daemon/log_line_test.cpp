#include "daemon/log_line.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "metrics/utf8.hpp"

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;
using config::log_format;
using config::log_level;

// 2026-11-22T10:56:59.123Z
constexpr std::chrono::system_clock::time_point moment{1795345019123ms};

std::string as_text(log_fields fields) {
    const auto line = format_log_line(log_format::text, moment, log_level::info, "x", fields);
    constexpr std::string_view head = "2026-11-22T10:56:59.123Z info  x";
    EXPECT_EQ(line.substr(0, head.size()), head);
    EXPECT_TRUE(line.ends_with("\n"));
    return line.substr(head.size(), line.size() - head.size() - 1);
}

std::string as_json(log_fields fields) {
    const auto line = format_log_line(log_format::json, moment, log_level::warning, "x", fields);
    constexpr std::string_view head =
        R"({"time":"2026-11-22T10:56:59.123Z","level":"warning","message":"x")";
    EXPECT_EQ(line.substr(0, head.size()), head);
    EXPECT_TRUE(line.ends_with("}\n"));
    return line.substr(head.size(), line.size() - head.size() - 2);
}

TEST(log_line, text_has_time_level_message_and_fields) {
    const std::string database = "app";
    const std::uint16_t port = 5432;
    EXPECT_EQ(
        format_log_line(log_format::text, moment, log_level::info, "client connected",
                        {{"database", database}, {"user", "alice"}, {"port", port}}),
        "2026-11-22T10:56:59.123Z info  client connected database=app user=alice port=5432\n");
}

TEST(log_line, every_level_is_as_wide_as_the_others) {
    for (const auto& [level, name] :
         {std::pair{log_level::debug, "debug"}, std::pair{log_level::info, "info "},
          std::pair{log_level::warning, "warn "}, std::pair{log_level::error, "error"}}) {
        EXPECT_EQ(format_log_line(log_format::text, moment, level, "m", {}),
                  "2026-11-22T10:56:59.123Z " + std::string(name) + " m\n");
    }
}

TEST(log_line, time_before_the_epoch_or_with_fractions_rounds_down) {
    const auto at = [](auto offset) {
        const std::chrono::system_clock::time_point time{offset};
        return format_log_line(log_format::text, time, log_level::info, "m", {}).substr(0, 24);
    };
    EXPECT_EQ(at(0ns), "1970-01-01T00:00:00.000Z");
    EXPECT_EQ(at(-1ns), "1969-12-31T23:59:59.999Z");
    EXPECT_EQ(at(1999999us), "1970-01-01T00:00:01.999Z");
}

TEST(log_line, values_keep_their_kind) {
    EXPECT_EQ(as_text({{"a", -3}, {"b", std::numeric_limits<std::uint64_t>::max()}}),
              " a=-3 b=18446744073709551615");
    EXPECT_EQ(as_text({{"a", true}, {"b", 0.5}, {"c", 12500us}, {"d", 16us}, {"e", 2h}}),
              " a=true b=0.5 c=0.0125s d=0.000016s e=7200s");
    EXPECT_EQ(as_json({{"a", -3}, {"b", false}, {"c", 0.1}, {"d", 12500us}, {"e", "t"}}),
              R"(,"a":-3,"b":false,"c":0.1,"d":0.0125,"e":"t")");
    EXPECT_EQ(as_json({{"a", std::numeric_limits<double>::infinity()}}), R"(,"a":null)");
}

TEST(log_line, text_value_is_quoted_where_it_could_be_misread) {
    EXPECT_EQ(as_text({{"a", ""}}), R"( a="")");
    EXPECT_EQ(as_text({{"a", "two words"}}), R"( a="two words")");
    EXPECT_EQ(as_text({{"a", "x=y"}}), R"( a="x=y")");
    EXPECT_EQ(as_text({{"a", "say \"hi\" \\"}}), R"( a="say \"hi\" \\")");
    EXPECT_EQ(as_text({{"a", "[::1]:6432/x-y_z.Z"}}), " a=[::1]:6432/x-y_z.Z");
}

TEST(log_line, control_and_hidden_characters_are_escaped) {
    EXPECT_EQ(as_text({{"a", "x\nERROR forged\r\t\x1B[2J\x7F"}}),
              R"( a="x\nERROR forged\r\t\x1b[2J\x7f")");
    EXPECT_EQ(as_json({{"a", "x\n\"\\\x1B\x01"}}), R"(,"a":"x\n\"\\\u001b\u0001")");
    // NEL, line separator, right-to-left override: each as UTF-8
    EXPECT_EQ(as_text({{"a", "\xC2\x85\xE2\x80\xA8\xE2\x80\xAE"}}), R"( a="\u0085\u2028\u202e")");
    EXPECT_EQ(as_json({{"a", "\xC2\x85\xE2\x80\xA8"}}), R"(,"a":"\u0085\u2028")");
    EXPECT_EQ(as_text({{"a", std::string_view("\0", 1)}}), R"( a="\x00")");
}

TEST(log_line, other_scripts_pass_and_broken_utf8_does_not) {
    EXPECT_EQ(as_text({{"a", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"}}),
              " a=\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    EXPECT_EQ(as_text({{"a", "a\xFF\xC3"}}), R"( a="a\xff\xc3")");
    EXPECT_EQ(as_json({{"a", "a\xFF"}}), R"(,"a":"a\ufffd")");
}

TEST(log_line, long_value_is_cut_at_a_character) {
    const std::string fits(log_value_limit, 'a');
    EXPECT_EQ(as_text({{"a", fits}}), " a=" + fits);
    EXPECT_EQ(as_text({{"a", fits + "b"}}), " a=\"" + fits + "...\"");
    const auto wide = fits.substr(1) + "\xC3\xA9" + fits;
    EXPECT_EQ(as_text({{"a", wide}}), " a=\"" + fits.substr(1) + "\xC3\xA9" + "...\"");
}

TEST(log_line, random_bytes_stay_one_line_of_utf8) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 2000; ++round) {
        std::string bytes(random() % 40, '\0');
        for (auto& byte : bytes)
            byte = static_cast<char>(random() % 256);
        for (const auto format : {log_format::text, log_format::json}) {
            const auto line =
                format_log_line(format, moment, log_level::info, "m", {{"a", bytes}, {"b", 1}});
            std::string_view rest = line;
            rest.remove_suffix(1);
            while (!rest.empty()) {
                const auto length = metrics::utf8_length(rest);
                ASSERT_GT(length, 0U) << line;
                ASSERT_GE(static_cast<unsigned char>(rest.front()), 0x20) << line;
                rest.remove_prefix(length);
            }
            ASSERT_TRUE(line.ends_with(format == log_format::text ? " b=1\n" : ",\"b\":1}\n"));
        }
    }
}

}  // namespace
}  // namespace sluice::daemon
