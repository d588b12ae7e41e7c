// What systemd is told about this process: a thin wrapper on sd_notify(3).
// Any thread; no state. Each call is one datagram that never blocks for long. Without
// NOTIFY_SOCKET (not started by systemd, or Type= is not notify) every call does nothing.
// True means that systemd was told.
#pragma once

#include <string_view>

namespace sluice::systemd {

bool notify_ready(std::string_view status) noexcept;
bool notify_reloading() noexcept;  // follow with notify_ready when the reload is done
bool notify_stopping(std::string_view status) noexcept;

// `process` is the main one from now on; said by the one that was. Afterwards this process says
// nothing more: what it says of itself would be taken for the service's.
bool notify_successor(int process) noexcept;

// The microseconds of WatchdogSec=, 0: none is watching.
[[nodiscard]] unsigned long long watchdog_interval() noexcept;
bool notify_alive() noexcept;

// The free text that `systemctl status` shows. Line breaks become spaces.
bool notify_status(std::string_view text) noexcept;

}  // namespace sluice::systemd
