// The server side's TLS settings, loaded from files: certificate, key, client CA, protocol
// versions, ALPN. Immutable once loaded; a reload makes a new one, and sessions keep the one they
// began with.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "config/schema.hpp"

namespace sluice::net {

// A file that cannot be used. what() names the setting, the file and the problem.
struct tls_file_error : std::runtime_error {
    tls_file_error(std::string setting, const std::string& file, const std::string& what_is_wrong)
        : std::runtime_error("tls." + setting + " \"" + file + "\": " + what_is_wrong),
          key(std::move(setting)),
          problem("\"" + file + "\": " + what_is_wrong) {}

    std::string key;      // certificate, key or client_ca
    std::string problem;  // with the file's name
};

class tls_context {
  public:
    // With settings.client_ca peers are asked for a certificate, and must show one if the mode
    // says so. Throws tls_file_error.
    explicit tls_context(const config::tls_settings& settings);

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
