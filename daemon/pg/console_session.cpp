#include "daemon/pg/console_session.hpp"

#include <algorithm>
#include <charconv>

#include "daemon/control.hpp"
#include "daemon/pg/client_session.hpp"
#include "daemon/pg/config_view.hpp"
#include "daemon/pg/overview.hpp"
#include "daemon/pg/service.hpp"
#include "pool/console_shows.hpp"

namespace sluice::daemon {

namespace {

using pool::console_answer;
using pool::console_verb;

constexpr auto look_again = std::chrono::milliseconds(50);

console_answer refused(const order_refusal& why) {
    return console_answer::error(why.sqlstate, why.message, why.hint);
}

std::string lower(std::string text) {
    for (auto& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return text;
}

std::string listed(const std::vector<std::string>& keys) {
    std::string out;
    for (const auto& key : keys)
        out += (out.empty() ? "" : ", ") + key;
    return out;
}

}  // namespace

console_session::console_session(client_session& session, pg_service& service, console_user user,
                                 const std::string& database)
    : session_(session),
      service_(service),
      user_(std::move(user)),
      protocol_(user_.name, database) {}

std::vector<std::pair<std::string, std::string>> console_session::reported_parameters(
    const std::string& user) {
    return {{"application_name", ""},
            {"client_encoding", "UTF8"},
            {"DateStyle", "ISO, MDY"},
            {"default_transaction_read_only", "off"},
            {"in_hot_standby", "off"},
            {"integer_datetimes", "on"},
            {"IntervalStyle", "postgres"},
            {"is_superuser", "off"},
            {"server_encoding", "UTF8"},
            {"server_version", std::string(pool::console_server_version)},
            {"session_authorization", user},
            {"standard_conforming_strings", "on"},
            {"TimeZone", "UTC"}};
}

void console_session::on_bytes() {
    if (in_pump_) return;  // a command that was answered at once
    in_pump_ = true;
    auto& stream = session_.stream;
    while (session_.is_console() && stream.backlog() <= high_water_mark) {
        std::string out;
        const auto taken = protocol_.receive(stream.rx.readable(), out);
        stream.rx.consume(taken);
        session_.send([&](std::string& to) { to += out; });
        const auto want = protocol_.want();
        if (want == pool::console_want::bytes) {
            stream.expect(protocol_.needed());
            break;
        }
        if (want == pool::console_want::goodbye) {
            session_.end_quietly();
            break;
        }
        if (want == pool::console_want::rejection) {
            session_.fail(
                {.severity = "FATAL", .sqlstate = "08P01", .message = protocol_.rejection()},
                "broken message");
            break;
        }
        if (running_) break;
        if (!check_rights()) break;
        running_ = true;
        ++commands_;
        run(protocol_.command());
        if (running_) break;  // its answer comes later
    }
    in_pump_ = false;
    if (!session_.is_console()) return;
    if (stream.rx.size() > high_water_mark || stream.backlog() > high_water_mark) {
        stream.pause();
    } else if (stream.paused()) {
        stream.resume();
    }
}

void console_session::done(console_answer answer) {
    if (!session_.is_console() || !running_) return;
    running_ = false;
    over_ = hopeless_ = nullptr;
    due_ = net::deadline::never;
    if (answer.tag.empty()) answer.tag = protocol_.command().tag;
    std::string out;
    protocol_.answer(std::move(answer), out);
    session_.send([&](std::string& to) { to += out; });
    if (in_pump_) return;
    on_bytes();
    reconfigure();  // it was put off until there was an answer
}

void console_session::reconfigure() {
    if (session_.is_console() && (!running_ || over_ != nullptr)) (void)check_rights();
}

bool console_session::check_rights() {
    const auto number = service_.directory_number();  // before the directory: it is the older one
    if (number == rights_of_) return true;
    role_ = role_of(*service_.current_directory(), user_);
    rights_of_ = number;
    if (role_ != console_role::none) return true;
    session_.fail({.severity = "FATAL",
                   .sqlstate = "57P01",
                   .message = "user \"" + user_.name + "\" may no longer use the admin console",
                   .hint = "The configuration has changed: postgres.admin_users and "
                           "postgres.stats_users name who may."},
                  "console access taken away");
    return false;
}

template <class Argument>
std::function<void(const Argument&)> console_session::back_here(
    std::function<void(console_session&, const Argument&)> work) {
    return [hold = session_.shared_from_this(), self = this, number = commands_,
            work = std::move(work)](const Argument& argument) {
        hold->home().post([hold, self, number, work, argument] {
            if (hold->is_console() && self->running_ && self->commands_ == number)
                work(*self, argument);
        });
    };
}

void console_session::run(const pool::console_command& command) {
    switch (command.verb) {
        case console_verb::show:
            return show(command.show);
        case console_verb::set:
            return set(command);
        default:
            break;
    }
    if (role_ != console_role::admin) return lacks_rights();
    service_.log.info(
        "admin command",
        {{"command", command.tag}, {"argument", command.argument}, {"user", user_.name}});
    switch (command.verb) {
        case console_verb::reset_queries:
            service_.reset_top_statements();
            return done();
        case console_verb::reload:
            return reload();
        case console_verb::shutdown:
            return shut_down(lower(command.argument));
        case console_verb::kill_client:
            return kill_client(command.argument);
        case console_verb::kill:
            return kill(command.argument);
        case console_verb::suspend:
            return done(console_answer::error(
                "0A000", "SUSPEND is not supported",
                "PgBouncer suspends to hand its sockets to a successor. Here `sluice upgrade` "
                "does that without a pause; PAUSE waits for transactions to end."));
        default:
            return run_order(command);
    }
}

void console_session::run_order(const pool::console_command& command) {
    auto& orders = service_.orders;
    const auto database = command.argument;
    order_refusal why;
    switch (command.verb) {
        case console_verb::pause:
            why = orders.pause(database);
            if (why.refused()) break;
            return wait_until([&orders, database] { return orders.is_released(database); },
                              [&orders, database] {
                                  return database.empty() ? !orders.everything_is_paused()
                                                          : !orders.is_paused(database);
                              });
        case console_verb::resume:
            why = orders.resume(database, session_.home());
            break;
        case console_verb::disable:
            why = orders.disable(database);
            break;
        case console_verb::enable:
            why = orders.enable(database);
            break;
        case console_verb::reconnect:
            why = orders.reconnect(database);
            break;
        case console_verb::wait_close:
            why = orders.check_database(database);
            if (why.refused()) break;
            return wait_until([&orders, database] { return orders.is_renewed(database); },
                              [] { return false; });
        default:
            why = {"XX000", "the command is not known here", {}};
            break;
    }
    if (why.refused()) return done(refused(why));
    done();
}

void console_session::wait_until(std::function<bool()> over, std::function<bool()> hopeless) {
    if (over()) return done();
    over_ = std::move(over);
    hopeless_ = std::move(hopeless);
    due_ = std::chrono::steady_clock::now() + look_again;
    session_.arm();
}

void console_session::on_deadline() {
    if (over_ == nullptr) {
        due_ = net::deadline::never;
        return session_.arm();
    }
    if (over_()) return done();
    if (hopeless_()) {
        return done(console_answer::error("55000", "the pause was ended by RESUME"));
    }
    due_ = std::chrono::steady_clock::now() + look_again;
    session_.arm();
}

void console_session::cancel() {
    if (over_ == nullptr) return;
    done(console_answer::error("57014", "canceling the wait due to user request",
                               "What was ordered stays in force; RESUME ends a pause."));
}

void console_session::show(pool::show_kind what) {
    if (what == pool::show_kind::help) {
        console_answer out;
        out.notices.push_back({"Console usage", pool::console_help()});
        return done(std::move(out));
    }
    if (what == pool::show_kind::fds) {
        return done(console_answer::error(
            "0A000", "SHOW FDS is not supported",
            "It hands sockets to a successor; `sluice upgrade` does that here."));
    }
    using snapshot = std::shared_ptr<const pool::overview>;
    gather_overview(service_,
                    back_here<snapshot>([what](console_session& self, const snapshot& from) {
                        console_answer out;
                        out.table = pool::render(what, *from);
                        self.done(std::move(out));
                    }));
}

void console_session::set(const pool::console_command& command) {
    auto what = assignment_of(command.argument, command.value);
    if (!what.has_value()) {  // drivers set what they set of every server
        console_answer out;
        out.notices.push_back({"SET ignored", {}});
        return done(std::move(out));
    }
    if (role_ != console_role::admin) return lacks_rights();
    if (service_.whole == nullptr) return done(console_answer::error("0A000", "nothing to set"));
    service_.log.info("admin command",
                      {{"command", "SET"}, {"argument", what->key}, {"user", user_.name}});
    service_.whole->set(
        std::move(*what),
        back_here<reload_result>([](console_session& self, const reload_result& result) {
            if (!result.error.empty()) {
                return self.done(console_answer::error(
                    "22023", "SET failed, the configuration in force is unchanged",
                    "SHOW CONFIG lists the settings, and which can change.", result.error));
            }
            console_answer out;
            if (!result.changed.empty()) {
                out.notices.push_back({"in force until the next RELOAD, upgrade or restart: " +
                                           listed(result.changed),
                                       {}});
            }
            self.done(std::move(out));
        }));
}

void console_session::lacks_rights() {
    done(console_answer::error("42501", "admin access needed",
                               "postgres.admin_users names who has it."));
}

void console_session::reload() {
    if (service_.whole == nullptr) return done(console_answer::error("0A000", "nothing to reload"));
    service_.whole->reload(
        back_here<reload_result>([](console_session& self, const reload_result& result) {
            if (!result.error.empty()) {
                return self.done(console_answer::error(
                    "F0000", "RELOAD failed, the configuration in force is unchanged", {},
                    result.error));
            }
            console_answer out;
            if (!result.changed.empty()) {
                out.notices.push_back({"changed: " + listed(result.changed), {}});
            }
            if (!result.needs_restart.empty()) {
                out.notices.push_back(
                    {"these wait for a restart: " + listed(result.needs_restart), {}});
            }
            self.done(std::move(out));
        }));
}

void console_session::shut_down(const std::string& mode) {
    auto how = shutdown_mode::immediate;
    if (mode == "wait_for_servers") {
        how = shutdown_mode::wait_for_servers;
    } else if (mode == "wait_for_clients") {
        how = shutdown_mode::wait_for_clients;
    } else if (!mode.empty()) {
        return done(console_answer::error("42601", "SHUTDOWN has no such mode",
                                          "It is WAIT_FOR_SERVERS, WAIT_FOR_CLIENTS or nothing."));
    }
    if (service_.whole == nullptr) return done(console_answer::error("0A000", "nothing to end"));
    service_.whole->shut_down(how);
    // As PgBouncer: the end of the connection is the answer.
    if (how != shutdown_mode::immediate) done();
}

void console_session::kill_client(const std::string& id) {
    std::uint64_t serial = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), serial);
    if (error != std::errc{} || end != id.data() + id.size()) {
        return done(console_answer::error("22023", "invalid client id supplied",
                                          "KILL_CLIENT wants the id that SHOW CLIENTS shows."));
    }
    service_.orders.kill_client(
        serial, back_here<bool>([](console_session& self, const bool& found) {
            if (found) return self.done();
            self.done(console_answer::error("22023", "client not found",
                                            "KILL_CLIENT wants the id that SHOW CLIENTS shows."));
        }));
}

void console_session::kill(const std::string& database) {
    const auto call = back_here<bool>([](console_session& self, const bool&) { self.done(); });
    const auto why = service_.orders.kill(database, [call] { call(true); });
    if (why.refused()) done(refused(why));
}

}  // namespace sluice::daemon
