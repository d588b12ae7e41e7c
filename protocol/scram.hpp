// The server's side of one SCRAM-SHA-256 or SCRAM-SHA-256-PLUS exchange (RFC 5802, 7677; binding
// tls-server-end-point of RFC 5929), text in and text out. Confined to its owner; no randomness of
// its own: the caller passes the nonce. Costs about 1 µs of hashing a login.
// It follows PostgreSQL: the user name in the exchange is ignored (the startup packet's counts),
// authorization identities and mandatory extensions are refused, optional ones skipped.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "protocol/bytes.hpp"
#include "protocol/login_error.hpp"
#include "protocol/scram_verifier.hpp"

namespace sluice::protocol {

inline constexpr std::string_view scram_sha_256 = "SCRAM-SHA-256";
inline constexpr std::string_view scram_sha_256_plus = "SCRAM-SHA-256-PLUS";

constexpr std::size_t scram_nonce_size = 18;       // random bytes, as PostgreSQL's
constexpr std::size_t scram_message_limit = 1024;  // of a client's message, as PostgreSQL's

// `mock`: nobody may get in with this verifier; the exchange runs to its end and fails there.
enum class scram_account { real, mock };
// What the server announced and the client chose. `not_offered`: PLUS was not on the list.
enum class scram_binding { not_offered, offered_not_chosen, chosen };

enum class scram_failure { none, malformed, unsupported, binding_mismatch, wrong_proof };

struct scram_step {
    enum class kind { continue_with, done_with, failed };
    kind what = kind::failed;
    std::string text;                             // to send, unless failed
    scram_failure failure = scram_failure::none;  // why it failed; wrong_proof: a wrong password
    login_error error;  // empty for wrong_proof, whose text names the user
};

class scram_server {
  public:
    // `end_point_hash` is the hash of the server's certificate; used if `binding` is `chosen`.
    // `nonce` is our part of it: printable, no comma, unpredictable (base64 of scram_nonce_size
    // random bytes).
    scram_server(scram_verifier verifier, scram_account account, scram_binding binding,
                 byte_span end_point_hash, std::string_view nonce);
    ~scram_server();
    scram_server(const scram_server&) = delete;
    scram_server& operator=(const scram_server&) = delete;

    // Takes the client's next message. After done_with or failed every further step fails.
    [[nodiscard]] scram_step step(std::string_view client_message);

  private:
    enum class state { first, final, over };

    scram_step first(std::string_view message);
    scram_step final(std::string_view message);
    std::optional<scram_step> check_gs2_header(std::string_view header);
    bool proof_is_right(const sha256_digest& proof, std::string_view auth_message) const;

    scram_verifier verifier_;
    scram_account account_;
    scram_binding binding_;
    state state_ = state::first;
    std::string end_point_hash_;
    std::string server_nonce_;
    std::string nonce_;       // the client's and ours
    std::string gs2_header_;  // as the client sent it; comes back inside c=
    std::string client_first_bare_;
    std::string server_first_;
};

}  // namespace sluice::protocol
