// What `sluice --version` and the metrics say; the number is CMakeLists.txt's.
#pragma once

namespace sluice::daemon {

inline constexpr const char* version = SLUICE_VERSION;

}  // namespace sluice::daemon
