#include "daemon/app.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "daemon/control.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/http/dashboard/dashboard.hpp"
#include "daemon/http/monitoring.hpp"
#include "daemon/kv/port.hpp"
#include "daemon/listeners.hpp"
#include "daemon/log.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/worker.hpp"
#include "daemon/pg/service.hpp"
#include "daemon/predecessor.hpp"
#include "daemon/reload.hpp"
#include "daemon/upgrade.hpp"
#include "daemon/version.hpp"
#include "daemon/watchdog.hpp"
#include "metrics/exposition.hpp"
#include "systemd/notify.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

// For key-value clients to get the answers that they wait for.
constexpr auto last_answers = std::chrono::seconds(2);

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
    void set(config::assignment what, std::function<void(const reload_result&)> done) override;
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
    void listen_for_kv();
    void listen_for_control();
    void open_store(std::vector<handed_client>& clients);
    void serve(std::vector<handed_client>& clients);
    void wait_for_signals();
    void on_signal(int number);
    void apply(const reload_plan& plan);
    void begin_shutdown(pg_service::newcomers what);
    void upgrade_now(const std::shared_ptr<control_socket::answer>& asker);
    void taken_over(pid_t successor);
    void on_command(const std::string& command,
                    const std::shared_ptr<control_socket::answer>& asker);
    void tell_status(control_socket::answer& asker);
    void tick();
    [[nodiscard]] bool check_shutdown(net::clock_time now);
    [[nodiscard]] bool kv_clients_are_gone(net::clock_time now);
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
    std::unique_ptr<reloader> reloader_;
    listeners sockets_;
    std::unique_ptr<predecessor> predecessor_;  // none: nobody's place is taken
    std::unique_ptr<kv_port> kv_;               // none: the key-value port is off
    std::vector<std::unique_ptr<net::listener>> listeners_;
    std::unique_ptr<monitoring_server> monitoring_;
    dashboard dashboard_;
    std::unique_ptr<control_socket> control_;  // none: there is no such socket
    std::unique_ptr<upgrade> upgrade_;
    std::unique_ptr<watchdog> watchdog_;
    std::unique_ptr<boost::asio::signal_set> signals_;
    net::clock_time shutdown_due_ = net::clock_time::max();
    net::clock_time kv_due_ = net::clock_time::max();
    net::clock_time last_log_tick_{};
    bool ending_ = false;
    bool is_upgrading_ = false;
    bool handed_over_ = false;  // a successor serves
    bool told_to_end_ = false;
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
    reloader_ = std::make_unique<reloader>(io_, log_, options_.config_file, first,
                                           [this](const reload_plan& plan) { apply(plan); });
    for (auto& worker : workers_) {
        worker->on_tick([this, &on = *worker](net::clock_time now) { service_->tick(on, now); });
    }
    watchdog_ = std::make_unique<watchdog>(plain, log_);
    if (!current_.kv.listen.empty()) kv_ = std::make_unique<kv_port>(plain, log_);
    upgrade_ = std::make_unique<upgrade>(started_command::of_this_process(), options_.config_file,
                                         sockets_, kv_.get(), log_);
    if (predecessor_ == nullptr) return;
    service_->cancel_elsewhere = [this](std::uint32_t process_id, const std::string& secret) {
        predecessor_->cancel(process_id, secret);
    };
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
        watchdog_->poll(now);
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

// Binds, or takes from whoever has the sockets; nobody is accepted yet.
void app::listen() {
    auto& loop = workers_[0]->loop();
    const auto& pg = current_.postgres;
    for (auto& bound : sockets_.open("postgres", pg.listen, pg.listen_backlog)) {
        log_.info("listening for postgres clients",
                  {{"on", listeners::address_of(bound.descriptor)}});
        listeners_.push_back(std::make_unique<net::listener>(
            loop, std::move(bound),
            [this](net::accepted_socket socket) { service_->accept(std::move(socket)); }));
    }
    if (kv_ != nullptr) listen_for_kv();
    monitoring_ = std::make_unique<monitoring_server>(io_, current_.monitoring, *this, log_);
    const auto given = sockets_.open("monitoring", current_.monitoring.listen, 128);
    for (const auto& bound : given) {
        log_.info("listening for monitoring", {{"on", listeners::address_of(bound.descriptor)}});
    }
    monitoring_->start(given);
    listen_for_control();
}

void app::listen_for_kv() {
    for (auto& bound : sockets_.open("kv", current_.kv.listen, current_.kv.listen_backlog)) {
        log_.info("listening for key-value clients",
                  {{"on", listeners::address_of(bound.descriptor)}});
        kv_->listen(std::move(bound));
    }
    try {
        kv_->listen_for_control(
            sockets_.open_path("kv-control", current_.kv.directory + "/control.sock", 16, 0600));
    } catch (const std::exception& error) {
        log_.warning("no control socket: sluice kv cannot reach this daemon",
                     {{"why", error.what()}});
    }
}

