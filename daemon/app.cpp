#include "daemon/app.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <exception>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "config/diff.hpp"
#include "config/environment.hpp"
#include "config/load.hpp"
#include "config/validate.hpp"
#include "daemon/control.hpp"
#include "daemon/http/dashboard/dashboard.hpp"
#include "daemon/http/monitoring.hpp"
#include "daemon/kv/service.hpp"
#include "daemon/log.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/worker.hpp"
#include "daemon/pg/service.hpp"
#include "daemon/version.hpp"
#include "metrics/exposition.hpp"
#include "systemd/notify.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

std::string text_of(const config::listen_address& address) {
    if (address.type == config::listen_address::kind::unix_socket) {
        return "unix:" + address.path + ":" + std::to_string(address.port);
    }
    return address.host + ":" + std::to_string(address.port);
}

// A descriptor for each client and server connection: as many as this process may have.
void raise_descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

double unix_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

unsigned worker_count(const config::settings& settings) {
    if (settings.workers != 0) return settings.workers;
    return std::max(1U, std::thread::hardware_concurrency());
}

class app final : public monitoring_source, public control {
  public:
    explicit app(const run_options& options)
        : options_(options), log_(options.settings.log), current_(options.settings) {}

    int run();

    void reload(std::function<void(const reload_result&)> done) override;
    void shut_down(shutdown_mode mode) override;

  private:
    std::string render_metrics() override;
    struct readiness readiness() override;
    std::string render_status(bool with_statements) override;
    std::string render_history(double since) override;
    metrics::snapshot look();
    reading read_now();

    void build();
    void listen();
    void listen_for_kv(net::event_loop& loop);
    void wait_for_signals();
    void on_signal(int number);
    void reload_now(const std::function<void(const reload_result&)>& done);
    void begin_shutdown();
    void tick();
    [[nodiscard]] bool check_shutdown(net::clock_time now);
    void finish();
    void close_rest();
    void hint_at_poolers(const directory& from);

    run_options options_;
    logger log_;
    config::settings current_;
    boost::asio::io_context io_{1};  // of the main thread: signals, monitoring, the slow clock
    boost::asio::steady_timer timer_{io_};
    std::vector<std::unique_ptr<net::worker>> workers_;
    std::unique_ptr<pg_service> service_;
    std::unique_ptr<kv_service> kv_;  // none: the key-value port is off
    std::vector<std::unique_ptr<net::listener>> listeners_;
    std::unique_ptr<monitoring_server> monitoring_;
    dashboard dashboard_;
    std::unique_ptr<boost::asio::signal_set> signals_;
    net::clock_time shutdown_due_ = net::clock_time::max();
    net::clock_time last_log_tick_{};
    bool ending_ = false;
    int exit_code_ = 0;
};

void app::build() {
    const auto first = std::make_shared<const directory>(current_);
    hint_at_poolers(*first);
    std::vector<net::worker*> plain;
    for (unsigned i = 0; i < worker_count(current_); ++i) {
        workers_.push_back(std::make_unique<net::worker>(i));
        plain.push_back(workers_.back().get());
    }
    service_ = std::make_unique<pg_service>(first, plain, log_);
    service_->whole = this;
    for (auto& worker : workers_) {
        worker->on_tick([this, &on = *worker](net::clock_time now) { service_->tick(on, now); });
    }
    if (current_.kv.listen.empty()) return;
    kv_ = std::make_unique<kv_service>(current_.kv, options_.config_file, plain, log_);
    for (auto& worker : workers_) {
        worker->on_tick([this, &on = *worker](net::clock_time) { kv_->tick(on); });
        worker->on_turn_end([this, &on = *worker] { kv_->end_turn(on); });
    }
}

// The main thread's own slow clock.
void app::tick() {
    timer_.expires_after(std::chrono::milliseconds(100));
    timer_.async_wait([this](const boost::system::error_code& ec) {
        if (ec) return;
        const auto now = steady_clock::now();
        if (now - last_log_tick_ > std::chrono::seconds(1)) {
            last_log_tick_ = now;
            log_.tick();
        }
        dashboard_.tick({now, unix_seconds()}, [this] { return read_now(); });
        if (!check_shutdown(now)) tick();
    });
}

void app::hint_at_poolers(const directory& from) {
    for (const auto& name : from.pooled_upstreams()) {
        log_.warning("upstream is a pooled Neon endpoint",
                     {{"database", name},
                      {"hint",
                       "use the direct host (without -pooler): one pooler is enough, and "
                       "session features work"}});
    }
}

