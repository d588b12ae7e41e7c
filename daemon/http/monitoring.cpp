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
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/detect_ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/intrusive/list.hpp>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "daemon/http/access.hpp"
#include "daemon/http/pages.hpp"
#include "daemon/net/certificate.hpp"
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
using tcp_stream = beast::basic_stream<tcp, executor>;
using tls_stream = asio::ssl::stream<tcp_stream&>;
using request = http::request<http::string_body>;
template <class T>
using awaitable = asio::awaitable<T, executor>;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable_t<executor>{});

page refusal(http::status status, const char* text) {
    page out;
    out.status = status;
    out.text = text;
    return out;
}

// What a request that cannot be read is answered with; nothing for a peer that is gone or too slow.
std::optional<page> page_for_error(const error_code& read_error) {
    if (read_error == http::error::header_limit) {
        return refusal(http::status::request_header_fields_too_large, "request header too large\n");
    }
    if (read_error == http::error::body_limit) {
        return refusal(http::status::payload_too_large, "request body too large\n");
    }
    const bool from_parser =
        read_error.category() == make_error_code(http::error::bad_value).category();
    if (!from_parser || read_error == http::error::end_of_stream ||
        read_error == http::error::partial_message) {
        return std::nullopt;
    }
    return refusal(http::status::bad_request, "bad request\n");
}

// An address as the limit on wrong answers counts it: whoever has one of IPv6 has 2^64 of them.
std::string key_of(const asio::ip::address& peer) {
    if (!peer.is_v6()) return peer.to_string();
    const auto& v6 = peer.to_v6();
    if (v6.is_v4_mapped()) {
        return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
    }
    auto bytes = v6.to_bytes();
    std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
    return asio::ip::address_v6(bytes).to_string();
}

bool is_loopback(const asio::ip::address& peer) {
    if (peer.is_v6() && peer.to_v6().is_v4_mapped()) {
        return asio::ip::make_address_v4(asio::ip::v4_mapped, peer.to_v6()).is_loopback();
    }
    return peer.is_loopback();
}

constexpr unsigned char http_1_1[] = "\x08http/1.1";

// A client that offers protocols and not this one gets it all the same: it is the only one there
// is.
int select_http(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
                unsigned in_length, void*) {
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, out_length, http_1_1, sizeof http_1_1 - 1, in, in_length) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

}  // namespace

// Shared by the server's handle and its coroutines, so that either may end first.
class monitoring_server::core : public std::enable_shared_from_this<core> {
  public:
    core(asio::io_context& io, const config::monitoring_settings& settings,
         monitoring_source& source, logger& log, monitoring_limits limits)
        : io_(io),
          addresses_(settings.listen),
          source_(source),
          log_(log),
          limits_(limits),
          access_(settings),
          tls_mode_(settings.tls.mode),
          tls_(load_tls(settings)) {}

    void start(const std::vector<net::bound_socket>& given);
    void stop() noexcept;
    void configure(const config::monitoring_settings& settings,
                   std::shared_ptr<const net::tls_context> tls);
    [[nodiscard]] std::vector<std::uint16_t> ports() const;
    [[nodiscard]] std::optional<double> certificate_end() const {
        return tls_ == nullptr ? std::nullopt : net::certificate_end(*tls_);
    }
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
            error_code ec;
            const auto from = stream.socket().remote_endpoint(ec);
            if (!ec) {
                peer = key_of(from.address());
                is_loopback = daemon::is_loopback(from.address());
            }
            owner->sessions_.push_back(*this);
        }
        ~session() { owner->sessions_.erase(owner->sessions_.iterator_to(*this)); }
        session(const session&) = delete;
        session& operator=(const session&) = delete;

        std::shared_ptr<core> owner;
        tcp_stream stream;
        beast::flat_buffer buffer;
        std::string peer;
        bool is_loopback = false;
        bool has_certificate = false;
    };

    // Coroutines end here; what they throw (no memory, a source that fails) costs one connection.
    struct ended {
        std::shared_ptr<core> owner;
        void operator()(const std::exception_ptr& thrown) const noexcept;
    };

    void listen(const config::listen_address& address);
    monitoring_response answer(const session& with, const request& asked);
    void take(const net::bound_socket& bound);
    static awaitable<void> accept(std::shared_ptr<core> self, std::shared_ptr<listener> from);
    static awaitable<void> begin(std::shared_ptr<session> self);
    static awaitable<void> serve_tls(std::shared_ptr<session> self);
    static awaitable<void> serve_plain(std::shared_ptr<session> self);
    template <class Stream>
    static awaitable<void> serve(std::shared_ptr<session> self, Stream& stream);
    static awaitable<void> linger(std::shared_ptr<session> self);

    asio::io_context& io_;
    std::vector<config::listen_address> addresses_;
    monitoring_source& source_;
    logger& log_;
    monitoring_limits limits_;
    monitoring_access access_;
    const config::tls_mode tls_mode_;
    std::shared_ptr<const net::tls_context> tls_;
    bool stopped_ = false;
    std::vector<std::shared_ptr<listener>> listeners_;
    intrusive::list<session> sessions_;
};

