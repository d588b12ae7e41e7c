// The monitoring port over loopback: the server on a thread of its own, a plain blocking client
// here. The client's sockets give up after some seconds, so that a missing answer fails the test.
#include "daemon/http/monitoring.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/asio/post.hpp>
#include <chrono>
#include <future>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/http/access.hpp"

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;

config::listen_address loopback(std::uint16_t port = 0) {
    return {config::listen_address::kind::tcp, "127.0.0.1", {}, port};
}

config::monitoring_settings listening_on(std::vector<config::listen_address> addresses) {
    config::monitoring_settings out;
    out.listen = std::move(addresses);
    return out;
}

class client {
  public:
    explicit client(std::uint16_t port)
        : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const timeval patience{10, 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        const int on = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    }
    ~client() { ::close(socket_); }
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    void send(std::string_view text) const {
        while (!text.empty()) {
            const auto n = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
            if (n <= 0) return;  // the answer, or its absence, tells
            text.remove_prefix(static_cast<std::size_t>(n));
        }
    }

    void end_of_requests() const { ::shutdown(socket_, SHUT_WR); }

    // Until the server closes; "stuck" if it does not.
    std::string rest() {
        while (read_some()) {
        }
        return std::exchange(received_, {});
    }

    // One response, its head and as much body as Content-Length says.
    std::string response(bool with_body = true) {
        std::size_t head_end = 0;
        while ((head_end = received_.find("\r\n\r\n")) == std::string::npos) {
            if (!read_some()) return std::exchange(received_, {});
        }
        std::size_t size = head_end + 4;
        const auto length = received_.find("Content-Length: ");
        if (with_body && length < head_end) size += std::stoul(received_.substr(length + 16));
        while (received_.size() < size) {
            if (!read_some()) break;
        }
        auto out = received_.substr(0, size);
        received_.erase(0, size);
        return out;
    }

    std::string get(const std::string& target, const std::string& headers = {}) {
        send("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
        return response();
    }

  private:
    bool read_some() {
        std::array<char, 65536> chunk;
        const auto n = ::recv(socket_, chunk.data(), chunk.size(), 0);
        if (n < 0 && errno == EAGAIN) received_ += "stuck";
        if (n <= 0) return false;
        received_.append(chunk.data(), static_cast<std::size_t>(n));
        return true;
    }

    int socket_;
    std::string received_;
};

std::string body_of(const std::string& response) {
    const auto at = response.find("\r\n\r\n");
    return at == std::string::npos ? "no body" : response.substr(at + 4);
}

std::string status_of(const std::string& response) {
    return response.size() > 12 ? response.substr(9, 3) : response;
}

struct fake_source final : monitoring_source {
    std::string render_metrics() override {
        if (fails) throw std::runtime_error("no metrics today");
        return "up 1\n" + std::string(padding, '#');
    }
    struct readiness readiness() override {
        return {is_ready, "upstream unreachable"};
    }
    std::string render_status(bool with_statements) override {
        return with_statements ? "{\"statements\":[]}\n" : "{}\n";
    }
    std::string render_history(double since) override { return std::to_string(since); }
    std::atomic<bool> fails = false;
    std::atomic<bool> is_ready = false;
    std::atomic<std::size_t> padding = 0;
};

class monitoring : public ::testing::Test {
  protected:
    void start(monitoring_limits limits = {}) {
        settings_.listen = {loopback()};
        server_.emplace(io_, settings_, source_, *log_, limits);
        server_->start();
        port_ = server_->ports().at(0);
        thread_ = std::thread([this] { io_.run(); });
    }
    void SetUp() override {
        log_options options;
        options.descriptor = log_file_;
        log_.emplace(config::log_settings{}, options);
    }
    void TearDown() override {
        stop();
        log_.reset();
        ::close(log_file_);
    }
    // Ends only when the last coroutine has: a connection that stop() forgets hangs the test.
    void stop() {
        if (!thread_.joinable()) return;
        boost::asio::post(io_, [this] { server_->stop(); });
        thread_.join();
    }

