// Authentication of one client, between its startup packet and AuthenticationOk. Messages in,
// bytes and verdicts out; confined to the session that owns it. Nothing heavy happens here: a
// cleartext password is handed out to be checked elsewhere (a helper thread, an upstream login).
//
//   state       event                            action            next
//   fresh       start, trust                     accepted          over
//   fresh       start, cert, name is the user's  accepted          over
//   fresh       start, cert, it is not           rejected 28000    over
//   fresh       start, cleartext refused here    rejected 28000    over
//   fresh       start, cleartext                 send R3           password
//   fresh       start, scram                     send R10          mechanism
//   password    'p' password NUL                 check_password    checking
//   password    'p' empty password               rejected 28P01    over
//   checking    password_checked(yes)            accepted          over
//   checking    password_checked(no)             rejected 28P01    over
//   mechanism   'p' mechanism, client-first      send R11          final
//   mechanism   'p' mechanism alone              send R11, empty   first
//   first       'p' client-first                 send R11          final
//   final       'p' client-final, proof right    accepted R12 R0   over
//   final       'p' client-final, proof wrong    rejected 28P01    over
//   any         anything else                    rejected 08P01    over
//
// An unknown user runs through the same states with a verifier that fits no password.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/login_error.hpp"
#include "protocol/scram.hpp"
#include "protocol/secret.hpp"

namespace sluice::protocol {

enum class auth_method { trust, cleartext, scram, cert };
enum class password_transport { protected_or_local, exposed };

struct auth_request {
    auth_method method = auth_method::scram;
    std::string user;  // of the startup packet

    // scram: nothing if there is no such user (or it has no password); then the mock, made from
    // the user's name and `mock_secret` (random, the same for the life of the process), stands in.
    std::optional<scram_verifier> verifier;
    byte_span mock_secret;  // read during construction only, like `nonce`
    unsigned mock_iterations = default_scram_iterations;  // what the real verifiers mostly have
    byte_span nonce;             // scram: scram_nonce_size fresh random bytes
    std::string end_point_hash;  // of our certificate if this client uses TLS: offers PLUS

    // cleartext: `exposed` refuses to ask for a password at all.
    password_transport transport = password_transport::exposed;

    // cert: the names that the client's verified certificate speaks for; empty without one.
    std::vector<std::string> certificate_names;
};

struct auth_action {
    enum class kind { send, accepted, rejected, check_password };
    kind what = kind::rejected;
    std::string bytes;  // if send or accepted: to send (accepted ends with AuthenticationOk)
    secret password;    // if check_password: answer with password_checked()
    login_error error;  // if rejected
};

class client_auth {
  public:
    explicit client_auth(auth_request request);

    // Once, first.
    [[nodiscard]] auth_action start();

    // A whole message of the client: its type and what follows the length field.
    [[nodiscard]] auth_action receive(char type, byte_span payload);

    // After check_password.
    [[nodiscard]] auth_action password_checked(bool matches);

    // How long a payload may be in this state: check it before buffering one.
    [[nodiscard]] std::size_t payload_limit() const noexcept;

  private:
    enum class state { fresh, password, checking, mechanism, first, final, over };

    auth_action reject(const char* sqlstate, std::string message);
    auth_action reject_password();
    auth_action accept(std::string bytes = {});
    auth_action receive_password(byte_span payload);
    auth_action receive_mechanism(byte_span payload);
    auth_action receive_scram(std::string_view message);

    auth_method method_;
    password_transport transport_;
    state state_ = state::fresh;
    std::string user_;
    std::string end_point_hash_;
    bool certificate_matches_ = false;
    scram_account account_ = scram_account::real;
    scram_verifier verifier_;
    std::string nonce_;
    std::optional<scram_server> scram_;
};

}  // namespace sluice::protocol
