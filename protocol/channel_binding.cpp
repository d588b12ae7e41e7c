#include "protocol/channel_binding.hpp"

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>

namespace sluice::protocol {

std::string end_point_hash(const X509* certificate) {
    if (certificate == nullptr) return {};
    // X509_get_signature_info, unlike OBJ_find_sigid_algs, reads the hash out of RSA-PSS's
    // parameters. It caches in the certificate, hence the cast.
    int hash = NID_undef;
    if (X509_get_signature_info(const_cast<X509*>(certificate), &hash, nullptr, nullptr, nullptr) !=
        1) {
        return {};
    }
    const EVP_MD* algorithm = nullptr;
    switch (hash) {
        case NID_undef:
            return {};
        case NID_md5:
        case NID_sha1:
            algorithm = EVP_sha256();
            break;
        default:
            algorithm = EVP_get_digestbynid(hash);
            break;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (algorithm == nullptr || X509_digest(certificate, algorithm, digest, &size) != 1) return {};
    return {reinterpret_cast<const char*>(digest), size};
}

}  // namespace sluice::protocol
