#include "daemon/control_socket.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>

namespace sluice::daemon {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t longest_command = 256;

std::string one_line(std::string_view text) {
    std::string out(text);
    std::replace(out.begin(), out.end(), '\n', ' ');
    return out;
}

}  // namespace

std::string control_path(const config::settings& settings) {
    if (settings.control_socket != "auto") return settings.control_socket;
    const char* const runtime = std::getenv("RUNTIME_DIRECTORY");
    if (runtime != nullptr && *runtime != '\0') {
        const std::string_view all(runtime);  // there may be several
        return std::string(all.substr(0, all.find(':'))) + "/control.sock";
    }
    return settings.kv.listen.empty() ? "" : settings.kv.directory + "/daemon.sock";
}

void control_socket::answer::read(const handler& on_command) {
    asio::async_read_until(
        socket_, asio::dynamic_buffer(input_, longest_command), '\n',
        [self = shared_from_this(), on_command](const error_code& ec, std::size_t n) {
            if (ec) return;
            on_command(self->input_.substr(0, n - 1), self);
        });
}

void control_socket::answer::say(std::string_view name, std::string_view text) {
    if (is_over_) return;
    output_ += std::string(name) + " " + one_line(text) + "\n";
    write();
}

void control_socket::answer::fail(std::string_view why) {
    finish("error " + one_line(why) + "\n");
}

void control_socket::answer::finish(std::string_view last) {
    if (is_over_) return;
    output_ += last;
    is_over_ = true;
    write();
}

// One write at a time.
void control_socket::answer::write() {
    if (sending_ > 0) return;
    sending_ = output_.size();
    const auto sent = std::make_shared<std::string>(std::move(output_));
    output_.clear();
    asio::async_write(socket_, asio::buffer(*sent),
                      [self = shared_from_this(), sent](const error_code& ec, std::size_t) {
                          self->sending_ = 0;
                          if (ec || (self->is_over_ && self->output_.empty())) {
                              error_code ignored;
                              self->socket_.close(ignored);
                          } else if (!self->output_.empty()) {
                              self->write();
                          }
                      });
}

control_socket::control_socket(asio::io_context& io, const net::bound_socket& on,
                               handler on_command)
    : acceptor_(io, asio::local::stream_protocol(), on.descriptor),
      retry_(io),
      on_command_(std::move(on_command)) {
    accept();
}

void control_socket::accept() {
    acceptor_.async_accept([this](const error_code& ec, answer::socket from) {
        if (ec == asio::error::operation_aborted || !acceptor_.is_open()) return;
        if (ec) {  // out of descriptors, most likely
            retry_.expires_after(std::chrono::milliseconds(100));
            return retry_.async_wait([this](const error_code& over) {
                if (!over) accept();
            });
        }
        std::erase_if(answers_, [](const auto& one) { return one.expired(); });
        const auto fresh = std::make_shared<answer>(std::move(from));
        answers_.push_back(fresh);
        fresh->read(on_command_);
        accept();
    });
}

void control_socket::stop() {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
}

void control_socket::end() {
    stop();
    error_code ignored;
    for (const auto& one : answers_) {
        const auto open = one.lock();
        if (open != nullptr && !open->is_over_) open->socket_.close(ignored);
    }
}

}  // namespace sluice::daemon
