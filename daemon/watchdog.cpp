#include "daemon/watchdog.hpp"

#include <chrono>

#include "systemd/notify.hpp"

namespace sluice::daemon {

watchdog::watchdog(const std::vector<net::worker*>& workers, logger& log)
    : log_(log), interval_(std::chrono::microseconds(systemd::watchdog_interval() / 2)) {
    for (auto* const worker : workers) {
        auto& mine = *beats_.emplace_back(std::make_unique<beat>());
        worker->on_tick(
            [&mine](net::clock_time) { mine.count.fetch_add(1, std::memory_order_relaxed); });
    }
}

void watchdog::poll(net::clock_time now) {
    if (interval_.count() == 0) return;
    if (next_ == net::clock_time{}) next_ = now;  // the workers have only just started
    if (now < next_) return;
    std::size_t stuck = 0;
    for (auto& one : beats_) {
        const auto count = one->count.load(std::memory_order_relaxed);
        if (count == one->seen) ++stuck;
    }
    if (stuck > 0) {  // asked again with the next poll; a tick may just be due
        if (now >= next_ + interval_ / 2 && !is_stuck_) {
            is_stuck_ = true;
            log_.error("workers do not answer, and the watchdog is not told that all is well",
                       {{"workers", stuck}});
        }
        return;
    }
    is_stuck_ = false;
    for (auto& one : beats_)
        one->seen = one->count.load(std::memory_order_relaxed);
    next_ = now + interval_;
    systemd::notify_alive();
}

}  // namespace sluice::daemon
