#include "daemon/log_limit.hpp"

namespace sluice::daemon {

bool log_limiter::admit(std::string_view kind, config::log_level level, time_point now) {
    auto [at, is_new] = kinds_.try_emplace(kind);
    auto& state = at->second;
    if (is_new || now - state.window_start >= window_) {
        state.window_start = now;
        state.admitted = 0;
    }
    if (state.admitted < limit_) {
        ++state.admitted;
        return true;
    }
    state.level = level;
    ++state.suppressed;
    ++suppressed_total_;
    return false;
}

bool log_limiter::report_due(time_point now) noexcept {
    if (now < next_report_) return false;
    next_report_ = now + window_;
    return true;
}

std::vector<log_limiter::suppressed_lines> log_limiter::take_suppressed() {
    std::vector<suppressed_lines> lines;
    for (auto& [kind, state] : kinds_) {
        if (state.suppressed == 0) continue;
        lines.push_back({kind, state.level, state.suppressed});
        state.suppressed = 0;
    }
    return lines;
}

}  // namespace sluice::daemon
