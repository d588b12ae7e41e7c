// What a client session and a server connection look like to an admin: client_session::describe()
// and server_connection::describe(), each on its own worker.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"

namespace sluice::daemon {

namespace {

struct place {
    std::string address = "unix";
    int port = 0;
};

place place_of(const sockaddr_storage& address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
        return {text, ntohs(v4.sin_port)};
    }
    if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
        return {text, ntohs(v6.sin6_port)};
    }
    return {};
}

void ask_kernel(int descriptor, pool::socket_view& out) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
        auto peer = place_of(address);
        out.address = std::move(peer.address);
        out.port = peer.port;
    }
    const bool is_unix = address.ss_family == AF_UNIX;
    size = sizeof address;
    if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
        auto local = place_of(address);
        out.local_address = std::move(local.address);
        out.local_port = local.port;
    }
    ucred peer{};
    size = sizeof peer;
    if (is_unix && getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
        out.remote_pid = peer.pid;
    }
}

std::string tls_text(SSL* of) {
    if (of == nullptr) return {};
    const char* cipher = SSL_get_cipher_name(of);
    return fmt::format("{}/{}", SSL_get_version(of), cipher == nullptr ? "" : cipher);
}

}  // namespace

void client_session::describe(std::vector<pool::socket_view>& out) const {
    if (phase_ == phase::closing || phase_ == phase::closed) return;
    pool::socket_view one;
    one.id = waiter.serial;
    one.is_console = phase_ == phase::console;
    one.connected = born_;
    one.replication = replication_;
    ask_kernel(stream.descriptor(), one);
    if (stream.tls() != nullptr && stream.tls()->established()) {
        one.tls = tls_text(stream.tls()->ssl());
    }
    one.unread = stream.rx.size();
    one.unsent = stream.backlog();
    if (names_ != nullptr) {
        const auto cut = names_->find('\0');
        one.database = names_->substr(0, cut);
        one.user = names_->substr(cut + 1);
    }
    if (link_.reported != nullptr) {
        const auto* name = link_.reported->find("application_name");
        if (name != nullptr) one.application_name = *name;
    }
    one.prepared_statements = link_.statement_count();
    one.pins = pins_;
    one.pinned = pinned_at_;
    const auto now = std::chrono::steady_clock::now();
    if (phase_ == phase::login) {
        one.state = pool::socket_state::login;
    } else if (waiting_) {
        one.state = pool::socket_state::waiting;
        one.waited = now - since_;
        one.requested = since_;
    } else if (server_ != nullptr) {
        one.link = server_->serial();
        one.server_pid = server_->process_id();
        one.requested = batch_at_;
    } else if (phase_ == phase::ready || phase_ == phase::welcome) {
        one.state = pool::socket_state::idle;
        one.requested = batch_at_;
    }
    if (dedicated_ != nullptr) {
        one.server_pid = dedicated_->upstream().process_id;
    }
    out.push_back(std::move(one));
}

void server_connection::describe(std::vector<pool::socket_view>& out) const {
    if (phase_ == phase::closed || phase_ == phase::moving) return;
    pool::socket_view one;
    one.is_server = true;
    one.id = serial_;
    one.connected = born_;
    one.user = pool_.user;
    one.database = pool_.database;
    ask_kernel(stream.descriptor(), one);
    one.remote_pid = upstream_.process_id;
    one.tls = tls_text(static_cast<SSL*>(upstream_.ssl));
    one.unread = stream.rx.size();
    one.unsent = stream.backlog();
    one.prepared_statements = link.prepared.size();
    one.close_needed = service_.book.is_outdated(slot);
    const auto* name = link.reported()->find("application_name");
    if (name != nullptr) one.application_name = *name;
    if (phase_ == phase::leased && client_ != nullptr) {
        one.link = client_->serial();
        one.requested = slot.since;
        one.pins = link.pins;
        // It would be free, but for the cancel that might hit whoever has it next.
        if (cancels_ > 0 && link.idle() && link.pins == 0 && !link.serves_session) {
            one.state = pool::socket_state::being_canceled;
        }
    } else if (phase_ == phase::cleaning) {
        one.state = cancels_ > 0 ? pool::socket_state::being_canceled : pool::socket_state::tested;
    } else {
        const auto since = std::max(idle_since_, born_);
        const auto now = std::chrono::steady_clock::now();
        one.state = now - since > pool::server_check_delay ? pool::socket_state::used
                                                           : pool::socket_state::idle;
        one.requested = idle_since_;
    }
    out.push_back(std::move(one));
}

}  // namespace sluice::daemon
