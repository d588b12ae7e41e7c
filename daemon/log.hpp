// The daemon's log, passed by reference to whoever writes to it. Any thread. A line is formatted by
// its caller and written by a thread of the logger's own through a bounded queue (spdlog), so that
// a stderr that nobody reads stops no worker: the oldest lines are lost, and counted.
// The destructor writes what is queued, but waits no longer than `shutdown_patience` for a stuck
// reader; nobody may log by then. Never log passwords, keys or SQL text.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "config/schema.hpp"
#include "daemon/log_line.hpp"

namespace sluice::daemon {

// Where the logger gets the time from; tests pass their own.
struct log_clock {
    std::chrono::system_clock::time_point (*wall)() = &std::chrono::system_clock::now;
    std::chrono::steady_clock::time_point (*steady)() = &std::chrono::steady_clock::now;
};

struct log_options {
    int descriptor = STDERR_FILENO;  // not closed
    std::size_t queue_lines = 2048;
    std::uint32_t lines_per_second = 200;  // of each message text; the rest is summed up
    std::chrono::milliseconds shutdown_patience{2000};
    log_clock clock;
};

class logger {
  public:
    explicit logger(const config::log_settings& settings, const log_options& options = {});
    ~logger();
    logger(const logger&) = delete;
    logger& operator=(const logger&) = delete;

    // Takes effect for the next line.
    void configure(const config::log_settings& settings) noexcept;

    [[nodiscard]] bool enabled(config::log_level level) const noexcept {
        return level >= level_.load(std::memory_order_relaxed);
    }

    //   log.info("client connected", {{"database", name}, {"port", port}, {"after", elapsed}});
    void debug(log_message message, log_fields fields = {}) {
        if (enabled(config::log_level::debug)) write(config::log_level::debug, message, fields);
    }
    void info(log_message message, log_fields fields = {}) {
        if (enabled(config::log_level::info)) write(config::log_level::info, message, fields);
    }
    void warning(log_message message, log_fields fields = {}) {
        if (enabled(config::log_level::warning)) write(config::log_level::warning, message, fields);
    }
    void error(log_message message, log_fields fields = {}) {
        if (enabled(config::log_level::error)) write(config::log_level::error, message, fields);
    }

    // Reports suppressed and lost lines that are due. Every logged line does this too; call it
    // about once a second so that the report does not wait for the next line.
    void tick();

    // Lines that were suppressed, lost from the full queue or could not be written.
    [[nodiscard]] std::uint64_t dropped() const;

  private:
    class backend;
    struct due_report;

    void write(config::log_level level, log_message message, log_fields fields);
    void report(const due_report& due);
    void put(config::log_level level, log_message message, log_fields fields);

    std::atomic<config::log_level> level_;
    std::atomic<config::log_format> format_;
    log_clock clock_;
    std::unique_ptr<backend> backend_;
};

}  // namespace sluice::daemon
