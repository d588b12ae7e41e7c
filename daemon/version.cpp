#include "daemon/version.hpp"

namespace sluice::daemon {

const char* const version = SLUICE_VERSION;

}  // namespace sluice::daemon
