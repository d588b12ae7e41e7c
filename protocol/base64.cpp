#include "protocol/base64.hpp"

#include <array>

namespace sluice::protocol {

namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::uint8_t no_digit = 0xff;

constexpr auto digits = [] {
    std::array<std::uint8_t, 256> table{};
    table.fill(no_digit);
    for (std::size_t i = 0; i < alphabet.size(); ++i) {
        table[static_cast<std::uint8_t>(alphabet[i])] = static_cast<std::uint8_t>(i);
    }
    return table;
}();

// The number of bytes a well-padded text stands for, or nothing.
std::optional<std::size_t> decoded_size(std::string_view text) noexcept {
    if (text.size() % 4 != 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') {
        ++padding;
    }
    return text.size() / 4 * 3 - padding;
}

}  // namespace

std::string base64_encode(byte_span bytes) {
    std::string out((bytes.size() + 2) / 3 * 4, '=');
    char* to = out.data();
    for (std::size_t at = 0; at < bytes.size(); at += 3, to += 4) {
        const std::size_t have = bytes.size() - at < 3 ? bytes.size() - at : 3;
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            group = (group << 8) | (i < have ? bytes[at + i] : 0U);
        }
        for (std::size_t i = 0; i <= have; ++i)
            to[i] = alphabet[(group >> (18 - 6 * i)) & 0x3f];
    }
    return out;
}

bool base64_decode_into(std::string_view text, std::span<std::uint8_t> out) noexcept {
    const auto size = decoded_size(text);
    if (!size || *size != out.size()) return false;
    std::size_t written = 0;
    std::uint32_t bits = 0;
    unsigned held = 0;  // how many low bits of `bits` are not written yet
    for (const char c : text.substr(0, (out.size() * 8 + 5) / 6)) {
        const auto digit = digits[static_cast<std::uint8_t>(c)];
        if (digit == no_digit) return false;
        bits = (bits << 6) | digit;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[written++] = static_cast<std::uint8_t>(bits >> held);
            bits &= (1U << held) - 1;
        }
    }
    return bits == 0;  // the last character carries no bits beyond the last byte
}

std::optional<std::string> base64_decode(std::string_view text) {
    const auto size = decoded_size(text);
    if (!size) return std::nullopt;
    std::string out(*size, '\0');
    const std::span<std::uint8_t> into{reinterpret_cast<std::uint8_t*>(out.data()), out.size()};
    if (!base64_decode_into(text, into)) return std::nullopt;
    return out;
}

}  // namespace sluice::protocol
