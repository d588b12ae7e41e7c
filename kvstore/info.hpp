// What INFO sums up over the workers, and from when on: CONFIG RESETSTAT begins anew for INFO
// alone, since the monitoring's counters never go back. Thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "metrics/counters.hpp"

namespace sluice::kvstore {

// First words of errors, by which they are counted. The last one: any other.
inline constexpr std::array<std::string_view, metrics::kv_counters::error_kinds> error_words{
    "ERR", "MISCONF",   "NOAUTH",  "WRONGPASS", "NOPERM",
    "OOM", "EXECABORT", "NOPROTO", "LOADING",   "OTHER"};

[[nodiscard]] inline std::size_t error_kind(std::string_view word) noexcept {
    const auto at = std::find(error_words.begin(), error_words.end() - 1, word);
    return static_cast<std::size_t>(at - error_words.begin());
}

struct statistics {
    struct of_command {
        std::uint64_t calls = 0;
        std::uint64_t nanoseconds = 0;
        std::uint64_t failures = 0;
        std::uint64_t rejections = 0;
    };
    std::vector<of_command> commands;  // by number
    std::array<std::uint64_t, error_words.size()> errors{};
    std::uint64_t connections = 0;
    std::uint64_t rejected = 0;
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t expired = 0;
    std::uint64_t calls = 0;  // of all commands

    statistics& operator-=(const statistics& before) noexcept;
};

[[nodiscard]] statistics sum_up(std::span<const metrics::kv_counters* const> workers,
                                std::uint64_t expired_keys);

struct call;
class project;
// Each project under its lock, those of the call's batch ended before. For commands that have
// flag::counts: in a transaction all projects are locked already.
void for_each_project(call& c, const std::function<void(project&)>& what);

class reset_point {
  public:
    void set(statistics now) {
        const std::lock_guard lock(mutex_);
        at_ = std::move(now);
    }
    [[nodiscard]] statistics since(statistics now) const {
        const std::lock_guard lock(mutex_);
        now -= at_;
        return now;
    }

  private:
    mutable std::mutex mutex_;
    statistics at_;
};

}  // namespace sluice::kvstore