    std::size_t connections() {
        std::promise<std::size_t> count;
        boost::asio::post(io_, [&] { count.set_value(server_->connections()); });
        return count.get_future().get();
    }
    bool comes_to(std::size_t wanted) {
        const auto deadline = std::chrono::steady_clock::now() + 10s;
        while (connections() != wanted) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            std::this_thread::yield();
        }
        return true;
    }
    std::string logged() {
        log_.reset();
        std::array<char, 4096> text{};
        const auto n = ::pread(log_file_, text.data(), text.size(), 0);
        return {text.data(), n > 0 ? static_cast<std::size_t>(n) : 0U};
    }

    config::monitoring_settings settings_;
    int log_file_ = ::memfd_create("log", MFD_CLOEXEC);
    std::optional<logger> log_;
    fake_source source_;
    boost::asio::io_context io_{1};
    std::optional<monitoring_server> server_;
    std::thread thread_;
    std::uint16_t port_ = 0;
};

TEST_F(monitoring, metrics_are_served_as_prometheus_text) {
    start();
    const auto reply = client(port_).get("/metrics");
    EXPECT_EQ(reply.substr(0, 15), "HTTP/1.1 200 OK");
    EXPECT_NE(reply.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
              std::string::npos);
    EXPECT_EQ(body_of(reply), "up 1\n");
}

TEST_F(monitoring, health_is_ok_even_when_not_ready) {
    start();
    const auto reply = client(port_).get("/healthz");
    EXPECT_EQ(status_of(reply), "200");
    EXPECT_EQ(body_of(reply), "ok\n");
}

TEST_F(monitoring, readiness_says_why_not) {
    start();
    client peer(port_);
    auto reply = peer.get("/readyz");
    EXPECT_EQ(status_of(reply), "503");
    EXPECT_EQ(body_of(reply), "upstream unreachable\n");
    source_.is_ready = true;
    reply = peer.get("/readyz");
    EXPECT_EQ(status_of(reply), "200");
    EXPECT_EQ(body_of(reply), "ready\n");
}