void app::listen_for_control() {
    const auto path = control_path(current_);
    if (path.empty()) return;
    try {
        control_ = std::make_unique<control_socket>(
            io_, sockets_.open_path("control", path, 16, 0600),
            [this](const std::string& command, const std::shared_ptr<control_socket::answer>& to) {
                on_command(command, to);
            });
    } catch (const std::exception& error) {
        log_.warning("no control socket: sluice upgrade and sluice reload cannot reach this daemon",
                     {{"why", error.what()}});
    }
}

// With a predecessor the store is not free before everything else is there.
void app::open_store(std::vector<handed_client>& clients) {
    if (predecessor_ != nullptr) {
        predecessor_->ready();
        clients = predecessor_->wait_until_free();
    }
    if (kv_ != nullptr) kv_->open(current_.kv, options_.config_file);
}

// Nothing can fail any more.
void app::serve(std::vector<handed_client>& clients) {
    if (kv_ != nullptr) kv_->start();
    for (auto& listener : listeners_)
        listener->start();
    for (auto& worker : workers_)
        worker->start();
    for (auto& client : clients) {
        if (kv_ != nullptr) {
            kv_->service()->go_on(std::move(client));
        } else {
            ::close(client.descriptor);
        }
    }
    if (predecessor_ != nullptr) {
        predecessor_->serving();
        predecessor_->wait_until_main();
    }
    sockets_.settle();
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
    if (number == SIGUSR2) return upgrade_now(nullptr);
    // A stop of the service that finds us draining, with a successor, is the first one for us.
    if (ending_ && (told_to_end_ || !handed_over_)) {
        shutdown_due_ = kv_due_ = steady_clock::now();
        return;
    }
    told_to_end_ = true;
    if (!ending_) begin_shutdown(pg_service::newcomers::refused);
}

void app::reload(std::function<void(const reload_result&)> done) {
    boost::asio::post(
        io_, [this, done = std::move(done)]() mutable { reloader_->start(std::move(done)); });
}

void app::set(config::assignment what, std::function<void(const reload_result&)> done) {
    boost::asio::post(io_, [this, what = std::move(what), done = std::move(done)]() mutable {
        reloader_->set(std::move(what), std::move(done));
    });
}

void app::shut_down(shutdown_mode mode) {
    boost::asio::post(io_, [this, mode] {
        if (!ending_) begin_shutdown(pg_service::newcomers::refused);
        if (mode == shutdown_mode::wait_for_clients) shutdown_due_ = net::clock_time::max();
        if (mode == shutdown_mode::immediate) shutdown_due_ = steady_clock::now();
    });
}

void app::apply(const reload_plan& plan) {
    current_ = plan.settings;
    log_.configure(current_.log);
    service_->replace_directory(plan.postgres);
    const auto kv = kv_ == nullptr ? nullptr : kv_->service();
    if (kv != nullptr) kv->configure(current_.kv, plan.kv_tls);
    monitoring_->configure(current_.monitoring, plan.monitoring_tls);
    hint_at_poolers(*plan.postgres);
}

void app::begin_shutdown(pg_service::newcomers what) {
    ending_ = true;
    if (!handed_over_) upgrade_->abandon();
    reloader_->stop();
    systemd::notify_stopping("draining");
    log_.info("shutting down", {{"shutdown_timeout", current_.postgres.shutdown_timeout}});
    const auto patience = current_.postgres.shutdown_timeout;
    if (patience.count() != 0) shutdown_due_ = steady_clock::now() + patience;
    service_->drain(what);
}

// The asker may be nobody.
void app::upgrade_now(const std::shared_ptr<control_socket::answer>& asker) {
    const auto refuse = [&](const char* why) {
        log_.warning("no upgrade", {{"why", why}});
        if (asker != nullptr) asker->fail(why);
    };
    if (ending_) return refuse("this process is ending");
    if (is_upgrading_) return refuse("an upgrade is under way already");
    is_upgrading_ = true;
    log_.info("upgrade begins");
    upgrade::outside calls;
    calls.progress = [this, asker](const std::string& line) {
        log_.info("upgrade", {{"what", line}});
        boost::asio::post(io_, [asker, line] {
            if (asker != nullptr) asker->say("progress", line);
        });
    };
    calls.taken_over = [this](pid_t successor) {
        std::promise<void> done;
        boost::asio::post(io_, [this, successor, &done] {
            taken_over(successor);
            done.set_value();
        });
        done.get_future().wait();
    };
    calls.done = [this, asker](const upgrade_result& result) {
        if (!result.error.empty()) {
            log_.error("upgrade failed; this process serves on", {{"why", result.error}});
        }
        boost::asio::post(io_, [this, asker, result] {
            is_upgrading_ = false;
            if (asker == nullptr) return;
            if (!result.error.empty()) return asker->fail(result.error);
            asker->done();
        });
    };
    calls.cancel = [this](std::uint32_t process_id, const std::string& secret) {
        service_->cancel_request(process_id, secret, [] {});
    };
    upgrade_->start(current_, std::move(calls));
}

