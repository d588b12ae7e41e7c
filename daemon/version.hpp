// What `sluice --version` and the metrics say; the number is CMakeLists.txt's.
#pragma once

namespace sluice::daemon {

extern const char* const version;

}  // namespace sluice::daemon
