// client_session where time and refusals are concerned: deadlines, waiting for a server connection,
// cancel requests.
#include <fmt/format.h>

#include <algorithm>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"
#include "pool/sqlstate.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

// For a client that has stopped sending while it was owed answers.
constexpr auto last_moment = std::chrono::milliseconds(500);

double seconds(steady_clock::duration value) {
    return std::chrono::duration<double>(value).count();
}

void earlier(net::clock_time& due, net::clock_time from, config::milliseconds timeout) {
    if (timeout.count() != 0) due = std::min(due, from + timeout);
}

}  // namespace

void client_session::set_deadline() {
    if (phase_ == phase::closing || phase_ == phase::closed) return;
    if (timeouts_ != nullptr && !waiting_ && pins_ == 0 && phase_ == phase::ready &&
        !timeouts_->any_in_use() && goodbye_at_ == net::clock_time{} &&
        deadline_.due() == net::deadline::never) {
        return;
    }
    home_.deadlines().set(deadline_, next_deadline());
}

net::clock_time client_session::next_deadline() const {
    auto due = net::deadline::never;
    if (phase_ == phase::login) {
        earlier(due, since_, login_->from().postgres().client_login_timeout);
        return due;
    }
    if (phase_ == phase::dedicated) return due;
    if (phase_ == phase::console) return console_->due();
    if (goodbye_at_ != net::clock_time{}) return goodbye_at_ + last_moment;
    if (waiting_) {
        earlier(due, since_, timeouts_->query_wait);
        if (!notified_ && phase_ == phase::ready)
            earlier(due, since_, timeouts_->query_wait_notify);
        return due;
    }
    if (server_ == nullptr) {
        if (phase_ == phase::ready) earlier(due, since_, timeouts_->client_idle);
        return due;
    }
    if (is_busy_with_state()) return due;
    if (!server_->link.owed.empty()) {
        if (!timed_out_) earlier(due, batch_at_, timeouts_->query);
    } else if (server_->link.status() != 'I') {
        earlier(due, quiet_at_, timeouts_->idle_transaction);
    } else {
        earlier(due, quiet_at_, timeouts_->client_idle);
        if (pins_ != 0) earlier(due, quiet_at_, timeouts_->pin);
        if ((pins_ & pool::passing_pins) != 0) earlier(due, asked_at_, pin_check_interval);
    }
    if (server_->link.status() != 'I' || !server_->link.owed.empty()) {
        earlier(due, leased_at_, timeouts_->transaction);
    }
    return due;
}

void client_session::deadline_passed(net::deadline& entry) {
    auto& self = static_cast<timed&>(entry).owner;
    const auto hold = self.shared_from_this();
    self.on_deadline(steady_clock::now());
}

void client_session::on_deadline(net::clock_time now) {
    if (phase_ == phase::closing) {
        phase_ = phase::closed;
        return stream.close();
    }
    if (next_deadline() > now) return set_deadline();
    if (phase_ == phase::console) return console_->on_deadline();
    if (phase_ == phase::login) {
        return fail({.severity = "FATAL", .sqlstate = "57014", .message = "client_login_timeout"},
                    "client_login_timeout");
    }
    if (goodbye_at_ != net::clock_time{}) return close("the client is gone");
    if (waiting_) {
        if (timeouts_->query_wait.count() != 0 && now >= since_ + timeouts_->query_wait) {
            return wait_for_too_long();
        }
        notify_waiting(now);
        return set_deadline();
    }
    if (pin_deadline(now)) return;
    if (server_ == nullptr || (server_->link.owed.empty() && server_->link.status() == 'I')) {
        return fail({.severity = "FATAL", .sqlstate = "57P05", .message = "client_idle_timeout"},
                    "client_idle_timeout");
    }
    if (timeouts_->transaction.count() != 0 && now >= leased_at_ + timeouts_->transaction) {
        return fail({.severity = "FATAL", .sqlstate = "25P04", .message = "transaction timeout"},
                    "transaction_timeout");
    }
    if (server_->link.owed.empty()) {
        return fail(
            {.severity = "FATAL", .sqlstate = "25P03", .message = "idle transaction timeout"},
            "idle_transaction_timeout");
    }
    timed_out_ = true;
    link_.hold(true);
    server_->cancel(pool::cancel_reason::query_timeout);
    set_deadline();
}

