// Tells systemd's watchdog that the daemon is alive, as long as every worker's loop turns: each
// has a beat that its tick advances. poll() is the main thread's, so its loop is judged by calling.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/log.hpp"
#include "daemon/net/worker.hpp"

namespace sluice::daemon {

class watchdog {
  public:
    // Before the workers start.
    watchdog(const std::vector<net::worker*>& workers, logger& log);
    // Often; says something at half of systemd's interval.
    void poll(net::clock_time now);

  private:
    struct beat {
        std::atomic<std::uint64_t> count{0};
        std::uint64_t seen = 0;
    };
    logger& log_;
    std::vector<std::unique_ptr<beat>> beats_;
    net::clock_time::duration interval_{};  // half of it; zero: nobody watches
    net::clock_time next_{};
    bool is_stuck_ = false;
};

}  // namespace sluice::daemon