TEST_F(monitoring, front_page_is_the_dashboard_under_a_strict_policy) {
    start();
    const auto reply = client(port_).get("/");
    EXPECT_EQ(status_of(reply), "200");
    EXPECT_NE(reply.find("Content-Type: text/html"), std::string::npos);
    for (const auto* part : {"Content-Security-Policy: default-src 'none'; style-src 'sha256-",
                             "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer",
                             "frame-ancestors 'none'"}) {
        EXPECT_NE(reply.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(reply.find("unsafe-inline"), std::string::npos);
    EXPECT_EQ(body_of(reply).find("https://"), std::string::npos);
}

TEST_F(monitoring, json_is_served_and_since_is_read) {
    start();
    client peer(port_);
    const auto status = peer.get("/api/status");
    EXPECT_NE(status.find("Content-Type: application/json"), std::string::npos);
    EXPECT_EQ(body_of(peer.get("/api/history")), "0.000000");
    EXPECT_EQ(body_of(peer.get("/api/history?a=b&since=12.5")), "12.500000");
    for (const auto* bad : {"?since=", "?since=x", "?since=nan", "?since=1e999", "?sincee=3"}) {
        EXPECT_EQ(body_of(peer.get("/api/history" + std::string(bad))), "0.000000") << bad;
    }
}

// A page of elsewhere whose name was made to mean 127.0.0.1 still sends its own name.
TEST_F(monitoring, statements_are_shown_to_those_who_come_from_here_by_address) {
    start();
    client peer(port_);
    const auto ask = [&](const std::string& host) {
        peer.send("GET /api/status HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
        return body_of(peer.response());
    };
    for (const auto* host : {"127.0.0.1:9127", "localhost", "localhost:1", "[::1]:9127"}) {
        EXPECT_EQ(ask(host), "{\"statements\":[]}\n") << host;
    }
    for (const auto* host : {"evil.example", "127.0.0.1.evil.example", "localhost.evil", ""}) {
        EXPECT_EQ(ask(host), "{}\n") << host;
    }
}

TEST_F(monitoring, token_opens_everything_and_nothing_else_does) {
    settings_.token = "right";
    start();
    client peer(port_);
    for (const auto* path : {"/metrics", "/api/status", "/api/history"}) {
        const auto none = peer.get(path);
        EXPECT_EQ(status_of(none), "401") << path;
        EXPECT_NE(none.find("WWW-Authenticate: Bearer realm=\"sluice\""), std::string::npos);
        EXPECT_EQ(none.find("Basic"), std::string::npos);
        EXPECT_EQ(status_of(peer.get(path, "Authorization: Bearer right\r\n")), "200") << path;
        EXPECT_EQ(status_of(peer.get(path, "authorization: bearer right\r\n")), "200") << path;
    }
    EXPECT_EQ(status_of(peer.get("/metrics", "Authorization: Bearer wrong\r\n")), "401");
    EXPECT_EQ(status_of(peer.get("/", "")), "200");
    EXPECT_EQ(body_of(peer.get("/api/status", "Authorization: Bearer right\r\n")),
              "{\"statements\":[]}\n");
}

TEST_F(monitoring, health_needs_no_credentials_and_tells_no_reason_without) {
    settings_.token = "right";
    start();
    client peer(port_);
    EXPECT_EQ(body_of(peer.get("/healthz")), "ok\n");
    EXPECT_EQ(body_of(peer.get("/readyz")), "not ready\n");
    EXPECT_EQ(body_of(peer.get("/readyz", "Authorization: Bearer right\r\n")),
              "upstream unreachable\n");
}

TEST_F(monitoring, users_are_asked_by_the_browser_but_not_behind_the_page) {
    settings_.users["alice"].password = "right";
    start();
    client peer(port_);
    const auto front = peer.get("/");
    EXPECT_EQ(status_of(front), "401");
    EXPECT_NE(front.find("WWW-Authenticate: Basic realm=\"sluice\", charset=\"UTF-8\""),
              std::string::npos);
    const std::string right = "Authorization: Basic YWxpY2U6cmlnaHQ=\r\n";
    EXPECT_EQ(status_of(peer.get("/", right)), "200");
    EXPECT_EQ(status_of(peer.get("/metrics", right)), "200");
    const auto script = peer.get("/api/status", "X-Requested-With: sluice-dashboard\r\n");
    EXPECT_EQ(status_of(script), "401");
    EXPECT_EQ(script.find("Basic"), std::string::npos);
    EXPECT_NE(script.find("\"password\":true"), std::string::npos);
}

TEST_F(monitoring, address_that_guesses_is_told_to_wait) {
    settings_.token = "right";
    start();
    client peer(port_);
    EXPECT_EQ(status_of(peer.get("/metrics", "Authorization: Bearer right\r\n")), "200");
    for (unsigned i = 0; i < monitoring_access::most_failures; ++i) {
        EXPECT_EQ(status_of(peer.get("/metrics", "Authorization: Bearer wrong\r\n")), "401");
    }
    const auto limited = peer.get("/metrics", "Authorization: Bearer other\r\n");
    EXPECT_EQ(status_of(limited), "429");
    EXPECT_NE(limited.find("Retry-After: 60\r\n"), std::string::npos);
    EXPECT_EQ(status_of(peer.get("/healthz")), "200");
}

TEST_F(monitoring, configuration_changes_for_the_next_request) {
    settings_.token = "old";
    start();
    client peer(port_);
    EXPECT_EQ(status_of(peer.get("/metrics", "Authorization: Bearer old\r\n")), "200");
    std::promise<void> changed;
    boost::asio::post(io_, [&] {
        auto next = settings_;
        next.token = "new";
        server_->configure(next, nullptr);
        changed.set_value();
    });
    changed.get_future().get();
    EXPECT_EQ(status_of(peer.get("/metrics", "Authorization: Bearer old\r\n")), "401");
    EXPECT_EQ(status_of(peer.get("/metrics", "Authorization: Bearer new\r\n")), "200");
}

TEST_F(monitoring, certificate_that_cannot_be_read_is_named) {
    auto settings = listening_on({loopback()});
    settings.tls = {config::tls_mode::require, "/nonexistent/cert.pem", "/nonexistent/key.pem", {}};
    try {
        boost::asio::io_context io{1};
        monitoring_server server(io, settings, source_, *log_);
        FAIL();
    } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("/nonexistent/cert.pem"), std::string::npos);
    }
}

TEST_F(monitoring, unknown_path_is_404_and_query_is_ignored) {
    start();
    client peer(port_);
    EXPECT_EQ(status_of(peer.get("/nothing")), "404");
    EXPECT_EQ(status_of(peer.get("/metricsx")), "404");
    EXPECT_EQ(body_of(peer.get("/metrics?a=b")), "up 1\n");
}

TEST_F(monitoring, other_methods_are_405_and_the_connection_stays) {
    start();
    client peer(port_);
    peer.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    const auto reply = peer.response();
    EXPECT_EQ(status_of(reply), "405");
    EXPECT_NE(reply.find("Allow: GET, HEAD\r\n"), std::string::npos);
    EXPECT_EQ(body_of(peer.get("/healthz")), "ok\n");
}

TEST_F(monitoring, head_has_the_length_and_no_body) {
    start();
    client peer(port_);
    peer.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    const auto reply = peer.response(false);
    EXPECT_EQ(status_of(reply), "200");
    EXPECT_NE(reply.find("Content-Length: 5\r\n"), std::string::npos);
    EXPECT_EQ(peer.get("/healthz").substr(0, 15), "HTTP/1.1 200 OK");
}

TEST_F(monitoring, connection_close_and_http_1_0_end_the_connection) {
    start();
    client first(port_);
    first.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(body_of(first.rest()), "ok\n");
    client second(port_);
    second.send("GET /healthz HTTP/1.0\r\n\r\n");
    EXPECT_EQ(body_of(second.rest()), "ok\n");
}

TEST_F(monitoring, pipelined_requests_are_answered_in_order) {
    start();
    client peer(port_);
    peer.send(
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(body_of(peer.response()), "ok\n");
    EXPECT_EQ(status_of(peer.response()), "503");
    EXPECT_EQ(body_of(peer.response()), "up 1\n");
}

TEST_F(monitoring, request_cut_at_every_byte_is_answered) {
    start();
    const std::string_view request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    client peer(port_);
    for (std::size_t cut = 1; cut < request.size(); ++cut) {
        peer.send(request.substr(0, cut));
        connections();  // a turn of the server's loop, so that it sees the first part alone
        peer.send(request.substr(cut));
        ASSERT_EQ(body_of(peer.response()), "ok\n") << cut;
    }
}

TEST_F(monitoring, request_cut_by_the_end_is_dropped_without_answer) {
    start();
    const std::string_view request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for (std::size_t cut = 0; cut < request.size(); ++cut) {
        client peer(port_);
        peer.send(request.substr(0, cut));
        peer.end_of_requests();
        ASSERT_EQ(peer.rest(), "") << cut;
    }
    EXPECT_TRUE(comes_to(0));
}

TEST_F(monitoring, oversized_and_broken_requests_are_refused_and_closed) {
    start();
    const std::string line = "GET /healthz HTTP/1.1\r\nHost: x\r\n";
    client header(port_);
    header.send(line + "X: " + std::string(20000, 'a') + "\r\n\r\n");
    header.end_of_requests();
    EXPECT_EQ(status_of(header.rest()), "431");
    client body(port_);
    body.send(line + "Content-Length: 2000000\r\n\r\n" + std::string(40000, 'a'));
    body.end_of_requests();
    EXPECT_EQ(status_of(body.rest()), "413");
    client chunked(port_);
    chunked.send(line + "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + std::string(5000, 'a'));
    chunked.end_of_requests();
    EXPECT_EQ(status_of(chunked.rest()), "413");
    client garbage(port_);
    garbage.send("\x16\x03\x01 this is no HTTP\r\n\r\n");
    garbage.end_of_requests();
    EXPECT_EQ(status_of(garbage.rest()), "400");
    EXPECT_TRUE(comes_to(0));
}

TEST_F(monitoring, random_bytes_leave_the_server_working) {
    start();
    const auto seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 100; ++round) {
        std::string bytes = round % 2 == 0 ? "GET /" : "";
        for (std::size_t i = random() % 300; i != 0; --i)
            bytes += static_cast<char>(random());
        client peer(port_);
        peer.send(bytes);
        peer.end_of_requests();
        ASSERT_EQ(peer.rest().find("stuck"), std::string::npos);
    }
    EXPECT_EQ(body_of(client(port_).get("/healthz")), "ok\n");
}

TEST_F(monitoring, client_that_never_finishes_its_request_is_dropped) {
    monitoring_limits limits;
    limits.read_timeout = 50ms;
    start(limits);
    client silent(port_);
    client slow(port_);
    slow.send("GET /metrics HT");
    EXPECT_EQ(silent.rest(), "");
    EXPECT_EQ(slow.rest(), "");
    EXPECT_TRUE(comes_to(0));
}

TEST_F(monitoring, client_that_does_not_read_its_response_is_dropped) {
    monitoring_limits limits;
    limits.write_timeout = 50ms;
    start(limits);
    source_.padding = std::size_t{64} << 20;
    client peer(port_);
    peer.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(body_of(client(port_).get("/healthz")), "ok\n");
    EXPECT_TRUE(comes_to(0));
}

TEST_F(monitoring, connection_beyond_the_limit_is_closed_and_room_comes_back) {
    monitoring_limits limits;
    limits.connections = 2;
    start(limits);
    client first(port_);
    EXPECT_EQ(status_of(first.get("/healthz")), "200");
    {
        client second(port_);
        EXPECT_EQ(status_of(second.get("/healthz")), "200");
        EXPECT_EQ(client(port_).rest(), "");
        EXPECT_EQ(connections(), 2U);
    }
    EXPECT_TRUE(comes_to(1));
    EXPECT_EQ(status_of(client(port_).get("/healthz")), "200");
}

TEST_F(monitoring, stop_closes_listeners_and_connections) {
    start();
    client idle(port_);
    EXPECT_EQ(status_of(idle.get("/healthz")), "200");
    client in_request(port_);
    in_request.send("GET /hea");
    EXPECT_TRUE(comes_to(2));
    stop();
    EXPECT_EQ(idle.rest(), "");
    EXPECT_EQ(in_request.rest(), "");
    // The port is free again.
    boost::asio::io_context io;
    monitoring_server next(io, listening_on({loopback(port_)}), source_, *log_);
    EXPECT_NO_THROW(next.start());
}

TEST_F(monitoring, source_that_throws_costs_one_connection) {
    start();
    source_.fails = true;
    client peer(port_);
    peer.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(peer.rest(), "");
    EXPECT_EQ(body_of(client(port_).get("/healthz")), "ok\n");
    stop();
    EXPECT_NE(logged().find("monitoring connection failed error=\"no metrics today\""),
              std::string::npos);
}

TEST_F(monitoring, destroyed_without_stop_leaves_nothing_behind) {
    boost::asio::io_context io;
    monitoring_server server(io, listening_on({loopback()}), source_, *log_);
    server.start();
    client peer(server.ports().at(0));
    while (server.connections() == 0)
        io.run_one_for(1s);
}

TEST_F(monitoring, every_address_is_bound) {
    boost::asio::io_context io;
    monitoring_server server(io, listening_on({loopback(), loopback()}), source_, *log_);
    server.start();
    const auto ports = server.ports();
    ASSERT_EQ(ports.size(), 2U);
    EXPECT_NE(ports[0], 0);
    EXPECT_NE(ports[1], 0);
    EXPECT_NE(ports[0], ports[1]);
}

TEST_F(monitoring, star_listens_on_every_address) {
    boost::asio::io_context io;
    monitoring_server server(io, listening_on({{config::listen_address::kind::tcp, "*", {}, 0}}),
                             source_, *log_);
    server.start();
    EXPECT_GE(server.ports().size(), 1U);
}

TEST_F(monitoring, address_that_cannot_be_bound_is_named) {
    boost::asio::io_context io;
    monitoring_server holder(io, listening_on({loopback()}), source_, *log_);
    holder.start();
    const auto taken = holder.ports().at(0);
    monitoring_server second(io, listening_on({loopback(taken)}), source_, *log_);
    try {
        second.start();
        ADD_FAILURE() << "bound twice";
    } catch (const std::exception& error) {
        const std::string text = error.what();
        EXPECT_NE(text.find("127.0.0.1:" + std::to_string(taken)), std::string::npos) << text;
    }
    monitoring_server local(
        io, listening_on({{config::listen_address::kind::unix_socket, {}, "/tmp", 9127}}), source_,
        *log_);
    EXPECT_THROW(local.start(), std::exception);
}

}  // namespace
}  // namespace sluice::daemon
