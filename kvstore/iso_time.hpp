// Times as JavaScript's toISOString writes them: "2026-01-02T03:04:05.678Z". Stateless, any thread.
#pragma once

#include <string>
#include <string_view>

#include "kvstore/change.hpp"

namespace sluice::kvstore {

// For the years 0 to 9999; another time becomes the nearest of them.
[[nodiscard]] std::string iso_time_text(time_ms time);

// 0 for a text that is not exactly of that shape.
[[nodiscard]] time_ms parse_iso_time(std::string_view text) noexcept;

}  // namespace sluice::kvstore
