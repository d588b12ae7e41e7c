// What a server keeps of a password for SCRAM-SHA-256 (RFC 5802, 7677): enough to check a login,
// not enough to log in elsewhere. The text form is PostgreSQL's (pg_authid.rolpassword).
// derive_verifier, make_verifier and verify_password cost about a millisecond (4096 rounds of
// HMAC): never on an event loop. Everything here is a pure function and safe on any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

using sha256_digest = std::array<std::uint8_t, 32>;

constexpr unsigned default_scram_iterations = 4096;
constexpr std::size_t default_scram_salt_size = 16;

struct scram_verifier {
    unsigned iterations = 0;
    std::string salt;  // raw bytes
    sha256_digest stored_key{};
    sha256_digest server_key{};

    bool operator==(const scram_verifier&) const = default;
};

// SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, the last three in base64.
[[nodiscard]] std::optional<scram_verifier> parse_verifier(std::string_view text);
[[nodiscard]] std::string format_verifier(const scram_verifier& verifier);

// Throws std::runtime_error if libcrypto fails (out of memory) or `iterations` is 0.
[[nodiscard]] scram_verifier derive_verifier(std::string_view password, byte_span salt,
                                             unsigned iterations);
[[nodiscard]] std::string make_verifier(std::string_view password, byte_span salt,
                                        unsigned iterations = default_scram_iterations);

[[nodiscard]] bool verify_password(std::string_view password, const scram_verifier& verifier);

// Equality of two passwords in a time that depends on neither's content.
[[nodiscard]] bool same_password(std::string_view a, std::string_view b) noexcept;

// A verifier for a user that does not exist: always the same one for a name while `server_secret`
// lasts, and of the shape that real ones have. No password matches it.
[[nodiscard]] scram_verifier mock_verifier(std::string_view user, byte_span server_secret,
                                           unsigned iterations = default_scram_iterations);

// One-shot primitives, for scram.cpp.
void hmac_sha256(byte_span key, byte_span message, sha256_digest& out) noexcept;
void sha256(byte_span message, sha256_digest& out) noexcept;

}  // namespace sluice::protocol
