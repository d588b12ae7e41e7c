// client_session as a listener: its channels go over to the connection that listens for all clients
// of the pool, and notifications come from there (docs/sessions.md, "Listening").
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {

namespace {

// Notifications for a client that is in a transaction, or that does not read.
constexpr std::size_t most_pending = 100'000;
constexpr std::size_t most_unread = std::size_t{16} << 20;

std::string random_marker() {
    std::array<unsigned char, 12> bytes{};
    RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
    std::string out;
    for (const auto byte : bytes) {
        out += "0123456789abcdef"[byte >> 4];
        out += "0123456789abcdef"[byte & 15];
    }
    return out;
}

// The channel of a whole NotificationResponse.
std::string_view channel_of(const std::string& frame) {
    protocol::reader in(protocol::as_bytes(frame).subspan(protocol::frame_header::size));
    (void)in.u32();
    return in.text();
}

}  // namespace

// Between transactions. True: the connection is needed until answered().
bool client_session::hand_channels_over() {
    auto& link = server_->link;
    if (!link.listens && link_.channels == link_.heard) return false;
    if (link_.tracking() != config::session_state::full) return false;
    // The shared connection has the login's encoding.
    const auto* encoding = link_.reported->find("client_encoding");
    const auto* login = link.defaults()->find("client_encoding");
    const bool same = encoding == nullptr || (login != nullptr && *login == *encoding);
    if (link.listens && (!same || listening_failed_)) {
        link.pins |= pool::pin(pool::pin_reason::listening);
        link.listens = false;  // it goes on by itself
        return false;
    }
    const bool adds = !std::includes(link_.heard.begin(), link_.heard.end(), link_.channels.begin(),
                                     link_.channels.end());
    auto& shared = service_.listening_of(*pool_);
    const auto marker = adds ? random_marker() : std::string();
    has_listened_ = true;
    const std::weak_ptr<client_session> weak = weak_from_this();
    const std::shared_ptr<listener> self = shared_from_this();
    shared.set_channels(self, home_, waiter.serial, link_.channels, marker,
                        [weak, marker](const pool::login_failure* error) {
                            if (const auto session = weak.lock()) {
                                session->channels_heard(marker, error);
                            }
                        });
    if (!adds) {
        link_.heard = link_.channels;
        if (!link.listens) return false;
    }
    handing_over_ = true;
    if (!adds) {
        protocol::outgoing to_server;
        link.hand_channels_over({}, to_server);
        server_->stream.send(to_server);
    }
    return true;
}

void client_session::channels_heard(const std::string& marker, const pool::login_failure* error) {
    if (marker.empty() || !handing_over_ || server_ == nullptr) return;
    if (error != nullptr) {
        service_.log.warning("clients cannot share a connection to listen",
                             {{"database", pool_->database},
                              {"user", pool_->user},
                              {"sqlstate", error->sqlstate},
                              {"error", error->message}});
        listening_failed_ = true;
        return answered();
    }
    protocol::outgoing to_server;
    if (server_->slot.generation == pool_->terms().generation) {
        server_->link.hand_channels_over(marker, to_server);
    } else {  // another server is listened to by now, and the marker would never get there
        listen_unmarked(*pool_);
        server_->link.hand_channels_over({}, to_server);
    }
    server_->stream.send(to_server);
}

// The answers to a client that may have notified itself wait for what it has to hear of that.
void client_session::send_to_client(protocol::outgoing& out) {
    auto& held_from = server_->link.held_from;
    if (catching_up_) {
        out.save_rest(0, held_answers_);
        return out.clear();
    }
    if (!held_from.has_value()) return stream.send(out);
    std::string all;
    out.save_rest(0, all);
    held_answers_ = all.substr(*held_from);
    held_from.reset();
    out.clear();
    out.copy(
        protocol::as_bytes(std::string_view(all).substr(0, all.size() - held_answers_.size())));
    stream.send(out);
    catching_up_ = true;
    service_.listening_of(*pool_).catch_up(home_, [weak = weak_from_this()] {
        if (const auto session = weak.lock()) session->caught_up();
    });
}

void client_session::caught_up() {
    if (!catching_up_) return;
    catching_up_ = false;
    if (phase_ != phase::ready) return;
    send_pending();
    protocol::outgoing out;
    out.pass(protocol::as_bytes(held_answers_));
    stream.send(out);
    held_answers_ = std::string();
    if (server_ == nullptr) return;
    server_->link.held_from.reset();
    after_server_bytes();
    if (phase_ == phase::ready && !stream.rx.empty()) pump();
}

// As from the server: between transactions, and never in the middle of another message.
void client_session::on_notification(const std::shared_ptr<const std::string>& frame) {
    if (phase_ != phase::ready) return;
    if (stream.backlog() > most_unread || pending_.size() >= most_pending) {
        return fail({.severity = "FATAL",
                     .sqlstate = "53400",
                     .message = "too many notifications wait for this client",
                     .hint = "Read what the server sends, and end transactions."},
                    "it does not take its notifications");
    }
    pending_.push_back(frame);
    const bool between = server_ == nullptr || catching_up_ || server_->link.idle();
    if (between) send_pending();
}

void client_session::send_pending() {
    protocol::outgoing out;
    const auto& channels = link_.channels;
    const auto known = pool_->knowledge();
    for (const auto& frame : pending_) {
        if (!std::binary_search(channels.begin(), channels.end(), channel_of(*frame))) {
            continue;  // it has unlistened meanwhile
        }
        protocol::reader in(protocol::as_bytes(*frame).subspan(protocol::frame_header::size));
        std::string copy = *frame;
        if (const auto sender = known->notifier(in.u32()); sender != 0) {
            protocol::store_u32(copy.data() + protocol::frame_header::size, sender);
        }
        out.copy(protocol::as_bytes(copy));
    }
    pending_.clear();
    pending_.shrink_to_fit();
    if (std::exchange(missed_, false)) {
        out.build([](std::string& to) {
            protocol::append_notice(to, {.severity = "NOTICE",
                                         .sqlstate = "01000",
                                         .message = "notifications may have been missed",
                                         .detail = "The connection that listens for this client "
                                                   "was lost and is back."});
        });
    }
    stream.send(out);
}

void client_session::on_missed() {
    missed_ = true;
    if (phase_ == phase::ready && (server_ == nullptr || server_->link.idle())) send_pending();
}

// The pool is to be another one: its shared connection listens from now on.
void client_session::move_channels(pool_entry& next) {
    if (!has_listened_) return;
    service_.listening_of(*pool_).forget(waiter.serial);
    has_listened_ = !link_.channels.empty();
    if (has_listened_) listen_unmarked(next);
}

// Through the shared connection of that pool, from no exact point on.
void client_session::listen_unmarked(pool_entry& at) {
    const std::shared_ptr<listener> self = shared_from_this();
    service_.listening_of(at).set_channels(
        self, home_, waiter.serial, link_.channels, {},
        [weak = weak_from_this(), pool = &at](const pool::login_failure* error) {
            const auto session = weak.lock();
            if (error == nullptr || session == nullptr) return;
            if (session->pool_ != pool) return;  // it has moved on meanwhile
            session->fail(
                {.severity = "FATAL",
                 .sqlstate = error->sqlstate,
                 .message = error->message,
                 .detail = "The session's channels could not be taken to another server."},
                "its channels are lost");
        });
    missed_ = true;
}

void client_session::forget_channels() {
    if (has_listened_) service_.listening_of(*pool_).forget(waiter.serial);
    has_listened_ = false;
}

}  // namespace sluice::daemon
