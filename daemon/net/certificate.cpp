#include "daemon/net/certificate.hpp"

#include <openssl/x509.h>

#include <ctime>

namespace sluice::net {

std::optional<double> certificate_end(const tls_context& of) {
    const X509* const shown = SSL_CTX_get0_certificate(of.get());
    std::tm end{};
    if (shown == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(shown), &end) != 1) {
        return std::nullopt;
    }
    return static_cast<double>(timegm(&end));
}

}  // namespace sluice::net
