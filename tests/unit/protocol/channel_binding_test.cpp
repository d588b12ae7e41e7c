#include "protocol/channel_binding.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <memory>

namespace sluice::protocol {
namespace {

template <class T, void (*Free)(T*)>
struct freer {
    void operator()(T* object) const { Free(object); }
};
using key_ptr = std::unique_ptr<EVP_PKEY, freer<EVP_PKEY, EVP_PKEY_free>>;
using certificate_ptr = std::unique_ptr<X509, freer<X509, X509_free>>;

key_ptr make_key(const char* type) {
    if (std::string_view{type} == "RSA")
        return key_ptr{EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{2048})};
    if (std::string_view{type} == "EC")
        return key_ptr{EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")};
    return key_ptr{EVP_PKEY_Q_keygen(nullptr, nullptr, type)};
}

// A self-signed certificate, signed with `hash` (nullptr: the key's own), PSS-padded if asked.
certificate_ptr make_certificate(EVP_PKEY* key, const EVP_MD* hash, bool pss = false) {
    certificate_ptr out{X509_new()};
    X509_set_version(out.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(out.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(out.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(out.get()), 3600);
    X509_set_pubkey(out.get(), key);
    auto* const context = EVP_MD_CTX_new();
    EVP_PKEY_CTX* padding = nullptr;
    EXPECT_EQ(EVP_DigestSignInit(context, &padding, hash, nullptr, key), 1);
    if (pss) {
        EXPECT_EQ(EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING), 1);
    }
    EXPECT_GT(X509_sign_ctx(out.get(), context), 0);
    EVP_MD_CTX_free(context);
    return out;
}

std::string digest_of(const X509* certificate, const EVP_MD* hash) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EXPECT_EQ(X509_digest(certificate, hash, out, &size), 1);
    return {reinterpret_cast<const char*>(out), size};
}

TEST(channel_binding, hash_is_the_one_of_the_signature) {
    const auto rsa = make_key("RSA");
    const auto ec = make_key("EC");
    for (const auto* hash : {EVP_sha224(), EVP_sha256(), EVP_sha384(), EVP_sha512()}) {
        for (auto* key : {rsa.get(), ec.get()}) {
            const auto certificate = make_certificate(key, hash);
            EXPECT_EQ(end_point_hash(certificate.get()), digest_of(certificate.get(), hash));
        }
    }
}

TEST(channel_binding, weak_hash_is_replaced_by_sha256) {
    const auto rsa = make_key("RSA");
    for (const auto* hash : {EVP_md5(), EVP_sha1()}) {
        const auto certificate = make_certificate(rsa.get(), hash);
        EXPECT_EQ(end_point_hash(certificate.get()), digest_of(certificate.get(), EVP_sha256()));
    }
}

TEST(channel_binding, pss_signature_uses_the_hash_of_its_parameters) {
    const auto rsa = make_key("RSA");
    const auto certificate = make_certificate(rsa.get(), EVP_sha384(), true);
    EXPECT_EQ(end_point_hash(certificate.get()), digest_of(certificate.get(), EVP_sha384()));
}

TEST(channel_binding, signature_without_a_hash_gives_nothing) {
    const auto key = make_key("ED25519");
    const auto certificate = make_certificate(key.get(), nullptr);
    EXPECT_EQ(end_point_hash(certificate.get()), "");
    EXPECT_EQ(end_point_hash(nullptr), "");
}

}  // namespace
}  // namespace sluice::protocol
