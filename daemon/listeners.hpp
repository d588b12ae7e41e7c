// The listening sockets of all ports: bound here, given by systemd, or by the process that this one
// follows; and handed on to the one that follows it. It keeps a descriptor of each, so that a port
// can stop accepting and go on, and no queue of connections is lost before somebody else has it.
// Main thread, or one thread at a time. A unix socket's file is removed at the end, unless somebody
// else has the socket by then. Throws std::runtime_error, which names the address.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.hpp"
#include "daemon/net/listener.hpp"

namespace sluice::daemon {

class listeners {
  public:
    // Who has it besides us: nobody, systemd's store of descriptors (we asked it to), or one of
    // systemd's socket units (whose addresses go before those of the configuration).
    enum class origin : char { bound = 'b', stored = 's', unit = 'u' };

    struct socket {
        std::string purpose;  // postgres, kv, kv-control, monitoring, gateway, control
        origin from = origin::bound;
        int descriptor = -1;
        std::string path;  // of a unix socket
        bool taken = false;
        bool lent = false;  // the giver still has it, until settle()
    };

    listeners() = default;
    ~listeners();
    listeners(const listeners&) = delete;
    listeners& operator=(const listeners&) = delete;

    // Before the first open(): a socket that somebody gave us, and whose it becomes.
    // False: it is of no use, and closed.
    bool inherit(std::string purpose, origin from, int descriptor);
    void inherit_from_systemd();

    // The sockets for a port: copies, the caller's to close.
    [[nodiscard]] std::vector<net::bound_socket> open(
        std::string_view purpose, const std::vector<config::listen_address>& addresses,
        std::uint32_t backlog);
    [[nodiscard]] net::bound_socket open_path(std::string_view purpose, const std::string& path,
                                              std::uint32_t backlog, unsigned permissions);

    // When nothing can fail any more. What was inherited and nobody wants is closed, its file
    // removed; systemd is asked to keep the others.
    void settle();
    [[nodiscard]] const std::vector<socket>& all() const noexcept { return sockets_; }
    // A successor has them: closes ours and leaves the files alone.
    void let_go();

    // "127.0.0.1:6432" or "unix:/run/sluice/.s.PGSQL.6432", of any listening socket.
    [[nodiscard]] static std::string address_of(int descriptor);

  private:
    [[nodiscard]] int find(std::string_view purpose, const sockaddr* address, socklen_t length,
                           std::uint32_t backlog);
    void add(std::string_view purpose, const net::bound_socket& bound);

    std::vector<socket> sockets_;
};

}  // namespace sluice::daemon
