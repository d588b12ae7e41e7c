// Reading the configuration file again while the daemon runs (docs/reload.md), and changing single
// settings until then. What is asked for is made ready on a thread of its own, so that a mistake
// changes nothing and slow upstream logins hold nothing up, and is put in force on the main thread.
// Changes come one after the other: reloads asked for while one runs become one more after it,
// which reads what the file holds by then. Owned by the app; its calls belong on the main thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/assign.hpp"
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

// The same for one setting. Throws config::config_error, whose file is SET.
[[nodiscard]] reload_plan prepare_set(const config::assignment& what, const directory& running);

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
    void set(config::assignment what, done_call done);
    // The daemon is ending: no more of them.
    void stop();

  private:
    struct request {
        std::optional<config::assignment> set;  // not set: the file is read
        std::vector<done_call> done;            // who asked
    };

    void add(request what);
    void begin();
    void prepare();
    void put_in_force(const reload_plan& plan);
    void finish(const reload_result& result, const char* status);

    boost::asio::io_context& main_;
    logger& log_;
    std::string file_;
    std::shared_ptr<const directory> running_;
    apply_call apply_;
    std::optional<request> current_;
    std::deque<request> next_;
    bool stopped_ = false;
    helpers thread_{1};
};

}  // namespace sluice::daemon
