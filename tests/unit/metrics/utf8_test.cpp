#include "metrics/utf8.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sluice::metrics {
namespace {

// What RFC 3629 says a code point's bytes are.
std::string encode(std::uint32_t point) {
    const auto byte = [](std::uint32_t value) { return static_cast<char>(value); };
    if (point < 0x80) return {byte(point)};
    if (point < 0x800) return {byte(0xC0 | point >> 6), byte(0x80 | (point & 0x3F))};
    if (point < 0x10000) {
        return {byte(0xE0 | point >> 12), byte(0x80 | (point >> 6 & 0x3F)),
                byte(0x80 | (point & 0x3F))};
    }
    return {byte(0xF0 | point >> 18), byte(0x80 | (point >> 12 & 0x3F)),
            byte(0x80 | (point >> 6 & 0x3F)), byte(0x80 | (point & 0x3F))};
}

TEST(utf8, every_code_point_but_surrogates_is_valid_whole_and_invalid_cut) {
    for (std::uint32_t point = 0; point < 0x11'1000; ++point) {
        const auto bytes = encode(point);
        const bool valid = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
        ASSERT_EQ(utf8_length(bytes), valid ? bytes.size() : 0U) << point;
        ASSERT_EQ(utf8_length(bytes + "\x80"), valid ? bytes.size() : 0U) << point;
        if (bytes.size() > 1) {
            ASSERT_EQ(utf8_length(std::string_view(bytes).substr(0, bytes.size() - 1)), 0U)
                << point;
        }
    }
}

TEST(utf8, overlong_forms_and_stray_tails_are_invalid) {
    for (const std::string_view bytes :
         {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
          "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF5\x80\x80\x80", "\xFF", "\xC3\x28"}) {
        EXPECT_EQ(utf8_length(bytes), 0U);
    }
    EXPECT_EQ(utf8_length(""), 0U);
}

}  // namespace
}  // namespace sluice::metrics
