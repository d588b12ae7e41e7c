#include "daemon/reload.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

#include "config/fields.hpp"
#include "config/load.hpp"
#include "config/validate.hpp"
#include "daemon/http/monitoring.hpp"
#include "daemon/kv/service.hpp"
#include "pool/upstream_login.hpp"
#include "systemd/notify.hpp"

namespace sluice::daemon {

namespace {

constexpr auto pem_file = "a readable PEM file";
constexpr auto no_file = "there is no configuration file";
constexpr auto is_ending = "the daemon is shutting down";

// A file that is just being written is empty, or ends too early, for a moment; and an editor's slip
// must not lock everybody out, or let everybody in.
void refuse_emptiness(const std::string& file, const config::loaded& loaded,
                      const config::settings& running) {
    const auto refuse = [&](std::string_view key, const char* found, const char* expected) {
        throw config::config_error(file, loaded.line_of(std::string(key)), std::string(key), found,
                                   expected);
    };
    const auto& next = loaded.settings;
    if (next.postgres.databases.empty() && !running.postgres.databases.empty()) {
        refuse(config::databases_key, "no database",
               "at least one: only a restart takes all of them away");
    }
    const auto has_users = [](const config::settings& of) {
        return of.postgres.users.has_value() && !of.postgres.users->empty();
    };
    if (has_users(running) && !has_users(next)) {
        refuse(config::users_key, "no user", "at least one: only a restart takes all of them away");
    }
    if (next.kv.users.empty() && !running.kv.users.empty()) {
        refuse(config::kv_users_key, "no user",
               "at least one: only a restart opens the key-value port to everybody");
    }
}

std::string joined(const std::vector<std::string>& keys) {
    constexpr std::size_t most = 20;
    std::string out;
    for (std::size_t i = 0; i < std::min(keys.size(), most); ++i)
        out += (i == 0 ? "" : ", ") + keys[i];
    return keys.size() > most ? out + ", ..." : out;
}

}  // namespace

namespace {

// `file` is named where something is wrong.
reload_plan prepare(const std::string& file, config::loaded loaded, const directory& running) {
    const auto& before = running.settings();
    refuse_emptiness(file, loaded, before);
    reload_plan plan;
    plan.changed = config::diff(before, loaded.settings);
    plan.warnings = std::move(loaded.warnings);
    plan.settings = loaded.settings;
    config::keep_what_waits(plan.settings, before);
    try {
        plan.postgres = std::make_shared<const directory>(plan.settings, &running);
    } catch (const unusable_settings& error) {
        if (error.key.empty()) throw;
        throw config::config_error(file, loaded.line_of(error.key), error.key, error.found,
                                   pem_file);
    }
    if (config::is_open_to_all(plan.settings.monitoring) &&
        !plan.settings.monitoring.allow_anonymous) {
        throw config::config_error(file, loaded.line_of("monitoring"), "monitoring",
                                   "a port that is open to everybody",
                                   "a token or users: only a restart changes where it listens");
    }
    const auto load = [&](const char* section, const auto& make) {
        try {
            return make();
        } catch (const net::tls_file_error& error) {
            const auto key = section + error.key;
            throw config::config_error(file, loaded.line_of(key), key, error.problem, pem_file);
        }
    };
    if (!plan.settings.kv.listen.empty()) {
        plan.kv_tls = load("kv.tls.", [&] { return kv_service::load_tls(plan.settings.kv); });
    }
    plan.monitoring_tls = load(
        "monitoring.tls.", [&] { return monitoring_server::load_tls(plan.settings.monitoring); });
    return plan;
}

}  // namespace

reload_plan prepare_reload(const std::string& file, const config::environment& env,
                           const directory& running) {
    return prepare(file, config::load_file(file, env, pool::is_address), running);
}

reload_plan prepare_set(const config::assignment& what, const directory& running) {
    return prepare("SET", {config::with(running.settings(), what), {}, {}}, running);
}

reloader::reloader(boost::asio::io_context& main, logger& log, std::string file,
                   std::shared_ptr<const directory> running, apply_call apply)
    : main_(main),
      log_(log),
      file_(std::move(file)),
      running_(std::move(running)),
      apply_(std::move(apply)) {}

void reloader::start(done_call done) {
    const bool follows = !next_.empty() && !next_.back().set.has_value();
    if (!follows) return add({std::nullopt, {std::move(done)}});
    next_.back().done.push_back(std::move(done));
}

void reloader::set(config::assignment what, done_call done) {
    add({std::move(what), {std::move(done)}});
}

void reloader::add(request what) {
    if (stopped_) return what.done.front()({is_ending, {}, {}});
    next_.push_back(std::move(what));
    if (!current_.has_value()) begin();
}

void reloader::stop() {
    stopped_ = true;
    for (auto& one : std::exchange(next_, {})) {
        for (auto& done : one.done)
            done({is_ending, {}, {}});
    }
}

void reloader::begin() {
    current_ = std::move(next_.front());
    next_.pop_front();
    if (!current_->set.has_value()) {
        // systemd waits for the one that it asked for, and for its end, whatever comes of it.
        systemd::notify_reloading();
        if (file_.empty()) {
            log_.info("nothing to reload: there is no configuration file");
            return finish({no_file, {}, {}}, "serving");
        }
    }
    thread_.run([this] { prepare(); });
}

// On the thread. current_ and running_ change only between two of these.
void reloader::prepare() {
    const auto& set = current_->set;
    try {
        auto plan = std::make_shared<const reload_plan>(
            set.has_value() ? prepare_set(*set, *running_)
                            : prepare_reload(file_, config::process_environment(), *running_));
        boost::asio::post(main_, [this, plan] { put_in_force(*plan); });
    } catch (const std::exception& error) {
        boost::asio::post(main_, [this, why = std::string(error.what())] {
            if (!current_->set.has_value())
                log_.error("configuration not reloaded", {{"why", why}});
            finish({why, {}, {}}, "serving; the last reload failed");
        });
    }
}

void reloader::put_in_force(const reload_plan& plan) {
    if (stopped_) return finish({is_ending, {}, {}}, "");
    running_ = plan.postgres;
    apply_(plan);
    for (const auto& warning : plan.warnings)
        log_.warning("configuration", {{"warning", warning}});
    for (const auto& key : plan.changed.restart) {
        log_.warning("setting needs a restart",
                     {{"key", key}, {"hint", "sluice upgrade applies it and drops no client"}});
    }
    const auto keys = joined(plan.changed.live);
    if (current_->set.has_value()) {
        log_.info("setting changed until the next reload", {{"keys", keys}});
    } else {
        log_.info("configuration reloaded",
                  {{"changed", plan.changed.live.size()}, {"keys", keys}});
    }
    finish({{}, plan.changed.live, plan.changed.restart}, "serving");
}

void reloader::finish(const reload_result& result, const char* status) {
    const auto ended = std::exchange(current_, std::nullopt);
    // When the daemon ends, systemd has been told that.
    if (!stopped_ && !ended->set.has_value()) systemd::notify_ready(status);
    for (const auto& done : ended->done)
        done(result);
    if (!next_.empty() && !current_.has_value()) begin();
}

}  // namespace sluice::daemon
