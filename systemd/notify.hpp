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

// The free text that `systemctl status` shows. Line breaks become spaces.
bool notify_status(std::string_view text) noexcept;

}  // namespace sluice::systemd
