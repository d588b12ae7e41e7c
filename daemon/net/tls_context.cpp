#include "daemon/net/tls_context.hpp"

#include <openssl/err.h>

#include "protocol/channel_binding.hpp"

namespace sluice::net {

namespace {

constexpr unsigned char postgresql_alpn[] = "\x0apostgresql";

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
                unsigned in_length, void*) {
    unsigned char* chosen = nullptr;
    const int found = SSL_select_next_proto(&chosen, out_length, postgresql_alpn,
                                            sizeof postgresql_alpn - 1, in, in_length);
    if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

void require(bool fine, const char* key, const std::string& file, const char* lead = "") {
    if (fine) return;
    const char* reason = ERR_reason_error_string(ERR_get_error());
    throw tls_file_error(key, file,
                         std::string(lead) + (reason != nullptr ? reason : "cannot be read"));
}

}  // namespace

tls_context::tls_context(const config::tls_settings& settings)
    : context_(SSL_CTX_new(TLS_server_method())) {
    ERR_clear_error();
    auto* context = context_.get();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_alpn_select_cb(context, &select_alpn, nullptr);
    require(SSL_CTX_use_certificate_chain_file(context, settings.certificate.c_str()) == 1,
            "certificate", settings.certificate);
    require(SSL_CTX_use_PrivateKey_file(context, settings.key.c_str(), SSL_FILETYPE_PEM) == 1,
            "key", settings.key);
    require(SSL_CTX_check_private_key(context) == 1, "key", settings.key,
            "does not fit the certificate: ");
    if (!settings.client_ca.empty()) {
        require(SSL_CTX_load_verify_locations(context, settings.client_ca.c_str(), nullptr) == 1,
                "client_ca", settings.client_ca);
        SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(settings.client_ca.c_str()));
        const bool needed = settings.mode == config::tls_mode::verify_ca ||
                            settings.mode == config::tls_mode::verify_full;
        SSL_CTX_set_verify(
            context, SSL_VERIFY_PEER | (needed ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
    }
    end_point_hash_ = protocol::end_point_hash(SSL_CTX_get0_certificate(context));
}

}  // namespace sluice::net
