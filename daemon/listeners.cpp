#include "daemon/listeners.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>

#include "systemd/sockets.hpp"

namespace sluice::daemon {

namespace {

// What systemd's store calls those that we gave it, so that they are not taken for a unit's.
constexpr std::string_view stored_prefix = "kept-";

struct bound_name {
    sockaddr_storage address{};
    socklen_t length = sizeof address;

    explicit bound_name(int descriptor) {
        if (getsockname(descriptor, raw(), &length) != 0) length = 0;
    }
    [[nodiscard]] sockaddr* raw() { return reinterpret_cast<sockaddr*>(&address); }
    [[nodiscard]] std::string path() const {
        if (address.ss_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path)) return {};
        const auto& name = reinterpret_cast<const sockaddr_un&>(address);
        return {name.sun_path, strnlen(name.sun_path, length - offsetof(sockaddr_un, sun_path))};
    }
};

bool is_same(const bound_name& one, const sockaddr* other, socklen_t length) {
    if (one.length == 0 || one.address.ss_family != other->sa_family) return false;
    if (other->sa_family == AF_UNIX) {
        const auto& name = *reinterpret_cast<const sockaddr_un*>(other);
        return !one.path().empty() && one.path() == name.sun_path;
    }
    if (other->sa_family == AF_INET6) {  // flow and scope aside
        const auto& a = reinterpret_cast<const sockaddr_in6&>(one.address);
        const auto& b = *reinterpret_cast<const sockaddr_in6*>(other);
        return a.sin6_port == b.sin6_port &&
               std::memcmp(&a.sin6_addr, &b.sin6_addr, sizeof a.sin6_addr) == 0;
    }
    if (other->sa_family != AF_INET || length < sizeof(sockaddr_in)) return false;
    const auto& a = reinterpret_cast<const sockaddr_in&>(one.address);
    const auto& b = *reinterpret_cast<const sockaddr_in*>(other);
    return a.sin_port == b.sin_port && a.sin_addr.s_addr == b.sin_addr.s_addr;
}

bool is_listening_stream(int descriptor) {
    int value = 0;
    socklen_t length = sizeof value;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) != 0) return false;
    if (value == 0) return false;
    return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &value, &length) == 0 &&
           value == SOCK_STREAM;
}

// Somebody may have removed the file, and then nobody reaches the socket.
bool is_reachable(const std::string& path) {
    struct stat status {};
    return path.empty() || (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode));
}

int copy_of(int descriptor) {
    const int out = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (out >= 0) return out;
    throw std::runtime_error(std::string("a listening socket cannot be copied: ") +
                             std::strerror(errno));
}

std::string stored_name(int descriptor) {
    auto out = std::string(stored_prefix) + listeners::address_of(descriptor);
    std::replace(out.begin(), out.end(), ':', '_');
    return out.substr(0, 255);
}

}  // namespace

listeners::~listeners() {
    for (const auto& one : sockets_) {
        // What systemd keeps is of use to the next process only as long as its file is there.
        if (one.from == origin::bound && !one.lent && !one.path.empty()) unlink(one.path.c_str());
        close(one.descriptor);
    }
}

bool listeners::inherit(std::string purpose, origin from, int descriptor) {
    auto path = bound_name(descriptor).path();
    if (!is_listening_stream(descriptor) || !is_reachable(path)) {
        close(descriptor);
        return false;
    }
    sockets_.push_back({std::move(purpose), from, descriptor, std::move(path), false, true});
    return true;
}

void listeners::inherit_from_systemd() {
    for (auto& one : systemd::take_passed_sockets()) {
        const bool stored = one.name.starts_with(stored_prefix);
        const bool is_of_use =
            inherit(stored ? "" : one.name, stored ? origin::stored : origin::unit, one.descriptor);
        // Its place in the store is for the one that is bound instead.
        if (stored && !is_of_use) systemd::remove_stored_socket(one.name);
    }
}

int listeners::find(std::string_view purpose, const sockaddr* address, socklen_t length,
                    std::uint32_t backlog) {
    for (auto& one : sockets_) {
        if (one.taken || !is_same(bound_name(one.descriptor), address, length)) continue;
        one.taken = true;
        one.purpose = purpose;
        ::listen(one.descriptor, static_cast<int>(backlog));
        return one.descriptor;
    }
    return -1;
}

void listeners::add(std::string_view purpose, const net::bound_socket& bound) {
    const bool known = std::any_of(sockets_.begin(), sockets_.end(), [&](const auto& one) {
        return one.descriptor == bound.descriptor;
    });
    if (known) return;
    sockets_.push_back(
        {std::string(purpose), origin::bound, bound.descriptor, bound.path, true, false});
}

std::vector<net::bound_socket> listeners::open(std::string_view purpose,
                                               const std::vector<config::listen_address>& addresses,
                                               std::uint32_t backlog) {
    std::vector<net::bound_socket> out;
    if (addresses.empty()) return out;
    for (auto& one : sockets_) {
        if (one.from != origin::unit || one.purpose != purpose || one.taken) continue;
        one.taken = true;
        const bool is_unix = bound_name(one.descriptor).address.ss_family == AF_UNIX;
        out.push_back({copy_of(one.descriptor), is_unix, {}});
    }
    if (!out.empty()) return out;
    const auto finder = [&](const sockaddr* address, socklen_t length) {
        return find(purpose, address, length, backlog);
    };
    for (const auto& address : addresses) {
        for (const auto& bound : net::bind_all(address, backlog, finder)) {
            add(purpose, bound);
            out.push_back({copy_of(bound.descriptor), bound.is_unix, {}});
        }
    }
    return out;
}

net::bound_socket listeners::open_path(std::string_view purpose, const std::string& path,
                                       std::uint32_t backlog, unsigned permissions) {
    const auto bound =
        net::bind_path(path, backlog, permissions, [&](const sockaddr* address, socklen_t length) {
            return find(purpose, address, length, backlog);
        });
    add(purpose, bound);
    return {copy_of(bound.descriptor), true, {}};
}

void listeners::settle() {
    const auto unwanted = [](const socket& one) {
        if (one.taken) return false;
        if (one.from == origin::stored) systemd::remove_stored_socket(stored_name(one.descriptor));
        if (one.from != origin::unit && !one.path.empty()) unlink(one.path.c_str());
        close(one.descriptor);
        return true;
    };
    sockets_.erase(std::remove_if(sockets_.begin(), sockets_.end(), unwanted), sockets_.end());
    for (auto& one : sockets_) {
        one.lent = false;
        if (one.from != origin::bound) continue;
        if (systemd::store_socket(stored_name(one.descriptor), one.descriptor))
            one.from = origin::stored;
    }
}

void listeners::let_go() {
    for (const auto& one : sockets_)
        close(one.descriptor);
    sockets_.clear();
}

std::string listeners::address_of(int descriptor) {
    bound_name name(descriptor);
    char host[INET6_ADDRSTRLEN] = "";
    if (name.length == 0) return "?";
    if (name.address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(name.address);
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
        return std::string(host) + ":" + std::to_string(ntohs(v4.sin_port));
    }
    if (name.address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(name.address);
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
        return "[" + std::string(host) + "]:" + std::to_string(ntohs(v6.sin6_port));
    }
    return "unix:" + name.path();
}

}  // namespace sluice::daemon
