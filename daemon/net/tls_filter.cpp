#include "daemon/net/tls_filter.hpp"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <array>

namespace sluice::net {

tls_filter::tls_filter(SSL_CTX* context) : ssl_(SSL_new(context)), owner_(ownership::ours) {
    SSL_set_accept_state(ssl_);
    use_memory();
}

tls_filter::tls_filter(SSL* established)
    : ssl_(established), owner_(ownership::borrowed), established_(true) {
    use_memory();
}

tls_filter::~tls_filter() {
    if (owner_ == ownership::ours) SSL_free(ssl_);
}

void tls_filter::use_memory() {
    from_peer_ = BIO_new(BIO_s_mem());
    to_peer_ = BIO_new(BIO_s_mem());
    // An empty buffer means "not yet", not the end of the stream.
    BIO_set_mem_eof_return(from_peer_, -1);
    BIO_set_mem_eof_return(to_peer_, -1);
    SSL_set_bio(ssl_, from_peer_, to_peer_);
    SSL_set_mode(ssl_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                           SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
}

void tls_filter::collect(std::string& cipher) {
    char* data = nullptr;
    const long n = BIO_get_mem_data(to_peer_, &data);
    if (n <= 0) return;
    cipher.append(data, static_cast<std::size_t>(n));
    static_cast<void>(BIO_reset(to_peer_));
}

tls_filter::status tls_filter::receive(protocol::byte_span bytes, protocol::rx_buffer& plain,
                                       std::string& cipher) {
    if (!bytes.empty() && BIO_write(from_peer_, bytes.data(), static_cast<int>(bytes.size())) !=
                              static_cast<int>(bytes.size())) {
        return status::failed;
    }
    ERR_clear_error();
    if (!established_) {
        const int done = SSL_do_handshake(ssl_);
        collect(cipher);
        if (done != 1) {
            const int why = SSL_get_error(ssl_, done);
            return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? status::fine
                                                                             : status::failed;
        }
        established_ = true;
    }
    for (;;) {
        const auto room = plain.prepare(plain.size() + 8192);
        ERR_clear_error();
        const int n = SSL_read(ssl_, room.data(), static_cast<int>(room.size()));
        if (n > 0) {
            plain.commit(static_cast<std::size_t>(n));
            continue;
        }
        const int why = SSL_get_error(ssl_, n);
        collect(cipher);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return status::fine;
        return why == SSL_ERROR_ZERO_RETURN ? status::closed : status::failed;
    }
}

bool tls_filter::encrypt(protocol::byte_span plain, std::string& cipher) {
    while (!plain.empty()) {
        ERR_clear_error();
        std::size_t taken = 0;
        if (SSL_write_ex(ssl_, plain.data(), plain.size(), &taken) != 1) return false;
        plain = plain.subspan(taken);
    }
    collect(cipher);
    return true;
}

void tls_filter::say_goodbye(std::string& cipher) {
    if (!established_) return;
    ERR_clear_error();
    SSL_shutdown(ssl_);
    ERR_clear_error();
    collect(cipher);
}

std::string tls_filter::selected_alpn() const {
    const unsigned char* name = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_, &name, &length);
    return {reinterpret_cast<const char*>(name), length};
}

std::vector<std::string> tls_filter::peer_names() const {
    X509* certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
    std::vector<std::string> names;
    auto* subject = X509_get_subject_name(certificate);
    for (int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0;
         at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) {
        unsigned char* text = nullptr;
        const int n =
            ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        if (n < 0) continue;
        std::string name(reinterpret_cast<char*>(text), static_cast<std::size_t>(n));
        OPENSSL_free(text);
        // A zero inside would make one name look like another to whoever stops at it.
        if (name.find('\0') == std::string::npos) names.push_back(std::move(name));
    }
    return names;
}

}  // namespace sluice::net
