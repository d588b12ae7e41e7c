#include "kvstore/iso_time.hpp"

#include <gtest/gtest.h>

namespace sluice::kvstore {
namespace {

TEST(iso_time, times_are_written_and_read_as_in_javascript) {
    const std::pair<time_ms, std::string_view> cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {1767323045678, "2026-01-02T03:04:05.678Z"},
        {1709208000000, "2024-02-29T12:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {-62167219200000, "0000-01-01T00:00:00.000Z"},
    };
    for (const auto& [time, text] : cases) {
        EXPECT_EQ(iso_time_text(time), text);
        EXPECT_EQ(parse_iso_time(text), time);
    }
}

TEST(iso_time, time_out_of_range_is_the_nearest) {
    EXPECT_EQ(iso_time_text(never), "9999-12-31T23:59:59.999Z");
    EXPECT_EQ(iso_time_text(-never), "0000-01-01T00:00:00.000Z");
}

TEST(iso_time, other_text_is_zero) {
    for (const char* text :
         {"", "yesterday", "2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678",
          "2026-01-02 03:04:05.678Z", "2026-01-02T03:04:05.678z", "2026-13-02T03:04:05.678Z",
          "2026-02-30T03:04:05.678Z", "2026-01-02T24:04:05.678Z", "2026-01-02T03:60:05.678Z",
          "2026-01-02T03:04:60.678Z", "2026-01-02T03:04:05.67xZ", "+2026-01-02T03:04:05.67Z"}) {
        EXPECT_EQ(parse_iso_time(text), 0) << text;
    }
}

}  // namespace
}  // namespace sluice::kvstore
