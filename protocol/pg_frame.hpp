// Frames of the Postgres protocol after startup: a type byte, a signed 32-bit length that counts
// itself, and the body (PostgreSQL documentation, "Message Formats").
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

struct frame_header {
    static constexpr std::size_t size = 5;

    char type = 0;
    std::uint32_t body = 0;  // bytes behind the header

    [[nodiscard]] std::size_t total() const noexcept { return size + body; }
};

enum class header_status { whole, partial, broken };

// Reads a header at the start of `bytes`. A length below 4 or above 2^30 is broken: PostgreSQL's
// own limit on a message is 1 GiB less one byte.
inline header_status read_header(byte_span bytes, frame_header& out) noexcept {
    if (bytes.size() < frame_header::size) return header_status::partial;
    const auto length = load_u32(bytes.data() + 1);
    if (length < 4 || length > 0x4000'0003U) return header_status::broken;
    out.type = static_cast<char>(bytes[0]);
    out.body = length - 4;
    return header_status::whole;
}

// The fields of an ErrorResponse or NoticeResponse that a pooler looks at.
struct error_fields {
    std::string_view severity;  // the untranslated 'V', or 'S' from servers older than 9.6
    std::string_view sqlstate;
    std::string_view message;
    std::string_view routine;

    [[nodiscard]] bool fatal() const noexcept { return severity == "FATAL" || severity == "PANIC"; }
};

inline error_fields read_error_fields(byte_span body) noexcept {
    error_fields out;
    reader in(body);
    std::string_view localized;
    while (in.ok()) {
        const auto code = static_cast<char>(in.u8());
        if (code == 0) break;
        const auto value = in.text();
        switch (code) {
            case 'S':
                localized = value;
                break;
            case 'V':
                out.severity = value;
                break;
            case 'C':
                out.sqlstate = value;
                break;
            case 'M':
                out.message = value;
                break;
            case 'R':
                out.routine = value;
                break;
            default:
                break;
        }
    }
    if (out.severity.empty()) out.severity = localized;
    return out;
}

}  // namespace sluice::protocol
