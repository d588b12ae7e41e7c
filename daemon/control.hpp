// What signals, the admin console and `sluice upgrade` may ask of the daemon as a whole. Every call
// may come from any thread; `done` is called on the main thread, once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/assign.hpp"

namespace sluice::daemon {

struct reload_result {
    std::string error;                       // empty: the configuration is in force
    std::vector<std::string> changed;        // keys whose new value applies
    std::vector<std::string> needs_restart;  // keys that wait for a restart or an upgrade
};

// As PgBouncer's SHUTDOWN WAIT_FOR_SERVERS, WAIT_FOR_CLIENTS and SHUTDOWN.
enum class shutdown_mode { wait_for_servers, wait_for_clients, immediate };

class control {
  public:
    virtual void reload(std::function<void(const reload_result&)> done) = 0;
    // One setting, until the file is read again.
    virtual void set(config::assignment what, std::function<void(const reload_result&)> done) = 0;
    virtual void shut_down(shutdown_mode mode) = 0;

  protected:
    ~control() = default;
};

}  // namespace sluice::daemon
