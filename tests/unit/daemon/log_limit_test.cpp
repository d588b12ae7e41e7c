#include "daemon/log_limit.hpp"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;
using config::log_level;

constexpr log_limiter::time_point start{100s};

TEST(log_limiter, lines_beyond_the_limit_are_suppressed_and_counted) {
    log_limiter limiter(3, 1s);
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(limiter.admit("a", log_level::info, start + i * 1ms));
    EXPECT_FALSE(limiter.admit("a", log_level::info, start + 4ms));
    EXPECT_FALSE(limiter.admit("a", log_level::info, start + 999ms));
    EXPECT_EQ(limiter.suppressed_total(), 2U);
}

TEST(log_limiter, next_window_admits_again) {
    log_limiter limiter(1, 1s);
    EXPECT_TRUE(limiter.admit("a", log_level::info, start));
    EXPECT_FALSE(limiter.admit("a", log_level::info, start + 999ms));
    EXPECT_TRUE(limiter.admit("a", log_level::info, start + 1s));
    EXPECT_FALSE(limiter.admit("a", log_level::info, start + 1999ms));
}

TEST(log_limiter, kinds_do_not_share_a_limit) {
    log_limiter limiter(1, 1s);
    EXPECT_TRUE(limiter.admit("a", log_level::info, start));
    EXPECT_TRUE(limiter.admit("b", log_level::info, start));
    EXPECT_FALSE(limiter.admit("a", log_level::info, start));
}

TEST(log_limiter, kind_is_the_text_and_not_its_address) {
    log_limiter limiter(1, 1s);
    const std::string one = "same", other = "same";
    EXPECT_TRUE(limiter.admit(one, log_level::info, start));
    EXPECT_FALSE(limiter.admit(other, log_level::info, start));
}

TEST(log_limiter, report_is_due_once_a_window) {
    log_limiter limiter(1, 1s);
    EXPECT_TRUE(limiter.report_due(start));
    EXPECT_FALSE(limiter.report_due(start));
    EXPECT_FALSE(limiter.report_due(start + 999ms));
    EXPECT_TRUE(limiter.report_due(start + 1s));
}

TEST(log_limiter, suppressed_lines_are_taken_once_with_kind_level_and_count) {
    log_limiter limiter(0, 1s);
    EXPECT_TRUE(limiter.take_suppressed().empty());
    EXPECT_FALSE(limiter.admit("a", log_level::warning, start));
    EXPECT_FALSE(limiter.admit("a", log_level::warning, start + 5s));  // over a window's end
    const auto taken = limiter.take_suppressed();
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].kind, "a");
    EXPECT_EQ(taken[0].level, log_level::warning);
    EXPECT_EQ(taken[0].count, 2U);
    EXPECT_TRUE(limiter.take_suppressed().empty());
    EXPECT_EQ(limiter.suppressed_total(), 2U);
}

}  // namespace
}  // namespace sluice::daemon
