#include "systemd/notify.hpp"

#include <systemd/sd-daemon.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>

namespace sluice::systemd {
namespace {

// One status line, cut to what a status display has room for. The lines of a notification are
// fields, so a line break in the text would start another field.
class status_line {
  public:
    explicit status_line(std::string_view text) noexcept {
        const auto length = text.size() < text_.size() - 1 ? text.size() : text_.size() - 1;
        for (std::size_t i = 0; i < length; ++i) {
            const bool line_break = text[i] == '\n' || text[i] == '\r' || text[i] == '\0';
            text_[i] = line_break ? ' ' : text[i];
        }
    }
    [[nodiscard]] const char* c_str() const noexcept { return text_.data(); }

  private:
    std::array<char, 256> text_{};
};

std::atomic<bool> silent{false};

}  // namespace

bool notify_ready(std::string_view status) noexcept {
    return !silent && sd_notifyf(0, "READY=1\nSTATUS=%s", status_line(status).c_str()) > 0;
}

bool notify_reloading() noexcept {
    // systemd matches the time with the reload that it asked for (Type=notify-reload).
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto microseconds = static_cast<unsigned long long>(now.tv_sec) * 1'000'000 +
                              static_cast<unsigned long long>(now.tv_nsec) / 1000;
    return !silent &&
           sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading", microseconds) > 0;
}

bool notify_stopping(std::string_view status) noexcept {
    return !silent && sd_notifyf(0, "STOPPING=1\nSTATUS=%s", status_line(status).c_str()) > 0;
}

bool notify_successor(int process) noexcept {
    if (silent) return false;
    const bool told = sd_notifyf(0, "MAINPID=%d", process) > 0;
    silent = true;
    return told;
}

unsigned long long watchdog_interval() noexcept {
    std::uint64_t out = 0;
    return sd_watchdog_enabled(0, &out) > 0 ? out : 0;
}

bool notify_alive() noexcept {
    return !silent && sd_notify(0, "WATCHDOG=1") > 0;
}

bool notify_status(std::string_view text) noexcept {
    return !silent && sd_notifyf(0, "STATUS=%s", status_line(text).c_str()) > 0;
}

}  // namespace sluice::systemd
