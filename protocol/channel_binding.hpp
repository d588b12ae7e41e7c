// The channel-binding value tls-server-end-point (RFC 5929, section 4): a hash of the certificate
// the server presented. Computed once per loaded certificate.
#pragma once

#include <openssl/types.h>

#include <string>

namespace sluice::protocol {

// The raw hash of `certificate`, by the hash function of its signature, SHA-256 in place of MD5 and
// SHA-1. Empty if the RFC defines none (such as for Ed25519): then SCRAM-SHA-256-PLUS is not
// offered.
[[nodiscard]] std::string end_point_hash(const X509* certificate);

}  // namespace sluice::protocol
