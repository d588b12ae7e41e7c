// Accepts connections on one address and hands their descriptors on. Lives on one worker.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/schema.hpp"

namespace sluice::net {

namespace asio = boost::asio;

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
    std::string path;  // of a unix socket, to be removed at the end
};
[[nodiscard]] std::vector<bound_socket> bind_all(const config::listen_address& address,
                                                 std::uint32_t backlog);

class listener {
  public:
    using handler = std::function<void(accepted_socket)>;

    listener(asio::io_context& io, bound_socket bound, handler on_accept);
    ~listener();
    void start() { accept_next(); }
    void stop();
    [[nodiscard]] std::uint16_t port() const;

  private:
    void accept_next();
    void take_all();

    asio::io_context& io_;
    bound_socket bound_;
    handler on_accept_;
    asio::posix::stream_descriptor descriptor_;
    asio::steady_timer pause_;
};

}  // namespace sluice::net