void app::listen() {
    auto& loop = workers_[0]->loop();
    for (const auto& address : current_.postgres.listen) {
        for (auto& bound : net::bind_all(address, current_.postgres.listen_backlog)) {
            listeners_.push_back(std::make_unique<net::listener>(
                loop, std::move(bound),
                [this](net::accepted_socket socket) { service_->accept(std::move(socket)); }));
        }
        log_.info("listening for postgres clients", {{"on", text_of(address)}});
    }
    listen_for_kv(loop);
    monitoring_ = std::make_unique<monitoring_server>(io_, current_.monitoring, *this, log_);
    monitoring_->start();
    for (const auto& address : current_.monitoring.listen) {
        log_.info("listening for monitoring", {{"on", text_of(address)}});
    }
    for (auto& listener : listeners_)
        listener->start();
}

void app::listen_for_kv(net::event_loop& loop) {
    if (kv_ == nullptr) return;
    for (const auto& address : current_.kv.listen) {
        for (auto& bound : net::bind_all(address, current_.kv.listen_backlog)) {
            listeners_.push_back(std::make_unique<net::listener>(
                loop, std::move(bound),
                [this](net::accepted_socket socket) { kv_->accept(std::move(socket)); }));
        }
        log_.info("listening for key-value clients", {{"on", text_of(address)}});
    }
    try {
        listeners_.push_back(std::make_unique<net::listener>(
            loop, net::bind_path(current_.kv.directory + "/control.sock", 16, 0600),
            [this](net::accepted_socket socket) { kv_->accept_control(std::move(socket)); }));
    } catch (const std::exception& error) {
        log_.warning("no control socket: sluice kv cannot reach this daemon",
                     {{"why", error.what()}});
    }
}

void app::wait_for_signals() {
    signals_->async_wait([this](const boost::system::error_code& ec, int number) {
        if (ec) return;
        on_signal(number);
        wait_for_signals();
    });
}

void app::on_signal(int number) {
    if (number == SIGHUP) return reload([](const reload_result&) {});
    if (ending_) {  // a second time: at once
        shutdown_due_ = steady_clock::now();
        return;
    }
    begin_shutdown();
}

void app::reload(std::function<void(const reload_result&)> done) {
    boost::asio::post(io_, [this, done = std::move(done)] { reload_now(done); });
}

void app::shut_down(shutdown_mode mode) {
    boost::asio::post(io_, [this, mode] {
        if (!ending_) begin_shutdown();
        if (mode == shutdown_mode::wait_for_clients) shutdown_due_ = net::clock_time::max();
        if (mode == shutdown_mode::immediate) shutdown_due_ = steady_clock::now();
    });
}

// What can change while running does; the rest is named and waits. A bad file changes nothing.
void app::reload_now(const std::function<void(const reload_result&)>& done) {
    if (options_.config_file.empty()) {
        log_.info("nothing to reload: there is no configuration file");
        return done({"there is no configuration file", {}, {}});
    }
    systemd::notify_reloading();
    // The helper gets a copy: an earlier reload may be taking effect meanwhile.
    service_->threads.run([this, done, before = current_] {
        try {
            auto loaded = config::load_file(options_.config_file, config::process_environment(),
                                            pool::is_address);
            const auto changed = config::diff(before, loaded.settings);
            for (const auto& key : changed.restart) {
                log_.warning("setting needs a restart", {{"key", key}});
            }
            auto next = loaded.settings;
            next.workers = before.workers;
            next.postgres.listen = before.postgres.listen;
            next.postgres.auth_type = before.postgres.auth_type;
            next.postgres.databases = before.postgres.databases;
            next.monitoring.listen = before.monitoring.listen;
            next.monitoring.tls.mode = before.monitoring.tls.mode;
            if (config::is_open_to_all(next.monitoring) && !next.monitoring.allow_anonymous) {
                throw std::runtime_error(
                    "the monitoring port would be open to everybody: only a restart changes where "
                    "it listens");
            }
            for (auto& [name, database] : next.postgres.databases) {
                const auto at = loaded.settings.postgres.databases.find(name);
                if (at == loaded.settings.postgres.databases.end()) continue;
                const auto url = database.url;
                database = at->second;
                database.url = url;
            }
            // A file that is being written is empty for a moment.
            if (next.kv.users.empty() && !before.kv.users.empty()) {
                throw std::runtime_error(
                    "kv.users is empty now: only a restart opens the key-value port to everybody");
            }
            next.kv.listen = before.kv.listen;
            next.kv.listen_backlog = before.kv.listen_backlog;
            next.kv.directory = before.kv.directory;
            next.kv.tls.mode = before.kv.tls.mode;
            const auto fresh = std::make_shared<const directory>(next);
            const auto kv_tls = kv_service::load_tls(next.kv);
            const auto monitoring_tls = monitoring_server::load_tls(next.monitoring);
            boost::asio::post(io_, [this, done, fresh, next, kv_tls, monitoring_tls, changed] {
                current_ = next;
                log_.configure(next.log);
                service_->replace_directory(fresh);
                if (kv_ != nullptr) kv_->configure(next.kv, kv_tls);
                monitoring_->configure(next.monitoring, monitoring_tls);
                log_.info("configuration reloaded", {{"changed", changed.live.size()}});
                systemd::notify_ready("serving");
                done({{}, changed.live, changed.restart});
            });
        } catch (const std::exception& error) {
            log_.error("configuration not reloaded", {{"why", error.what()}});
            systemd::notify_ready("serving; the last reload failed");
            boost::asio::post(io_, [done, why = std::string(error.what())] {
                done({why, {}, {}});
            });
        }
    });
}