void monitoring_server::core::start(const std::vector<net::bound_socket>& given) {
    for (const auto& bound : given)
        take(bound);
    for (const auto& address : addresses_)
        if (given.empty()) listen(address);
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
    for (const auto& bound : net::bind_all(address, backlog))
        take(bound);
}

void monitoring_server::core::take(const net::bound_socket& bound) {
    // The acceptor has to know the family of a socket that it did not open.
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    getsockname(bound.descriptor, reinterpret_cast<sockaddr*>(&name), &length);
    auto made = std::make_shared<listener>(io_);
    made->acceptor.assign(name.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), bound.descriptor);
    listeners_.push_back(std::move(made));
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
        asio::co_spawn(self->io_.get_executor(), begin(std::move(opened)), std::move(on_end));
    }
}

// Finds out whether the client speaks TLS, where it may.
awaitable<void> monitoring_server::core::begin(std::shared_ptr<session> self) {
    auto& owner = *self->owner;
    if (owner.tls_ == nullptr) {
        co_await serve_plain(std::move(self));
        co_return;
    }
    self->stream.expires_after(owner.limits_.read_timeout);
    auto [ec, is_tls] = co_await beast::async_detect_ssl(self->stream, self->buffer, no_throw);
    if (ec || owner.stopped_) co_return;
    if (is_tls) {
        co_await serve_tls(std::move(self));
    } else if (owner.tls_mode_ == config::tls_mode::allow) {
        co_await serve_plain(std::move(self));
    } else {
        auto reply = make_response(
            refusal(http::status::bad_request, "this port speaks TLS only: use https\n"), 11,
            http::verb::get, after_reply::close);
        self->stream.expires_after(owner.limits_.write_timeout);
        auto [failed, sent] = co_await http::async_write(self->stream, reply, no_throw);
        if (!failed) co_await linger(std::move(self));
    }
}

awaitable<void> monitoring_server::core::serve_plain(std::shared_ptr<session> self) {
    auto& stream = self->stream;
    co_await serve(self, stream);
    if (stream.socket().is_open()) co_await linger(std::move(self));
}

awaitable<void> monitoring_server::core::serve_tls(std::shared_ptr<session> self) {
    auto& owner = *self->owner;
    // A context of Asio's owns what it is made from, so the certificate's is counted once more.
    const auto settings = owner.tls_;
    SSL_CTX_up_ref(settings->get());
    asio::ssl::context context(settings->get());
    tls_stream stream(self->stream, context);
    self->stream.expires_after(owner.limits_.read_timeout);
    auto [ec, used] = co_await stream.async_handshake(asio::ssl::stream_base::server,
                                                      self->buffer.data(), no_throw);
    if (ec || owner.stopped_) co_return;
    self->buffer.consume(used);
    auto* const ssl = stream.native_handle();
    self->has_certificate =
        SSL_get0_peer_certificate(ssl) != nullptr && SSL_get_verify_result(ssl) == X509_V_OK;
    co_await serve(self, stream);
    if (owner.stopped_ || !self->stream.socket().is_open()) co_return;
    self->stream.expires_after(std::chrono::seconds(1));
    [[maybe_unused]] auto [ignored] = co_await stream.async_shutdown(no_throw);
    if (self->stream.socket().is_open()) co_await linger(std::move(self));
}

