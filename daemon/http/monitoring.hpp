// The monitoring port: GET and HEAD of the dashboard at /, what it reads (/api/status and
// /api/history), /metrics, /healthz and /readyz; over TLS, and to those who may, if so configured.
// Everything, stop() included, happens on the thread that runs the io_context. The io_context, the
// source and the logger outlive the server and the last turn of the io_context; after stop() the
// source is not asked any more. start() throws when an address cannot be bound; afterwards nothing
// throws, and a connection that misbehaves is closed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/schema.hpp"
#include "daemon/log.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/tls_context.hpp"

namespace sluice::daemon {

struct readiness {
    bool ready = false;
    std::string why;  // shown to whoever asks, when not ready
};

// What the monitoring port shows. Called on the io_context's thread; must not block.
class monitoring_source {
  public:
    virtual ~monitoring_source() = default;
    virtual std::string render_metrics() = 0;
    virtual struct readiness readiness() = 0;
    // JSON for the dashboard: docs/dashboard.md. Statements only for those who may see them.
    virtual std::string render_status(bool with_statements) = 0;
    virtual std::string render_history(double since) = 0;
};

struct monitoring_limits {
    std::size_t connections = 64;                    // more are closed at once
    std::chrono::milliseconds read_timeout{30000};   // until the next request is there, whole
    std::chrono::milliseconds write_timeout{30000};  // until a response is taken, whole
    std::uint32_t header_bytes = 8192;
    std::uint64_t body_bytes = 1024;  // nobody needs one; what fits is ignored
};

class monitoring_server {
  public:
    // Throws std::runtime_error for certificates that cannot be used.
    monitoring_server(boost::asio::io_context& io, const config::monitoring_settings& settings,
                      monitoring_source& source, logger& log, monitoring_limits limits = {});
    ~monitoring_server();  // as stop()
    monitoring_server(const monitoring_server&) = delete;
    monitoring_server& operator=(const monitoring_server&) = delete;

    // On the sockets that are given (it closes them), or else on those of its addresses.
    void start(const std::vector<net::bound_socket>& given = {});
    void stop() noexcept;  // closes listeners and connections; a second time does nothing

    // For a reload: token, users and certificates, for requests and connections from now on. Where
    // it listens, and whether over TLS, stays. `tls` is load_tls() of the same settings.
    void configure(const config::monitoring_settings& settings,
                   std::shared_ptr<const net::tls_context> tls);
    // Reads the certificate's files, on any thread; null without TLS. Throws std::runtime_error.
    [[nodiscard]] static std::shared_ptr<const net::tls_context> load_tls(
        const config::monitoring_settings& settings);

    // When the certificate in use ends, in Unix time; nothing without TLS.
    [[nodiscard]] std::optional<double> certificate_end() const;
    // One for each bound address, in order; tells what port 0 became.
    [[nodiscard]] std::vector<std::uint16_t> ports() const;
    [[nodiscard]] std::size_t connections() const noexcept;

  private:
    class core;
    std::shared_ptr<core> core_;
};

}  // namespace sluice::daemon
