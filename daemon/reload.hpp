// Reading the configuration file again while the daemon runs (docs/reload.md). What the file asks
// for is made ready on a thread of its own, so that a mistake changes nothing and slow upstream
// logins hold nothing up, and is put in force on the main thread.
// Reloads come one after the other: those asked for while one runs become one more after it, which
// reads what the file holds by then. Owned by the app; its calls belong on the main thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/diff.hpp"
#include "config/environment.hpp"
#include "config/schema.hpp"
#include "daemon/control.hpp"
#include "daemon/helpers.hpp"
#include "daemon/log.hpp"
#include "daemon/net/tls_context.hpp"
#include "daemon/pg/directory.hpp"

namespace sluice::daemon {

// A configuration that is ready to be put in force.
struct reload_plan {
    config::settings settings;  // what waits for a restart is as it was
    config::changes changed;
    std::vector<std::string> warnings;
    std::shared_ptr<const directory> postgres;
    std::shared_ptr<const net::tls_context> kv_tls;
    std::shared_ptr<const net::tls_context> monitoring_tls;
};

// Throws config::config_error, with the line where the file has one. Blocks: files are read, and
// passwords derived.
[[nodiscard]] reload_plan prepare_reload(const std::string& file, const config::environment& env,
                                         const directory& running);

class reloader {
  public:
    using done_call = std::function<void(const reload_result&)>;
    using apply_call = std::function<void(const reload_plan&)>;

    // `apply` puts a plan in force, and returns when new clients get what it says. An empty `file`:
    // there is none.
    reloader(boost::asio::io_context& main, logger& log, std::string file,
             std::shared_ptr<const directory> running, apply_call apply);

    // `done` is called once, unless the daemon ends before.
    void start(done_call done);
    // The daemon is ending: no more of them.
    void stop();

  private:
    void begin();
    void read_file();
    void put_in_force(const reload_plan& plan);
    void finish(const reload_result& result, const char* status);

    boost::asio::io_context& main_;
    logger& log_;
    std::string file_;
    std::shared_ptr<const directory> running_;
    apply_call apply_;
    std::vector<done_call> current_;  // who asked for the one that runs
    std::vector<done_call> next_;
    bool stopped_ = false;
    helpers thread_{1};
};

}  // namespace sluice::daemon
