// How many lines of one kind may be logged: so many a window for each message text, the others are
// counted. Not thread-safe (the logger locks around it); reads no clock. Kinds are the texts of log
// messages, which are literals, so there is a bounded number of them and views of them stay valid.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/schema.hpp"

namespace sluice::daemon {

class log_limiter {
  public:
    using time_point = std::chrono::steady_clock::time_point;

    struct suppressed_lines {
        std::string_view kind;
        config::log_level level;
        std::uint64_t count;
    };

    log_limiter(std::uint32_t lines, std::chrono::milliseconds window) noexcept
        : limit_(lines), window_(window) {}

    // Whether a line of this kind may be written now. If not, it is counted as suppressed.
    [[nodiscard]] bool admit(std::string_view kind, config::log_level level, time_point now);

    // True once a window: the caller then reports what take_suppressed() gives.
    [[nodiscard]] bool report_due(time_point now) noexcept;
    [[nodiscard]] std::vector<suppressed_lines> take_suppressed();

    // Since the start.
    [[nodiscard]] std::uint64_t suppressed_total() const noexcept { return suppressed_total_; }

  private:
    struct kind_state {
        time_point window_start;
        std::uint32_t admitted = 0;
        std::uint64_t suppressed = 0;  // not reported yet
        config::log_level level = config::log_level::info;
    };

    std::uint32_t limit_;
    std::chrono::milliseconds window_;
    time_point next_report_{};
    std::uint64_t suppressed_total_ = 0;
    std::unordered_map<std::string_view, kind_state> kinds_;
};

}  // namespace sluice::daemon
