// The process's own control socket: one command a connection, a line each way (docs/upgrade.md).
// Everything happens on the thread that runs the io_context, which outlives the server and the
// answers that are under way. Who may connect is the file's permissions' say.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.hpp"
#include "daemon/net/listener.hpp"

namespace sluice::daemon {

// Where the socket is, by the setting and what systemd says; empty: nowhere.
[[nodiscard]] std::string control_path(const config::settings& settings);

class control_socket {
  public:
    // An answer under way. Calls after the client has gone do nothing.
    class answer : public std::enable_shared_from_this<answer> {
      public:
        using socket = boost::asio::local::stream_protocol::socket;
        explicit answer(socket from) : socket_(std::move(from)) {}
        void say(std::string_view name, std::string_view text);
        void done() { finish("ok\n"); }
        void fail(std::string_view why);

      private:
        friend class control_socket;
        void read(const std::function<void(std::string, std::shared_ptr<answer>)>& handler);
        void finish(std::string_view last);
        void write();

        socket socket_;
        std::string input_;
        std::string output_;
        std::size_t sending_ = 0;
        bool is_over_ = false;
    };
    using handler = std::function<void(std::string command, std::shared_ptr<answer>)>;

    control_socket(boost::asio::io_context& io, const net::bound_socket& on, handler on_command);
    // Accepts nobody any more; answers go on.
    void stop();
    // Whoever has not got an answer gets none; the last words of the others still go out.
    void end();

  private:
    void accept();

    boost::asio::local::stream_protocol::acceptor acceptor_;
    boost::asio::steady_timer retry_;
    handler on_command_;
    std::vector<std::weak_ptr<answer>> answers_;
};

}  // namespace sluice::daemon