void client_session::wait_for_too_long() {
    if (!service_.book.leave(*pool_->book, waiter)) return;  // a connection is on its way
    const auto release = std::move(waiter.keep);
    const auto figures = service_.book.figures(*pool_->book);
    const auto failure = pool_->last_failure();
    std::string detail;
    if (figures.idle + figures.leased == 0 && !failure.sqlstate.empty()) {
        detail = fmt::format("The server could not be reached: {} {}", failure.sqlstate,
                             failure.message);
    } else {
        detail = fmt::format(
            "All {} server connections of database \"{}\", user \"{}\" are in use; "
            "{} other clients wait.",
            figures.leased, pool_->database, pool_->user, figures.waiting);
    }
    refuse_waiting({.sqlstate = "53300",
                    .message = "query_wait_timeout",
                    .detail = detail,
                    .hint = "Raise pool_size, shorten transactions, or raise query_wait_timeout."});
}

void client_session::notify_waiting(net::clock_time now) {
    notified_ = true;
    const auto figures = service_.book.figures(*pool_->book);
    std::string detail = fmt::format(
        "{} clients wait for {} server connections of database \"{}\", "
        "user \"{}\".",
        figures.waiting, figures.leased + figures.idle, pool_->database, pool_->user);
    if (const auto holder = service_.book.longest_holder(*pool_->book, now)) {
        const auto who = service_.registry.describe(holder->serial);
        detail += fmt::format(" Longest held: {:.1f} s, by {}.", seconds(holder->held),
                              who.empty() ? "a client that has left" : who);
    } else if (const auto failure = pool_->last_failure(); !failure.sqlstate.empty()) {
        detail += fmt::format(" The last login failed: {} {}", failure.sqlstate, failure.message);
    }
    send([&](std::string& out) {
        protocol::append_notice(out, {.severity = "NOTICE",
                                      .sqlstate = "00000",
                                      .message = "No server connection available in postgres "
                                                 "backend, client being queued",
                                      .detail = detail});
    });
}

// The client is out of the queue and gets an error in place of a server connection.
void client_session::refuse_waiting(const protocol::error_report& error) {
    waiting_ = false;
    service_.log.warning("client got no server connection", {{"database", pool_->database},
                                                             {"user", pool_->user},
                                                             {"client", process_id_},
                                                             {"from", peer_},
                                                             {"sqlstate", error.sqlstate},
                                                             {"why", error.message}});
    if (phase_ == phase::welcome) {
        auto last = error;
        last.severity = "FATAL";
        return fail(last, "no server connection");
    }
    const auto index = static_cast<std::size_t>(pool::class_of(error.sqlstate));
    pool_->counters[home_.number()]->errors_by_class[index].add();
    since_ = steady_clock::now();
    protocol::outgoing to_client;
    link_.refuse_batch(error, to_client);
    stream.send(to_client);
    pump();
}

void client_session::refused(const pool::login_failure& why) {
    if (phase_ == phase::login || (phase_ == phase::welcome && !waiting_)) {
        return fail({.severity = "FATAL",
                     .sqlstate = why.sqlstate,
                     .message = why.message,
                     .detail = why.detail,
                     .hint = why.hint},
                    "server login failed");
    }
    if (!waiting_) return;
    refuse_waiting(
        {.sqlstate = why.sqlstate, .message = why.message, .detail = why.detail, .hint = why.hint});
}

void client_session::cancel_requested(const std::function<void()>& done) {
    if (phase_ == phase::dedicated) {
        if (const auto& key = dedicated_->upstream().cancel; key != nullptr) {
            return service_.send_cancel(*pool_, key, std::chrono::seconds(10),
                                        pg_service::cancel_origin::client, done);
        }
    }
    if (phase_ == phase::console) console_->cancel();
    if (phase_ != phase::ready) return done();
    if (waiting_) {
        if (!service_.book.leave(*pool_->book, waiter)) {
            cancel_wanted_ = done;  // a connection is on its way: refused when it comes
            return;
        }
        const auto release = std::move(waiter.keep);
    } else if (server_ != nullptr) {
        // Nothing of the client's runs, or it is cancelled already.
        if (server_->link.owed.empty() || settings_wait_ || is_busy_with_state() ||
            server_->cancelling()) {
            return done();
        }
        link_.hold(true);
        return server_->cancel(pool::cancel_reason::client_asked, done);
    } else if (link_.want() != pool::client_want::server) {
        return done();  // idle
    }
    refuse_waiting({.sqlstate = "57014",
                    .message = "canceling statement due to user request",
                    .detail = "The statement was still waiting for a server connection."});
    done();
}

void client_session::cancel_done() {
    link_.hold(server_->cancelling());
    if (server_->cancelling()) return;
    if (bringing_) {
        bringing_ = server_->link.bringing();
        return bringing_ ? void() : pump();
    }
    after_server_bytes();
    if (phase_ == phase::ready && server_ != nullptr && !stream.rx.empty()) pump();
}

}  // namespace sluice::daemon