void app::begin_shutdown() {
    ending_ = true;
    systemd::notify_stopping("draining");
    log_.info("shutting down", {{"shutdown_timeout", current_.postgres.shutdown_timeout}});
    const auto patience = current_.postgres.shutdown_timeout;
    if (patience.count() != 0) shutdown_due_ = steady_clock::now() + patience;
    workers_[0]->post([this] {
        for (auto& listener : listeners_)
            listener->stop();
    });
    service_->drain();
}

// True: everything has been closed.
bool app::check_shutdown(net::clock_time now) {
    if (!ending_) return false;
    std::uint32_t left = 0;
    for (const auto& count : service_->clients_on)
        left += count.load();
    if (left > 0 && now < shutdown_due_) return false;
    if (left > 0) log_.warning("clients cut off at shutdown", {{"clients", left}});
    signals_->cancel();
    monitoring_->stop();
    finish();
    return true;
}

// Workers still run while the sessions end; then they stop, each after what that has posted.
void app::finish() {
    service_->close_clients();
    if (kv_ != nullptr) kv_->close_clients();
    for (auto& worker : workers_) {
        worker->post([&on = *worker] { on.post([&on] { on.post([&on] { on.stop(); }); }); });
    }
}

// The workers are gone. What they posted to one that had stopped already still wants to be done.
void app::close_rest() {
    const auto finish_loops = [this] {
        bool more = true;
        while (more) {
            more = false;
            for (auto& worker : workers_)
                more = worker->loop().finish() || more;
        }
    };
    finish_loops();
    if (kv_ != nullptr && !kv_->finish()) exit_code_ = 1;
    service_->close_servers();
    finish_loops();
}

int app::run() {
    std::signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    try {
        build();
        signals_ = std::make_unique<boost::asio::signal_set>(io_, SIGINT, SIGTERM, SIGHUP);
        wait_for_signals();
        listen();
    } catch (const unusable_settings& error) {
        log_.error("cannot start", {{"why", error.what()}});
        return 2;
    } catch (const std::exception& error) {
        log_.error("cannot start", {{"why", error.what()}});
        return 1;
    }
    if (kv_ != nullptr) kv_->start_threads();
    for (auto& worker : workers_)
        worker->start();
    log_.info("sluice is ready", {{"version", version}, {"workers", workers_.size()}});
    systemd::notify_ready("serving");
    tick();
    io_.run();
    for (auto& worker : workers_)
        worker->join();
    close_rest();
    listeners_.clear();
    monitoring_.reset();
    signals_.reset();
    log_.info("sluice has ended");
    return exit_code_;
}

metrics::snapshot app::look() {
    metrics::snapshot out;
    out.process.version = version;
    out.process.usage = metrics::read_process_usage();
    service_->fill(out);
    if (kv_ != nullptr) kv_->fill(out);
    return out;
}

std::string app::render_metrics() {
    return metrics::render(look());
}

reading app::read_now() {
    auto out = read(look());
    out.ready = service_->ready(out.why_not);
    return out;
}

std::string app::render_status(bool with_statements) {
    std::optional<std::vector<pool::statement_total>> statements;
    if (with_statements) statements.emplace();
    return dashboard_.status(read_now(), unix_seconds(), std::move(statements));
}

std::string app::render_history(double since) {
    return dashboard_.recent(since, unix_seconds());
}

struct readiness app::readiness() {
    struct readiness out;
    out.ready = service_->ready(out.why);
    return out;
}

}  // namespace

int run(const run_options& options) {
    app daemon(options);
    return daemon.run();
}

}  // namespace sluice::daemon
