// What `sluice --version` and the metrics say; CMakeLists.txt has the same number.
#pragma once

namespace sluice::daemon {

inline constexpr const char* version = "0.1.0";

}  // namespace sluice::daemon
