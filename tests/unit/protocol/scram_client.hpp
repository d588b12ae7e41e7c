// The client's side of SCRAM-SHA-256, written from RFC 5802 for the tests. It shares the primitives
// of scram_verifier.hpp, which have vectors of their own.
#pragma once

#include <string>
#include <string_view>

#include "protocol/base64.hpp"
#include "protocol/saslprep.hpp"
#include "protocol/scram_verifier.hpp"

#include <openssl/evp.h>

namespace sluice::protocol::testing {

class scram_client {
  public:
    scram_client(std::string password, std::string gs2_header = "n,,",
                 std::string binding_data = {}, std::string nonce = "fyko+d2lbbFgONRv9qkxdawL")
        : password_(std::move(password)),
          gs2_header_(std::move(gs2_header)),
          binding_data_(std::move(binding_data)),
          bare_("n=,r=" + nonce) {}

    [[nodiscard]] std::string first() const { return gs2_header_ + bare_; }
    [[nodiscard]] const std::string& bare() const { return bare_; }
    void set_bare(std::string bare) { bare_ = std::move(bare); }

    // The client-final message up to the proof.
    [[nodiscard]] std::string without_proof(std::string_view server_first) const {
        const auto nonce = server_first.substr(0, server_first.find(','));
        return "c=" + base64_encode(as_bytes(gs2_header_ + binding_data_)) + "," +
               std::string{nonce};
    }

    // The proof for it, in base64.
    std::string proof(std::string_view server_first, std::string_view without_proof) {
        const auto salt_at = server_first.find(",s=") + 3;
        const auto rounds_at = server_first.find(",i=") + 3;
        const auto salt =
            base64_decode(server_first.substr(salt_at, rounds_at - 3 - salt_at)).value();
        const auto rounds = std::stoi(std::string{server_first.substr(rounds_at)});
        const auto prepared = saslprep(password_);
        sha256_digest salted;
        PKCS5_PBKDF2_HMAC(prepared.data(), static_cast<int>(prepared.size()), as_bytes(salt).data(),
                          static_cast<int>(salt.size()), rounds, EVP_sha256(), 32, salted.data());
        auth_message_ = bare_ + "," + std::string{server_first} + "," + std::string{without_proof};
        sha256_digest client_key;
        sha256_digest stored_key;
        sha256_digest out;
        hmac_sha256(salted, as_bytes("Client Key"), client_key);
        hmac_sha256(salted, as_bytes("Server Key"), server_key_);
        sha256(client_key, stored_key);
        hmac_sha256(stored_key, as_bytes(auth_message_), out);
        for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] = static_cast<std::uint8_t>(out[i] ^ client_key[i]);
        }
        return base64_encode(out);
    }

    std::string final(std::string_view server_first) {
        const auto head = without_proof(server_first);
        return head + ",p=" + proof(server_first, head);
    }

    // After final(): whether the server has shown that it knows the verifier.
    [[nodiscard]] bool accepts(std::string_view server_final) const {
        sha256_digest signature;
        hmac_sha256(server_key_, as_bytes(auth_message_), signature);
        return server_final == "v=" + base64_encode(signature);
    }

  private:
    std::string password_;
    std::string gs2_header_;
    std::string binding_data_;
    std::string bare_;
    std::string auth_message_;
    sha256_digest server_key_{};
};

}  // namespace sluice::protocol::testing
