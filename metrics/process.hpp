// What the kernel knows about this process, read from /proc when somebody asks.
// Any thread; no state. A value that cannot be read is absent rather than zero.
#pragma once

#include <optional>
#include <string_view>

namespace sluice::metrics {

struct process_usage {
    std::optional<double> cpu_seconds;  // user and system time since the start
    std::optional<double> resident_bytes;
    std::optional<double> virtual_bytes;
    std::optional<double> open_fds;
    std::optional<double> max_fds;             // the soft limit
    std::optional<double> start_time_seconds;  // since the epoch
    std::optional<double> threads;
};

process_usage read_process_usage();

// The numbers of /proc/<pid>/stat that are used here, in the kernel's units.
struct process_stat {
    double user_ticks = 0;
    double system_ticks = 0;
    double threads = 0;
    double start_ticks = 0;  // after boot
    double virtual_bytes = 0;
    double resident_pages = 0;
};

std::optional<process_stat> parse_process_stat(std::string_view text);

}  // namespace sluice::metrics
