// The packets without a type byte, which open a client's connection: SSLRequest, GSSENCRequest,
// CancelRequest and StartupMessage; and the order in which they may come (client_opening).
// Bytes in, values out; nothing is kept of the buffer. Confined to the session that owns it.
// Source: PostgreSQL's documentation, "Message Formats" and "Start-up", and its postmaster's
// behaviour where that is silent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/login_error.hpp"
#include "protocol/pg_options.hpp"

namespace sluice::protocol {

// The length field, itself included. PostgreSQL allows 10,000 bytes behind it.
constexpr std::uint32_t first_packet_least = 8;
constexpr std::uint32_t first_packet_most = 10004;

constexpr std::uint16_t newest_minor = 2;  // of protocol 3; 3.1 was never used

enum class replication_kind { none, physical, logical };

struct startup_request {
    std::uint16_t requested_minor = 0;
    std::uint16_t minor = 0;                   // what is spoken from here on: 0 or 2
    bool negotiate = false;                    // send negotiate_protocol_version() first, once
    std::vector<std::string> unknown_options;  // the `_pq_.` parameters: we know none
    std::string user;
    std::string database;  // as given, or else the user's name
    replication_kind replication = replication_kind::none;
    std::string application_name;  // as the settings leave it; empty if they do not name it
    // The run-time parameters, in the order in which PostgreSQL applies them: those of `options`,
    // then those of the packet. A later one of a name (case does not count) overrides an earlier.
    std::vector<setting> settings;

    bool operator==(const startup_request&) const = default;
};

struct cancel_request {
    std::uint32_t process_id = 0;
    std::string secret;  // 4 to 256 bytes; 4 in protocol 3.0

    bool operator==(const cancel_request&) const = default;
};

enum class first_packet_kind {
    need_more,  // the buffer's beginning is fine as far as it goes
    bad,
    direct_tls,  // a TLS ClientHello instead of a packet; nothing is consumed
    ssl_request,
    gssenc_request,
    cancel,
    startup,
};

struct first_packet {
    first_packet_kind kind = first_packet_kind::need_more;
    std::size_t consumed = 0;
    login_error error;        // if bad
    cancel_request cancel;    // if cancel
    startup_request startup;  // if startup
};

[[nodiscard]] first_packet parse_first_packet(byte_span buffer);

// The NegotiateProtocolVersion message for a request that has `negotiate`.
[[nodiscard]] std::string negotiate_protocol_version(const startup_request& request);

// What may follow what:
//
//   state       packet          action        next
//   plain       ClientHello     begin_tls     -> encrypted by tls_started(); only as the very first
//   plain       SSLRequest      answer S      -> encrypted by tls_started(); N if TLS is not
//   offered plain       GSSENCRequest   answer N      plain plain, enc. CancelRequest   cancel over
//   plain, enc. StartupMessage  startup       over
//   any         anything else   fail          over
//
// SSLRequest and GSSENCRequest count once each, and not at all under TLS. Bytes that arrived behind
// one of them are an error: they were sent before its answer, so they may be somebody else's
// (CVE-2021-3935).
enum class tls_offer { no, yes };

struct opening_step {
    enum class kind { need_more, answer, begin_tls, cancel, startup, fail };
    kind what = kind::need_more;
    std::size_t consumed = 0;
    char byte = 0;            // if answer: send this one; after 'S' start TLS
    login_error error;        // if fail
    cancel_request cancel;    // if cancel
    startup_request startup;  // if startup
};

class client_opening {
  public:
    explicit client_opening(tls_offer offer) noexcept : offer_(offer) {}

    // `buffer` is everything received and not consumed yet.
    [[nodiscard]] opening_step step(byte_span buffer);

    // The handshake is done: from now on the buffer is what TLS decrypted. (For begin_tls the
    // caller has checked that ALPN chose "postgresql".)
    void tls_started() noexcept {
        state_ = state::open;
        encrypted_ = true;
    }
    [[nodiscard]] bool encrypted() const noexcept { return encrypted_; }

  private:
    enum class state { open, encrypting, over };

    opening_step fail(login_error error);
    opening_step answer(bool is_ssl, std::size_t consumed, byte_span buffer);

    tls_offer offer_;
    state state_ = state::open;
    bool encrypted_ = false;
    bool any_seen_ = false;
    bool ssl_seen_ = false;
    bool gss_seen_ = false;
};

}  // namespace sluice::protocol
