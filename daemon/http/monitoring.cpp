#include "daemon/http/monitoring.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/intrusive/list.hpp>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "daemon/net/listener.hpp"

namespace sluice::daemon {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace intrusive = boost::intrusive;

using boost::system::error_code;
using executor = asio::io_context::executor_type;
using tcp = asio::ip::tcp;
using tcp_socket = asio::basic_stream_socket<tcp, executor>;
using tcp_acceptor = asio::basic_socket_acceptor<tcp, executor>;
using timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, executor>;
using request = http::request<http::string_body>;
using response = http::response<http::string_body>;
template <class T>
using awaitable = asio::awaitable<T, executor>;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable_t<executor>{});

constexpr std::string_view plain_text = "text/plain; charset=utf-8";
constexpr std::string_view metrics_text = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view html = "text/html; charset=utf-8";

constexpr std::string_view front_page = R"(<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>sluice</title></head>
<body>
<h1>sluice</h1>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/healthz">/healthz</a>: the process is alive</li>
<li><a href="/readyz">/readyz</a>: it can serve clients, or why it cannot</li>
</ul>
</body>
</html>
)";

struct page {
    http::status status = http::status::ok;
    std::string_view type = plain_text;
    std::string text;
};

enum class after_reply { keep_alive, close };

response make_response(page content, unsigned version, http::verb method, after_reply after) {
    response reply(content.status, version);
    reply.set(http::field::server, "sluice");
    reply.set(http::field::content_type,
              beast::string_view(content.type.data(), content.type.size()));
    reply.set(http::field::cache_control, "no-store");
    reply.set("X-Content-Type-Options", "nosniff");
    if (content.status == http::status::method_not_allowed) {
        reply.set(http::field::allow, "GET, HEAD");
    }
    reply.keep_alive(after == after_reply::keep_alive);
    reply.content_length(content.text.size());
    // To HEAD the length is told and the body is not sent.
    if (method != http::verb::head) reply.body() = std::move(content.text);
    return reply;
}

// What a request that cannot be read is answered with; nothing for a peer that is gone or too slow.
std::optional<page> page_for(const error_code& read_error) {
    if (read_error == http::error::header_limit) {
        return page{http::status::request_header_fields_too_large, plain_text,
                    "request header too large\n"};
    }
    if (read_error == http::error::body_limit) {
        return page{http::status::payload_too_large, plain_text, "request body too large\n"};
    }
    const bool from_parser =
        read_error.category() == make_error_code(http::error::bad_value).category();
    if (!from_parser || read_error == http::error::end_of_stream ||
        read_error == http::error::partial_message) {
        return std::nullopt;
    }
    return page{http::status::bad_request, plain_text, "bad request\n"};
}

}  // namespace

// Shared by the server's handle and its coroutines, so that either may end first.
class monitoring_server::core : public std::enable_shared_from_this<core> {
  public:
    core(asio::io_context& io, std::vector<config::listen_address> addresses,
         monitoring_source& source, logger& log, monitoring_limits limits)
        : io_(io), addresses_(std::move(addresses)), source_(source), log_(log), limits_(limits) {}

    void start();
    void stop() noexcept;
    [[nodiscard]] std::vector<std::uint16_t> ports() const;
    [[nodiscard]] std::size_t connections() const noexcept { return sessions_.size(); }

  private:
    struct listener {
        explicit listener(asio::io_context& io) : acceptor(io), retry(io) {}
        tcp_acceptor acceptor;
        timer retry;
    };

    // One connection; on the list of its core for as long as it lives.
    struct session : intrusive::list_base_hook<> {
        session(std::shared_ptr<core> of, tcp_socket socket)
            : owner(std::move(of)),
              stream(std::move(socket)),
              buffer(owner->limits_.header_bytes + owner->limits_.body_bytes + 4096) {
            owner->sessions_.push_back(*this);
        }
        ~session() { owner->sessions_.erase(owner->sessions_.iterator_to(*this)); }
        session(const session&) = delete;
        session& operator=(const session&) = delete;

