// TLS as a filter between bytes: what came from the socket goes in, plaintext comes out, and the
// other way round. It never touches a descriptor, so one path serves our clients and connections
// taken over from libpq, whose SSL* gets memory instead of libpq's socket underneath.
// Worker-confined. The SSL* is freed only if it is ours.
#pragma once

#include <openssl/ssl.h>

#include <string>
#include <vector>

#include "protocol/rx_buffer.hpp"

namespace sluice::net {

class tls_filter {
  public:
    enum class ownership { ours, borrowed };
    enum class status { fine, closed, failed };

    // Server side of a new session.
    explicit tls_filter(SSL_CTX* context);
    // An established session of libpq's.
    explicit tls_filter(SSL* established);
    ~tls_filter();
    tls_filter(const tls_filter&) = delete;
    tls_filter& operator=(const tls_filter&) = delete;

    // Takes bytes from the socket; plaintext is appended to `plain`, and what the peer must be
    // sent (handshake, alerts) to `cipher`.
    [[nodiscard]] status receive(protocol::byte_span bytes, protocol::rx_buffer& plain,
                                 std::string& cipher);
    // Encrypts; the handshake must be over.
    [[nodiscard]] bool encrypt(protocol::byte_span plain, std::string& cipher);
    void say_goodbye(std::string& cipher);

    [[nodiscard]] bool established() const noexcept { return established_; }
    [[nodiscard]] SSL* ssl() const noexcept { return ssl_; }
    [[nodiscard]] std::string selected_alpn() const;
    // Names that the peer's verified certificate speaks for (its common name); empty without one.
    [[nodiscard]] std::vector<std::string> peer_names() const;

  private:
    void use_memory();
    void collect(std::string& cipher);

    SSL* ssl_;
    BIO* from_peer_ = nullptr;  // owned by ssl_
    BIO* to_peer_ = nullptr;
    ownership owner_;
    bool established_ = false;
};

}  // namespace sluice::net
