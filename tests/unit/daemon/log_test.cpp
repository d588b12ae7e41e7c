#include "daemon/log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;
using config::log_format;
using config::log_level;

// The clock of these tests stands still unless it is moved.
std::chrono::steady_clock::duration elapsed{};
std::chrono::system_clock::time_point wall_now() {
    return std::chrono::system_clock::time_point{
        1795345019123ms + std::chrono::duration_cast<std::chrono::milliseconds>(elapsed)};
}
std::chrono::steady_clock::time_point steady_now() {
    return std::chrono::steady_clock::time_point{1000s} + elapsed;
}

// A logger that writes to memory; lines() ends it and gives what it wrote.
class log_test : public ::testing::Test {
  protected:
    void SetUp() override {
        elapsed = {};
        descriptor_ = ::memfd_create("log", MFD_CLOEXEC);
        ASSERT_GE(descriptor_, 0);
        options_.descriptor = descriptor_;
        options_.clock = {&wall_now, &steady_now};
    }
    void TearDown() override { ::close(descriptor_); }

    logger& start(config::log_settings settings = {}) {
        logger_ = std::make_unique<logger>(settings, options_);
        return *logger_;
    }

    std::vector<std::string> lines() {
        logger_.reset();
        std::vector<std::string> out(1);
        std::array<char, 4096> chunk{};
        ::lseek(descriptor_, 0, SEEK_SET);
        for (ssize_t n = 0; (n = ::read(descriptor_, chunk.data(), chunk.size())) > 0;) {
            for (const char c : std::string_view(chunk.data(), static_cast<std::size_t>(n))) {
                if (c == '\n') {
                    out.emplace_back();
                } else {
                    out.back() += c;
                }
            }
        }
        EXPECT_EQ(out.back(), "");
        out.pop_back();
        return out;
    }

    log_options options_;
    std::unique_ptr<logger> logger_;

  private:
    int descriptor_ = -1;
};

using texts = std::vector<std::string>;

TEST_F(log_test, lines_are_written_in_order_at_the_end_of_the_logger) {
    auto& log = start();
    log.info("client connected", {{"database", "app"}, {"port", 5432}});
    log.error("bad thing");
    EXPECT_EQ(lines(),
              (texts{"2026-11-22T10:56:59.123Z info  client connected database=app port=5432",
                     "2026-11-22T10:56:59.123Z error bad thing"}));
}

TEST_F(log_test, level_that_is_off_writes_nothing) {
    auto& log = start({log_level::warning, log_format::text});
    EXPECT_FALSE(log.enabled(log_level::info));
    EXPECT_TRUE(log.enabled(log_level::warning));
    log.debug("a");
    log.info("b");
    log.warning("c");
    EXPECT_EQ(lines(), (texts{"2026-11-22T10:56:59.123Z warn  c"}));
}

TEST_F(log_test, level_and_format_change_at_run_time) {
    auto& log = start();
    log.debug("a");
    log.configure({log_level::debug, log_format::json});
    log.debug("b");
    log.configure({log_level::error, log_format::text});
    log.warning("c");
    EXPECT_EQ(lines(),
              (texts{R"({"time":"2026-11-22T10:56:59.123Z","level":"debug","message":"b"})"}));
}

TEST_F(log_test, flood_is_cut_and_summed_up_in_the_next_second) {
    options_.lines_per_second = 2;
    auto& log = start();
    for (int i = 0; i < 10; ++i)
        log.info("flood", {{"i", i}});
    log.info("other");
    elapsed = 1s;
    log.info("flood", {{"i", 10}});
    EXPECT_EQ(log.dropped(), 8U);
    EXPECT_EQ(lines(), (texts{"2026-11-22T10:56:59.123Z info  flood i=0",
                              "2026-11-22T10:56:59.123Z info  flood i=1",
                              "2026-11-22T10:56:59.123Z info  other",
                              "2026-11-22T10:57:00.123Z info  suppressed lines lines=8 like=flood",
                              "2026-11-22T10:57:00.123Z info  flood i=10"}));
}

TEST_F(log_test, suppressed_lines_are_reported_by_tick_without_another_line) {
    options_.lines_per_second = 1;
    auto& log = start();
    log.warning("two words");
    log.warning("two words");
    log.tick();
    elapsed = 1s;
    log.tick();
    log.tick();
    const auto written = lines();
    ASSERT_EQ(written.size(), 2U);
    EXPECT_EQ(written[1],
              "2026-11-22T10:57:00.123Z warn  suppressed lines lines=1 like=\"two words\"");
}

TEST_F(log_test, suppressed_lines_are_reported_at_the_end) {
    options_.lines_per_second = 0;
    start().info("x");
    EXPECT_EQ(lines(), (texts{"2026-11-22T10:56:59.123Z info  suppressed lines lines=1 like=x"}));
}

TEST_F(log_test, several_threads_write_whole_lines) {
    options_.lines_per_second = 1'000'000;
    options_.queue_lines = 8192;
    auto& log = start();
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&log, thread] {
            for (int i = 0; i < 500; ++i)
                log.info("line", {{"thread", thread}, {"i", i}});
        });
    }
    for (auto& thread : threads)
        thread.join();
    std::array<int, 4> next{};
    const auto written = lines();
    EXPECT_EQ(written.size(), 2000U);
    for (const auto& line : written) {
        const auto at = line.find("thread=");
        ASSERT_NE(at, std::string::npos) << line;
        const auto thread = static_cast<std::size_t>(line[at + 7] - '0');
        ASSERT_EQ(line.substr(at),
                  "thread=" + std::to_string(thread) + " i=" + std::to_string(next.at(thread)++));
    }
}

// A pipe that nobody reads.
struct stuck_pipe {
    std::array<int, 2> ends{-1, -1};
    stuck_pipe() { EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0); }
    ~stuck_pipe() {
        for (const int end : ends)
            ::close(end);
    }
    stuck_pipe(const stuck_pipe&) = delete;
    stuck_pipe& operator=(const stuck_pipe&) = delete;
};

TEST_F(log_test, reader_that_is_stuck_stops_neither_writers_nor_the_end) {
    const stuck_pipe pipe;
    options_.descriptor = pipe.ends[1];
    options_.queue_lines = 512;
    options_.lines_per_second = 1'000'000;
    options_.shutdown_patience = 10ms;
    auto& log = start();
    const std::string filler(900, 'x');
    for (int i = 0; i < 2000; ++i)
        log.info("line", {{"filler", filler}});  // 1.8 MB into 64 kB
    EXPECT_GT(log.dropped(), 1000U);
    const auto begin = std::chrono::steady_clock::now();
    logger_.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);  // not once a queued line
}

TEST_F(log_test, reader_that_left_costs_the_lines_only) {
    stuck_pipe pipe;
    ::close(pipe.ends[0]);
    pipe.ends[0] = -1;
    options_.descriptor = pipe.ends[1];
    auto& log = start();
    log.info("line");
    logger_.reset();  // SIGPIPE would end this process here
    SUCCEED();
}

}  // namespace
}  // namespace sluice::daemon