void app::taken_over(pid_t successor) {
    handed_over_ = true;
    systemd::notify_successor(successor);
    workers_[0]->post([this] {
        for (auto& listener : listeners_)
            listener->stop();
        if (kv_ != nullptr) kv_->stop();
    });
    monitoring_->stop();
    if (control_ != nullptr) control_->stop();
    sockets_.let_go();
    if (ending_) {  // told so at the last moment, and both were meant
        kill(successor, SIGTERM);
    } else {
        begin_shutdown(pg_service::newcomers::served);
    }
}

void app::on_command(const std::string& command,
                     const std::shared_ptr<control_socket::answer>& asker) {
    if (command == "upgrade") return upgrade_now(asker);
    if (command == "status") return tell_status(*asker);
    if (command != "reload") return asker->fail("no such command");
    reload([asker](const reload_result& result) {
        for (const auto& key : result.changed)
            asker->say("changed", key);
        for (const auto& key : result.needs_restart)
            asker->say("restart", key);
        if (result.error.empty()) return asker->done();
        asker->fail(result.error);
    });
}

void app::tell_status(control_socket::answer& asker) {
    std::uint32_t clients = 0;
    for (const auto& count : service_->clients_on)
        clients += count.load();
    asker.say("state", ending_ ? "draining" : is_upgrading_ ? "upgrading" : "serving");
    asker.say("process", std::to_string(getpid()));
    asker.say("version", version);
    asker.say("postgres-clients", std::to_string(clients));
    asker.done();
}

// True: everything has been closed.
bool app::check_shutdown(net::clock_time now) {
    if (!ending_ || is_upgrading_) return false;  // who asked for the upgrade is to hear of it
    std::uint32_t left = 0;
    for (const auto& count : service_->clients_on)
        left += count.load();
    if (left > 0 && now < shutdown_due_) return false;
    if (!kv_clients_are_gone(now)) return false;
    if (left > 0) log_.warning("clients cut off at shutdown", {{"clients", left}});
    signals_->cancel();
    monitoring_->stop();
    if (control_ != nullptr) control_->end();
    finish();
    return true;
}

bool app::kv_clients_are_gone(net::clock_time now) {
    const auto kv = kv_ == nullptr ? nullptr : kv_->service();
    if (kv == nullptr) return true;
    kv_due_ = std::min(kv_due_, now + last_answers);
    workers_[0]->post([this] { kv_->stop(); });
    if (now >= kv_due_ || kv->clients() == 0) return true;
    kv->let_clients_leave(leaving::closed);
    return false;
}

// Workers still run while the sessions end; then they stop, each after what that has posted.
void app::finish() {
    upgrade_->stop();
    service_->close_clients();
    if (const auto kv = kv_ == nullptr ? nullptr : kv_->service()) kv->close_clients();
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
    if (kv_ != nullptr && !handed_over_) {  // lost: it could not be opened again
        const auto kv = kv_->service();
        if (kv == nullptr || !kv->finish()) exit_code_ = 1;
    }
    service_->close_servers();
    finish_loops();
}

int app::run() {
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGUSR2, SIG_IGN);  // until there is something to hand over
    raise_descriptor_limit();
    std::vector<handed_client> clients;
    const auto fail = [&](const std::exception& error, int code) {
        log_.error("cannot start", {{"why", error.what()}});
        if (predecessor_ != nullptr) predecessor_->failed(error.what());
        return code;
    };
    try {
        predecessor_ = predecessor::find();
        if (predecessor_ != nullptr) {
            predecessor_->take_sockets(sockets_);
        } else {
            sockets_.inherit_from_systemd();
        }
        build();
        signals_ = std::make_unique<boost::asio::signal_set>(io_, SIGINT, SIGTERM, SIGHUP);
        signals_->add(SIGUSR2);
        wait_for_signals();
        if (predecessor_ == nullptr) open_store(clients);
        listen();
        if (predecessor_ != nullptr) open_store(clients);
    } catch (const unusable_settings& error) {
        return fail(error, 2);
    } catch (const std::exception& error) {
        return fail(error, 1);
    }
    serve(clients);
    log_.info("sluice is ready", {{"version", version}, {"workers", workers_.size()}});
    systemd::notify_ready("serving");
    tick();
    io_.run();
    for (auto& worker : workers_)
        worker->join();
    close_rest();
    listeners_.clear();
    kv_.reset();
    monitoring_.reset();
    control_.reset();
    signals_.reset();
    log_.info("sluice has ended");
    return exit_code_;
}

metrics::snapshot app::look() {
    metrics::snapshot out;
    out.process.version = version;
    out.process.usage = metrics::read_process_usage();
    service_->fill(out);
    if (const auto kv = kv_ == nullptr ? nullptr : kv_->service()) kv->fill(out);
    if (const auto end = monitoring_->certificate_end()) {
        out.certificates.push_back({"monitoring", *end});
    }
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
    if (with_statements) statements = service_->top_statements(shown_statements);
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
