// Gathers the snapshot that the admin console and the dashboard show: every worker describes its
// own clients and server connections, then the pools are added. From any thread.
#pragma once

#include <functional>
#include <memory>

#include "pool/overview.hpp"

namespace sluice::daemon {

class pg_service;

using overview_done = std::function<void(std::shared_ptr<const pool::overview>)>;

// `done` is called on some worker, unless the workers stop before.
void gather_overview(pg_service& service, overview_done done);

}  // namespace sluice::daemon
