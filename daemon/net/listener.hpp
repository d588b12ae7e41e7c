// Accepts connections on one address and hands their descriptors on. Lives on one worker.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/schema.hpp"
#include "daemon/net/event_loop.hpp"

namespace sluice::net {

struct accepted_socket {
    int descriptor = -1;  // the receiver's to close
    bool is_unix = false;
    bool is_loopback = false;  // unix sockets too
    std::string peer;          // "127.0.0.1:53412" or "unix"
};

// Bound and listening sockets for an address; a host name may stand for several.
// Throws std::runtime_error that names the address.
struct bound_socket {
    int descriptor = -1;
    bool is_unix = false;
    std::string path;  // of a unix socket, to be removed at the end; empty: somebody else's to do
};
[[nodiscard]] std::vector<bound_socket> bind_all(const config::listen_address& address,
                                                 std::uint32_t backlog);
// The same, where `find` may have a socket for an address already; -1: it has none.
using socket_finder = std::function<int(const sockaddr* address, socklen_t length)>;
[[nodiscard]] std::vector<bound_socket> bind_all(const config::listen_address& address,
                                                 std::uint32_t backlog, const socket_finder& find);
[[nodiscard]] std::string unix_path_of(const config::listen_address& address);

// A unix socket at just this path, with these permissions.
[[nodiscard]] bound_socket bind_path(const std::string& path, std::uint32_t backlog,
                                     unsigned permissions, const socket_finder& find = {});

class listener final : private watcher {
  public:
    using handler = std::function<void(accepted_socket)>;

    // Before the loop runs; start() and stop() on its thread, or before it runs.
    listener(event_loop& loop, bound_socket bound, handler on_accept);
    ~listener();
    void start();
    void stop();
    // What comes meanwhile waits in the kernel's queue; start() goes on.
    void pause();

  private:
    void on_ready(readiness what) override;
    void take_all();

    event_loop& loop_;
    bound_socket bound_;
    handler on_accept_;
    bool stalled_ = false;  // out of descriptors or memory: tried again with the next tick
};

}  // namespace sluice::net