        std::shared_ptr<core> owner;
        beast::basic_stream<tcp, executor> stream;
        beast::flat_buffer buffer;
    };

    // Coroutines end here; what they throw (no memory, a source that fails) costs one connection.
    struct ended {
        std::shared_ptr<core> owner;
        void operator()(const std::exception_ptr& thrown) const noexcept;
    };

    void listen(const config::listen_address& address);
    page page_of(std::string_view path);
    response answer(const request& asked);
    static awaitable<void> accept(std::shared_ptr<core> self, std::shared_ptr<listener> from);
    static awaitable<void> serve(std::shared_ptr<session> self);
    static awaitable<void> linger(std::shared_ptr<session> self);

    asio::io_context& io_;
    std::vector<config::listen_address> addresses_;
    monitoring_source& source_;
    logger& log_;
    monitoring_limits limits_;
    bool stopped_ = false;
    std::vector<std::shared_ptr<listener>> listeners_;
    intrusive::list<session> sessions_;
};

void monitoring_server::core::start() {
    for (const auto& address : addresses_)
        listen(address);
    for (const auto& each : listeners_) {
        asio::co_spawn(io_.get_executor(), accept(shared_from_this(), each),
                       ended{shared_from_this()});
    }
}

void monitoring_server::core::listen(const config::listen_address& address) {
    if (address.type != config::listen_address::kind::tcp) {
        throw std::runtime_error("cannot listen on unix:" + address.path +
                                 ": monitoring takes TCP addresses only");
    }
    constexpr std::uint32_t backlog = 128;
    for (const auto& bound : net::bind_all(address, backlog)) {
        // The acceptor has to know the family of a socket that it did not open.
        sockaddr_storage name{};
        socklen_t length = sizeof name;
        getsockname(bound.descriptor, reinterpret_cast<sockaddr*>(&name), &length);
        auto made = std::make_shared<listener>(io_);
        made->acceptor.assign(name.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), bound.descriptor);
        listeners_.push_back(std::move(made));
    }
}

void monitoring_server::core::stop() noexcept {
    if (std::exchange(stopped_, true)) return;
    error_code ignored;
    for (const auto& each : listeners_) {
        each->acceptor.close(ignored);
        each->retry.cancel();
    }
    for (auto& each : sessions_)
        each.stream.close();
}

std::vector<std::uint16_t> monitoring_server::core::ports() const {
    std::vector<std::uint16_t> out;
    for (const auto& each : listeners_) {
        error_code ec;
        const auto endpoint = each->acceptor.local_endpoint(ec);
        out.push_back(ec ? std::uint16_t{0} : endpoint.port());
    }
    return out;
}

void monitoring_server::core::ended::operator()(const std::exception_ptr& thrown) const noexcept {
    if (!thrown) return;
    try {
        std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
        owner->log_.error("monitoring connection failed", {{"error", error.what()}});
    } catch (...) {
        owner->log_.error("monitoring connection failed");
    }
}

awaitable<void> monitoring_server::core::accept(std::shared_ptr<core> self,
                                                std::shared_ptr<listener> from) {
    for (;;) {
        tcp_socket socket(self->io_);
        auto [ec] = co_await from->acceptor.async_accept(socket, no_throw);
        if (self->stopped_) co_return;
        if (ec) {
            // Out of descriptors, most likely, and they come back only with time.
            self->log_.warning("monitoring cannot accept", {{"error", ec.message()}});
            from->retry.expires_after(std::chrono::milliseconds(100));
            auto [waited] = co_await from->retry.async_wait(no_throw);
            if (waited || self->stopped_) co_return;
            continue;
        }
        if (self->sessions_.size() >= self->limits_.connections) {
            self->log_.warning("monitoring connection refused",
                               {{"connections", self->sessions_.size()}});
            continue;
        }
        error_code ignored;
        socket.set_option(tcp::no_delay(true), ignored);
        auto opened = std::make_shared<session>(self, std::move(socket));
        ended on_end{self};
        asio::co_spawn(self->io_.get_executor(), serve(std::move(opened)), std::move(on_end));
    }
}

