// client_session at the end of a transaction: what the session has become, and whether the client
// keeps its server connection for it (docs/sessions.md has the states).
#include <fmt/format.h>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

}  // namespace

// The link is idle, and the client has all its answers.
void client_session::end_transaction(bool answered) {
    protocol::outgoing to_server;
    const auto next = server_->link.end_transaction(link_, to_server);
    if (next == pool::next_step::wait) {
        asking_ = true;
        server_->stream.send(to_server);
        return set_deadline();
    }
    if (hand_channels_over()) return;
    if (server_->link.pins == 0) {
        set_pins(0);
        release_server();
        if (!settle_place()) return;
        if (!pending_.empty() || missed_) send_pending();
        if (!stream.rx.empty()) return pump();
        regulate_reading();
        stream.trim();
        return set_deadline();
    }
    if (!may_pin(server_->link.pins)) return;
    const auto now = steady_clock::now();
    if (server_->link.queries != counted_queries_) {
        counted_queries_ = server_->link.queries;
        count_transaction(now);
        leased_at_ = now;
    }
    set_pins(server_->link.pins);
    if (!pending_.empty() || missed_) send_pending();
    if (!stream.rx.empty() && (answered || link_.want() == pool::client_want::patience)) {
        return pump();
    }
    regulate_reading();
    set_deadline();
}

// The server has said what there is.
void client_session::answered() {
    if (handing_over_ && !server_->link.listens) link_.heard = link_.channels;
    asking_ = handing_over_ = false;
    asked_at_ = steady_clock::now();
    end_transaction(true);
}

// False: there would be too many, and the session has ended.
bool client_session::may_pin(pool::pin_set pins) {
    if (pins_ != 0) return true;
    const auto most = pool_->max_pinned.load(std::memory_order_relaxed);
    if (most == 0 || pool_->pinned.load(std::memory_order_relaxed) < most) return true;
    const auto why = pool::describe(pins);
    fail(
        {.severity = "FATAL",
         .sqlstate = "53300",
         .message = "too many clients keep their server connection (max_pinned)",
         .detail = fmt::format("This session's state ({}) cannot travel to another connection, and "
                               "{} clients of database \"{}\", user \"{}\" keep one already.",
                               why, most, pool_->database, pool_->user),
         .hint = "Raise max_pinned and pool_size, or keep such state within one transaction."},
        "max_pinned");
    return false;
}

void client_session::set_pins(pool::pin_set pins) {
    if (pins == pins_) return;
    if (pins_ == 0) {
        pool_->pinned.fetch_add(1, std::memory_order_relaxed);
        pinned_at_ = steady_clock::now();
    }
    if (pins == 0) pool_->pinned.fetch_sub(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < pool::pin_reasons; ++i) {
        const bool was = (pins_ >> i & 1U) != 0;
        const bool is = (pins >> i & 1U) != 0;
        if (was && !is) pool_->pinned_by[i].fetch_sub(1, std::memory_order_relaxed);
        if (was || !is) continue;
        pool_->pinned_by[i].fetch_add(1, std::memory_order_relaxed);
        pool_->counters[home_.number()]->pins[i].add();
    }
    pins_ = pins;
    if (pins == 0) {
        return service_.log.info(
            "client unpinned",
            {{"database", pool_->database}, {"user", pool_->user}, {"client", process_id_}});
    }
    service_.log.info("client pinned", {{"database", pool_->database},
                                        {"user", pool_->user},
                                        {"client", process_id_},
                                        {"why", pool::describe(pins)}});
}

void client_session::lose_server() {
    server_ = nullptr;
    settings_wait_ = bringing_ = asking_ = handing_over_ = false;
    set_pins(0);
}

// A pinned client idles. True: this was what the deadline was for.
bool client_session::pin_deadline(net::clock_time now) {
    const bool idle = pins_ != 0 && server_ != nullptr && server_->link.idle();
    if (!idle) return false;
    if (timeouts_->pin.count() != 0 && now >= quiet_at_ + timeouts_->pin) {
        fail({.severity = "FATAL",
              .sqlstate = "25P03",
              .message = "terminating connection due to pin_timeout",
              .detail = "The session kept a server connection and ran nothing on it: " +
                        pool::describe(pins_) + '.'},
             "pin_timeout");
        return true;
    }
    if (now < asked_at_ + pin_check_interval) return false;
    asked_at_ = now;
    protocol::outgoing to_server;
    if (server_->link.ask_again(link_, to_server)) {
        asking_ = true;
        server_->stream.send(to_server);
    }
    set_deadline();
    return true;
}

}  // namespace sluice::daemon
