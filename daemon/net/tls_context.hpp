// The server side's TLS settings, loaded from files: certificate, key, client CA, protocol
// versions, ALPN. Immutable once loaded; a reload makes a new one, and sessions keep the one they
// began with.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "config/schema.hpp"

namespace sluice::net {

class tls_context {
  public:
    // Throws std::runtime_error that names the file and what is wrong with it.
    tls_context(const config::tls_settings& settings, bool client_certificates);

    [[nodiscard]] SSL_CTX* get() const noexcept { return context_.get(); }
    // tls-server-end-point channel binding (RFC 5929); empty if the certificate has none.
    [[nodiscard]] const std::string& end_point_hash() const noexcept { return end_point_hash_; }

  private:
    struct deleter {
        void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    };
    std::unique_ptr<SSL_CTX, deleter> context_;
    std::string end_point_hash_;
};

}  // namespace sluice::net