awaitable<void> monitoring_server::core::serve(std::shared_ptr<session> self) {
    auto& owner = *self->owner;
    for (;;) {
        http::request_parser<http::string_body> parser;
        parser.header_limit(owner.limits_.header_bytes);
        parser.body_limit(owner.limits_.body_bytes);
        self->stream.expires_after(owner.limits_.read_timeout);
        auto [read_error, received] =
            co_await http::async_read(self->stream, self->buffer, parser, no_throw);
        if (owner.stopped_) co_return;

        response reply;
        if (!read_error) {
            reply = owner.answer(parser.get());
        } else if (auto refusal = page_for(read_error)) {
            reply = make_response(std::move(*refusal), 11, http::verb::get, after_reply::close);
        } else {
            co_return;
        }
        self->stream.expires_after(owner.limits_.write_timeout);
        auto [write_error, sent] = co_await http::async_write(self->stream, reply, no_throw);
        if (write_error || owner.stopped_) co_return;
        if (reply.need_eof() || !reply.keep_alive()) break;
    }
    co_await linger(std::move(self));
}

// Ends a connection so that the peer gets the reply: closing while it still sends would reset the
// connection and throw the reply away on its side.
awaitable<void> monitoring_server::core::linger(std::shared_ptr<session> self) {
    error_code ec;
    self->stream.socket().shutdown(tcp_socket::shutdown_send, ec);
    self->stream.expires_after(std::chrono::seconds(1));
    for (std::size_t left = std::size_t{64} << 10; !ec && left != 0;) {
        std::array<char, 4096> ignored;
        auto [read_error, n] =
            co_await self->stream.async_read_some(asio::buffer(ignored), no_throw);
        ec = read_error;
        left -= std::min(left, n);
    }
}

response monitoring_server::core::answer(const request& asked) {
    const auto target = asked.target();
    const std::string_view path(target.data(), std::min(target.find('?'), target.size()));
    const bool reads = asked.method() == http::verb::get || asked.method() == http::verb::head;
    page content = reads
                       ? page_of(path)
                       : page{http::status::method_not_allowed, plain_text, "only GET and HEAD\n"};
    return make_response(std::move(content), asked.version(), asked.method(),
                         asked.keep_alive() ? after_reply::keep_alive : after_reply::close);
}

page monitoring_server::core::page_of(std::string_view path) {
    if (path == "/metrics") return {http::status::ok, metrics_text, source_.render_metrics()};
    if (path == "/healthz") return {http::status::ok, plain_text, "ok\n"};
    if (path == "/readyz") {
        auto state = source_.readiness();
        if (state.ready) return {http::status::ok, plain_text, "ready\n"};
        return {http::status::service_unavailable, plain_text, std::move(state.why) + "\n"};
    }
    if (path == "/") return {http::status::ok, html, std::string(front_page)};
    return {http::status::not_found, plain_text, "not found\n"};
}

monitoring_server::monitoring_server(asio::io_context& io,
                                     std::vector<config::listen_address> addresses,
                                     monitoring_source& source, logger& log,
                                     monitoring_limits limits)
    : core_(std::make_shared<core>(io, std::move(addresses), source, log, limits)) {}

monitoring_server::~monitoring_server() {
    stop();
}

void monitoring_server::start() {
    core_->start();
}
void monitoring_server::stop() noexcept {
    core_->stop();
}
std::vector<std::uint16_t> monitoring_server::ports() const {
    return core_->ports();
}
std::size_t monitoring_server::connections() const noexcept {
    return core_->connections();
}

}  // namespace sluice::daemon
