// What a configured password may look like. The check is of the form only: computing with verifiers
// is the protocol folder's work, which this folder does not know.
#pragma once

#include <string_view>

namespace sluice::config {

// Begins as a SCRAM verifier does, so that it must be one.
[[nodiscard]] bool is_verifier(std::string_view password) noexcept;

// As PostgreSQL writes one: md5 and 32 hexadecimal digits.
[[nodiscard]] bool is_md5_hash(std::string_view password) noexcept;

// Throws bad_value for a malformed SCRAM verifier and for an MD5 hash.
void check_password(std::string_view password);

}  // namespace sluice::config
