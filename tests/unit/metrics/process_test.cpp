#include "metrics/process.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>

namespace sluice::metrics {
namespace {

constexpr std::string_view stat_line =
    "4242 (a name) with (parens) S 1 4242 4242 0 -1 4194560 900 0 1 0 250 50 0 0 20 0 7 0 "
    "123456 987654321 2048 18446744073709551615 1 1 0 0 0 0 0 4096\n";

TEST(process_stat, name_with_spaces_and_parentheses_is_skipped) {
    const auto stat = parse_process_stat(stat_line);
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->user_ticks, 250);
    EXPECT_EQ(stat->system_ticks, 50);
    EXPECT_EQ(stat->threads, 7);
    EXPECT_EQ(stat->start_ticks, 123456);
    EXPECT_EQ(stat->virtual_bytes, 987654321);
    EXPECT_EQ(stat->resident_pages, 2048);
}

TEST(process_stat, line_cut_anywhere_gives_nothing_or_the_whole) {
    const auto needed = stat_line.find(" 18446744073709551615");
    for (std::size_t length = 0; length + 4 < needed; ++length) {
        EXPECT_FALSE(parse_process_stat(stat_line.substr(0, length))) << length;
    }
    EXPECT_TRUE(parse_process_stat(stat_line.substr(0, needed)));
}

TEST(process_stat, field_that_is_no_number_gives_nothing) {
    EXPECT_FALSE(
        parse_process_stat("1 (x) S 1 2 3 4 5 6 7 8 9 10 x 12 13 14 15 16 17 18 19 20 21"));
    EXPECT_FALSE(parse_process_stat("no parenthesis"));
}

TEST(process_usage, this_process_is_alive) {
    const auto usage = read_process_usage();
    ASSERT_TRUE(usage.cpu_seconds && usage.resident_bytes && usage.virtual_bytes &&
                usage.open_fds && usage.max_fds && usage.start_time_seconds && usage.threads);
    EXPECT_GT(*usage.resident_bytes, 1e5);
    EXPECT_GE(*usage.virtual_bytes, *usage.resident_bytes);
    EXPECT_GE(*usage.threads, 1);
    EXPECT_LE(*usage.open_fds, *usage.max_fds);
    // Boot time is known to the second; the process is no older than a day.
    const auto now = static_cast<double>(std::time(nullptr));
    EXPECT_LE(*usage.start_time_seconds, now + 2);
    EXPECT_GE(*usage.start_time_seconds, now - 86400);
}

TEST(process_usage, opened_descriptor_is_counted) {
    const auto before = read_process_usage().open_fds;
    const int fd = ::open("/dev/null", O_RDONLY);
    ASSERT_GE(fd, 0);
    const auto with = read_process_usage().open_fds;
    ::close(fd);
    ASSERT_TRUE(before && with);
    EXPECT_EQ(*with, *before + 1);
}

}  // namespace
}  // namespace sluice::metrics
