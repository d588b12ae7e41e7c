#include "daemon/net/listener.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace sluice::net {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error("cannot listen on " + what + ": " + std::strerror(errno));
}

int listening_socket(int family, const sockaddr* address, socklen_t length, std::uint32_t backlog,
                     const std::string& name) {
    const int out = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out < 0) fail(name);
    const int on = 1;
    if (family != AF_UNIX) setsockopt(out, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) setsockopt(out, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(out, address, length) != 0 || listen(out, static_cast<int>(backlog)) != 0) {
        const int why = errno;
        close(out);
        errno = why;
        fail(name);
    }
    return out;
}

// A socket file that nobody listens on any more is in the way; one that somebody does is an error.
void remove_stale(const sockaddr_un& address, const std::string& path) {
    const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return;
    const bool answered =
        connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const bool refused = !answered && errno == ECONNREFUSED;
    close(probe);
    if (refused) unlink(path.c_str());
}

std::string text_of(const sockaddr_storage& address) {
    char host[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
        return std::string(host) + ":" + std::to_string(ntohs(v4.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
        return "[" + std::string(host) + "]:" + std::to_string(ntohs(v6.sin6_port));
    }
    return "unix";
}

bool is_loopback(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
    }
    if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
    }
    return true;
}

}  // namespace

std::string unix_path_of(const config::listen_address& address) {
    return address.path + "/.s.PGSQL." + std::to_string(address.port);
}

bound_socket bind_path(const std::string& path, std::uint32_t backlog, unsigned permissions,
                       const socket_finder& find) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (path.size() >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        fail("unix:" + path);
    }
    std::memcpy(name.sun_path, path.c_str(), path.size());
    if (find) {
        const int found = find(reinterpret_cast<const sockaddr*>(&name), sizeof name);
        if (found >= 0) return {found, true, path};
    }
    remove_stale(name, path);
    const int out = listening_socket(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name,
                                     backlog, "unix:" + path);
    chmod(path.c_str(), permissions);
    return {out, true, path};
}

std::vector<bound_socket> bind_all(const config::listen_address& address, std::uint32_t backlog) {
    return bind_all(address, backlog, {});
}

std::vector<bound_socket> bind_all(const config::listen_address& address, std::uint32_t backlog,
                                   const socket_finder& find) {
    if (address.type == config::listen_address::kind::unix_socket) {
        // Who may connect is the directory's say, as with PostgreSQL.
        return {bind_path(unix_path_of(address), backlog, 0777, find)};
    }
    const auto name = address.host + ":" + std::to_string(address.port);
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const bool any = address.host.empty() || address.host == "*";
    const int failed = getaddrinfo(any ? nullptr : address.host.c_str(),
                                   std::to_string(address.port).c_str(), &hints, &found);
    if (failed != 0) {
        throw std::runtime_error("cannot listen on " + name + ": " + gai_strerror(failed));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
    std::vector<bound_socket> out;
    for (const auto* at = found; at != nullptr; at = at->ai_next) {
        int socket = find ? find(at->ai_addr, at->ai_addrlen) : -1;
        if (socket < 0) {
            socket = listening_socket(at->ai_family, at->ai_addr, at->ai_addrlen, backlog, name);
        }
        out.push_back({socket, false, {}});
    }
    return out;
}

listener::listener(event_loop& loop, bound_socket bound, handler on_accept)
    : loop_(loop), bound_(std::move(bound)), on_accept_(std::move(on_accept)) {
    loop_.on_tick([this](clock_time) {
        if (stalled_) take_all();
    });
}

listener::~listener() {
    stop();
}

void listener::start() {
    loop_.add(bound_.descriptor, *this);
}

void listener::stop() {
    if (bound_.descriptor < 0) return;
    loop_.remove(bound_.descriptor, *this);
    close(bound_.descriptor);
    bound_.descriptor = -1;
    stalled_ = false;
    if (!bound_.path.empty()) unlink(bound_.path.c_str());
}

void listener::pause() {
    if (bound_.descriptor >= 0) loop_.remove(bound_.descriptor, *this);
    stalled_ = false;
}

void listener::on_ready(readiness) {
    take_all();
}

void listener::take_all() {
    stalled_ = false;
    while (bound_.descriptor >= 0) {
        sockaddr_storage peer{};
        socklen_t length = sizeof peer;
        const int got = accept4(bound_.descriptor, reinterpret_cast<sockaddr*>(&peer), &length,
                                SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (got >= 0) {
            on_accept_({got, bound_.is_unix, is_loopback(peer), text_of(peer)});
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        stalled_ = errno != EAGAIN && errno != EWOULDBLOCK;
        return;
    }
}

}  // namespace sluice::net
