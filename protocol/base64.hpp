// Base64 of RFC 4648, section 4: padded, no line breaks. Decoding is strict (whitespace, missing
// padding and stray bits in the last character are errors), so a text has one reading only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

[[nodiscard]] std::string base64_encode(byte_span bytes);

[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

// Decodes into `out` if the text stands for exactly out.size() bytes; else false, and `out` holds
// nothing of use. Keys are decoded with this one: no copy of them is left on the heap.
[[nodiscard]] bool base64_decode_into(std::string_view text, std::span<std::uint8_t> out) noexcept;

}  // namespace sluice::protocol
