// client_session where it is ended so that the process can end: docs/upgrade.md.

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"

namespace sluice::daemon {

namespace {

// A login takes its time; one that takes longer than this is not going on.
constexpr auto login_patience = std::chrono::seconds(5);

}  // namespace

// More than it was answered for: in memory, or in the socket.
bool client_session::has_asked() const noexcept {
    char first = 0;
    return !stream.rx.empty() || stream.peek(first) == net::stream::unread::bytes;
}

bool client_session::rests(net::clock_time now) const noexcept {
    if (phase_ != phase::ready || is_held_up() || link_.in_message()) return false;
    if (server_ != nullptr && (!server_->link.idle() || server_->cancelling())) return false;
    const auto since = server_ != nullptr ? quiet_at_ : since_;
    return now >= since + service_.rest_time() && !has_asked();
}

void client_session::end_drained() {
    fail({.severity = "FATAL", .sqlstate = "57P01", .message = "server shutting down"}, "shutdown");
}

void client_session::refuse_late() {
    fail({.severity = "FATAL",
          .sqlstate = "57P03",
          .message = "the database system is shutting down"},
         "shutdown");
}

bool client_session::drain(drain_round round, net::clock_time now) {
    if (phase_ == phase::console) return false;  // it may watch, to the end
    if (phase_ == phase::login) {
        const net::clock_time::duration patience =
            service_.refusing() ? service_.rest_time() : login_patience;
        if (now >= since_ + patience) refuse_late();
        return false;
    }
    if (phase_ == phase::dedicated) {  // replication: never between two transactions
        if (round != drain_round::pinned) return false;
        close("shutdown");
        return true;
    }
    if (phase_ != phase::ready) return false;
    if (draining_) {  // it has had its turn
        if (rests(now)) end_drained();
        return false;
    }
    if (pins_ != 0 && round != drain_round::pinned) return false;
    const bool is_idle = rests(now);
    if (round == drain_round::idle && !is_idle) return false;
    draining_ = true;
    if (is_idle) end_drained();
    return true;
}

}  // namespace sluice::daemon
