#include "protocol/pg_startup.hpp"

#include <algorithm>
#include <optional>

// packet         = length:u32 body
// body           = 1234.5679 (SSLRequest) | 1234.5680 (GSSENCRequest)
//                | 1234.5678 process_id:u32 secret (CancelRequest)
//                | 3.minor *(name NUL value NUL) NUL
// where major.minor is a u32 of two u16. A ClientHello begins with 0x16, which as the first byte of
// a length would be far above the limit.

namespace sluice::protocol {

namespace {

constexpr std::uint32_t version(std::uint32_t major, std::uint32_t minor) {
    return (major << 16) | minor;
}

constexpr std::uint32_t cancel_code = version(1234, 5678);
constexpr std::uint32_t ssl_code = version(1234, 5679);
constexpr std::uint32_t gssenc_code = version(1234, 5680);
constexpr std::uint8_t tls_handshake = 0x16;
constexpr std::size_t least_cancel_secret = 4;
constexpr std::size_t most_cancel_secret = 256;

first_packet bad(const char* sqlstate, std::string message, std::string hint = {}) {
    first_packet out;
    out.kind = first_packet_kind::bad;
    out.error = {sqlstate, std::move(message), std::move(hint)};
    return out;
}

first_packet unsupported_version(std::uint32_t code) {
    return bad(sqlstate::feature_not_supported,
               "unsupported frontend protocol " + std::to_string(code >> 16) + "." +
                   std::to_string(code & 0xffff) + ": server supports 3.0 to 3." +
                   std::to_string(newest_minor));
}

constexpr char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

// PostgreSQL's reading of a boolean: any beginning that is not ambiguous.
std::optional<bool> parse_bool(std::string_view text) noexcept {
    const auto begins = [text](std::string_view word, std::size_t least) {
        return text.size() >= least && text.size() <= word.size() &&
               equal_ignoring_case(text, word.substr(0, text.size()));
    };
    if (begins("true", 1) || begins("yes", 1) || begins("on", 2) || text == "1") return true;
    if (begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0") return false;
    return std::nullopt;
}

std::optional<replication_kind> parse_replication(std::string_view text) noexcept {
    if (text == "database") return replication_kind::logical;
    const auto on = parse_bool(text);
    if (!on) return std::nullopt;
    return *on ? replication_kind::physical : replication_kind::none;
}

first_packet parse_cancel(reader in) {
    first_packet out;
    out.kind = first_packet_kind::cancel;
    out.cancel.process_id = in.u32();
    const auto secret = in.take_rest();
    if (!in.ok() || secret.size() < least_cancel_secret || secret.size() > most_cancel_secret) {
        return bad(sqlstate::protocol_violation, "invalid length of cancel request packet");
    }
    out.cancel.secret = as_text(secret);
    return out;
}

// The parameters of a startup packet; `options` is left to the caller, to come before the others.
std::optional<first_packet> read_parameters(reader& in, startup_request& request,
                                            std::string& options) {
    for (;;) {
        const auto name = in.text();
        if (name.empty()) break;  // the terminator, or no zero found
        const auto value = in.text();
        if (!in.ok()) break;
        if (name == "user") {
            request.user = value;
        } else if (name == "database") {
            request.database = value;
        } else if (name == "options") {
            options = value;
        } else if (name == "replication") {
            const auto kind = parse_replication(value);
            if (!kind) {
                return bad(
                    sqlstate::invalid_parameter_value,
                    "invalid value for parameter \"replication\": \"" + std::string{value} + "\"",
                    "Valid values are: \"false\", 0, \"true\", 1, \"database\".");
            }
            request.replication = *kind;
        } else if (name.starts_with("_pq_.")) {
            request.unknown_options.emplace_back(name);
        } else {
            request.settings.emplace_back(name, value);
        }
    }
    if (!in.at_end()) {
        return bad(sqlstate::protocol_violation,
                   "invalid startup packet layout: expected terminator as last byte");
    }
    return std::nullopt;
}

first_packet parse_startup(std::uint32_t code, reader in) {
    first_packet out;
    out.kind = first_packet_kind::startup;
    auto& request = out.startup;
    std::string options;
    if (auto failure = read_parameters(in, request, options)) return std::move(*failure);

    request.requested_minor = static_cast<std::uint16_t>(code & 0xffff);
    request.minor = request.requested_minor >= newest_minor ? newest_minor : 0;
    request.negotiate =
        request.minor != request.requested_minor || !request.unknown_options.empty();

    if (request.user.empty()) {
        return bad(sqlstate::invalid_authorization,
                   "no PostgreSQL user name specified in startup packet");
    }
    if (request.database.empty()) request.database = request.user;

    std::vector<setting> from_options;
    if (auto error = parse_options(options, from_options)) {
        return bad(error->sqlstate, std::move(error->message), std::move(error->hint));
    }
    request.settings.insert(request.settings.begin(), std::make_move_iterator(from_options.begin()),
                            std::make_move_iterator(from_options.end()));
    for (const auto& [name, value] : request.settings) {
        if (equal_ignoring_case(name, "application_name")) request.application_name = value;
    }
    return out;
}

}  // namespace

first_packet parse_first_packet(byte_span buffer) {
    if (buffer.empty()) return {};
    if (buffer[0] == tls_handshake) {
        first_packet out;
        out.kind = first_packet_kind::direct_tls;
        return out;
    }
    if (buffer.size() < 4) return {};
    const auto length = load_u32(buffer.data());
    if (length < first_packet_least || length > first_packet_most) {
        return bad(sqlstate::protocol_violation, "invalid length of startup packet");
    }
    if (buffer.size() < length) return {};

    reader in{buffer.subspan(4, length - 4)};
    const auto code = in.u32();
    first_packet out;
    if (code == ssl_code || code == gssenc_code) {
        if (!in.at_end()) {
            out = bad(sqlstate::protocol_violation, "invalid length of startup packet");
        } else {
            out.kind = code == ssl_code ? first_packet_kind::ssl_request
                                        : first_packet_kind::gssenc_request;
        }
    } else if (code == cancel_code) {
        out = parse_cancel(in);
    } else if ((code >> 16) == 3) {
        out = parse_startup(code, in);
    } else {
        out = unsupported_version(code);
    }
    out.consumed = length;
    return out;
}

// 'v' length:u32 newest:u32 count:u32 *(option NUL). `newest` is the whole version, 3.minor.
std::string negotiate_protocol_version(const startup_request& request) {
    std::string out(13, '\0');
    out[0] = 'v';
    for (const auto& option : request.unknown_options) {
        out += option;
        out += '\0';
    }
    store_u32(out.data() + 1, static_cast<std::uint32_t>(out.size() - 1));
    store_u32(out.data() + 5, version(3, request.minor));
    store_u32(out.data() + 9, static_cast<std::uint32_t>(request.unknown_options.size()));
    return out;
}

opening_step client_opening::fail(login_error error) {
    state_ = state::over;
    opening_step out;
    out.what = opening_step::kind::fail;
    out.error = std::move(error);
    return out;
}

opening_step client_opening::answer(bool is_ssl, std::size_t consumed, byte_span buffer) {
    // Inside TLS, or for the second time, these codes are nothing but odd protocol versions.
    auto& seen = is_ssl ? ssl_seen_ : gss_seen_;
    if (seen || encrypted_) {
        return fail(unsupported_version(is_ssl ? ssl_code : gssenc_code).error);
    }
    seen = true;
    if (buffer.size() > consumed) {
        return fail({sqlstate::protocol_violation,
                     is_ssl ? "received unencrypted data after SSL request"
                            : "received unencrypted data after GSSAPI encryption request",
                     {}});
    }
    opening_step out;
    out.what = opening_step::kind::answer;
    out.consumed = consumed;
    out.byte = is_ssl && offer_ == tls_offer::yes ? 'S' : 'N';
    if (out.byte == 'S') state_ = state::encrypting;
    return out;
}

opening_step client_opening::step(byte_span buffer) {
    if (state_ != state::open) {
        return fail(
            {sqlstate::protocol_violation, "unexpected data before the connection is set up", {}});
    }
    auto packet = parse_first_packet(buffer);
    const bool first = !any_seen_;
    opening_step out;
    out.consumed = packet.consumed;
    if (packet.kind != first_packet_kind::need_more) any_seen_ = true;
    switch (packet.kind) {
        case first_packet_kind::need_more:
            break;
        case first_packet_kind::bad:
            return fail(std::move(packet.error));
        case first_packet_kind::direct_tls:
            if (!first || encrypted_ || offer_ == tls_offer::no) {
                return fail({sqlstate::protocol_violation, "unexpected TLS handshake", {}});
            }
            state_ = state::encrypting;
            out.what = opening_step::kind::begin_tls;
            break;
        case first_packet_kind::ssl_request:
            return answer(true, packet.consumed, buffer);
        case first_packet_kind::gssenc_request:
            return answer(false, packet.consumed, buffer);
        case first_packet_kind::cancel:
            state_ = state::over;
            out.what = opening_step::kind::cancel;
            out.cancel = std::move(packet.cancel);
            break;
        case first_packet_kind::startup:
            state_ = state::over;
            out.what = opening_step::kind::startup;
            out.startup = std::move(packet.startup);
            break;
    }
    return out;
}

}  // namespace sluice::protocol