// Until the client or a response ends it, or something fails: then the socket is closed.
template <class Stream>
awaitable<void> monitoring_server::core::serve(std::shared_ptr<session> self, Stream& stream) {
    auto& owner = *self->owner;
    for (;;) {
        http::request_parser<http::string_body> parser;
        parser.header_limit(owner.limits_.header_bytes);
        parser.body_limit(owner.limits_.body_bytes);
        self->stream.expires_after(owner.limits_.read_timeout);
        auto [read_error, received] =
            co_await http::async_read(stream, self->buffer, parser, no_throw);
        if (owner.stopped_) co_return;

        monitoring_response reply;
        if (!read_error) {
            reply = owner.answer(*self, parser.get());
        } else if (auto refused = page_for_error(read_error)) {
            reply = make_response(std::move(*refused), 11, http::verb::get, after_reply::close);
        } else {
            break;
        }
        self->stream.expires_after(owner.limits_.write_timeout);
        auto [write_error, sent] = co_await http::async_write(stream, reply, no_throw);
        if (owner.stopped_) co_return;
        if (write_error) break;
        if (reply.need_eof() || !reply.keep_alive()) co_return;
    }
    self->stream.close();
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

monitoring_response monitoring_server::core::answer(const session& with, const request& asked) {
    const auto text = [](beast::string_view from) {
        return std::string_view(from.data(), from.size());
    };
    const bool reads = asked.method() == http::verb::get || asked.method() == http::verb::head;
    page content;
    if (reads) {
        visitor who;
        who.access = access_.check(text(asked[http::field::authorization]), with.peer,
                                   std::chrono::steady_clock::now());
        who.has_certificate = with.has_certificate;
        who.is_local = with.is_loopback && is_local_host(text(asked[http::field::host]));
        who.is_script = text(asked["X-Requested-With"]) == "sluice-dashboard";
        content = page_for(text(asked.target()), who, access_, source_);
    } else {
        content = refusal(http::status::method_not_allowed, "only GET and HEAD\n");
    }
    return make_response(std::move(content), asked.version(), asked.method(),
                         asked.keep_alive() ? after_reply::keep_alive : after_reply::close);
}

void monitoring_server::core::configure(const config::monitoring_settings& settings,
                                        std::shared_ptr<const net::tls_context> tls) {
    access_.configure(settings);
    if (tls_ != nullptr && tls != nullptr) tls_ = std::move(tls);
}

std::shared_ptr<const net::tls_context> monitoring_server::load_tls(
    const config::monitoring_settings& settings) {
    if (settings.tls.mode == config::tls_mode::disable) return nullptr;
    auto made = std::make_shared<const net::tls_context>(settings.tls);
    SSL_CTX_set_alpn_select_cb(made->get(), &select_http, nullptr);
    return made;
}

monitoring_server::monitoring_server(asio::io_context& io,
                                     const config::monitoring_settings& settings,
                                     monitoring_source& source, logger& log,
                                     monitoring_limits limits)
    : core_(std::make_shared<core>(io, settings, source, log, limits)) {}

monitoring_server::~monitoring_server() {
    stop();
}

void monitoring_server::start(const std::vector<net::bound_socket>& given) {
    core_->start(given);
}
void monitoring_server::stop() noexcept {
    core_->stop();
}
void monitoring_server::configure(const config::monitoring_settings& settings,
                                  std::shared_ptr<const net::tls_context> tls) {
    core_->configure(settings, std::move(tls));
}
std::vector<std::uint16_t> monitoring_server::ports() const {
    return core_->ports();
}
std::optional<double> monitoring_server::certificate_end() const {
    return core_->certificate_end();
}
std::size_t monitoring_server::connections() const noexcept {
    return core_->connections();
}

}  // namespace sluice::daemon
