#include "protocol/pg_auth.hpp"

#include <algorithm>

#include "protocol/base64.hpp"

namespace sluice::protocol {

namespace {

// Authentication messages: 'R' length:u32 code:u32 body.
enum class auth_code : std::uint32_t {
    ok = 0,
    cleartext_password = 3,
    sasl = 10,  // body: the mechanisms, each NUL-terminated, and a NUL
    sasl_continue = 11,
    sasl_final = 12,
};

std::string authentication(auth_code code, std::string_view body = {}) {
    std::string out(9, '\0');
    out[0] = 'R';
    store_u32(out.data() + 1, static_cast<std::uint32_t>(8 + body.size()));
    store_u32(out.data() + 5, static_cast<std::uint32_t>(code));
    out += body;
    return out;
}

// What PostgreSQL takes at most.
constexpr std::size_t password_limit = 65535;

constexpr std::uint32_t no_initial_response = 0xffffffff;

void wipe_keys(scram_verifier& verifier) noexcept {
    OPENSSL_cleanse(verifier.stored_key.data(), verifier.stored_key.size());
    OPENSSL_cleanse(verifier.server_key.data(), verifier.server_key.size());
}

}  // namespace

client_auth::client_auth(auth_request request)
    : method_(request.method),
      transport_(request.transport),
      user_(std::move(request.user)),
      end_point_hash_(std::move(request.end_point_hash)) {
    certificate_matches_ =
        std::find(request.certificate_names.begin(), request.certificate_names.end(), user_) !=
        request.certificate_names.end();
    if (method_ != auth_method::scram) return;
    nonce_ = base64_encode(request.nonce);
    // The mock is made in every case, so that the time taken does not tell them apart.
    verifier_ = mock_verifier(user_, request.mock_secret, request.mock_iterations);
    account_ = request.verifier ? scram_account::real : scram_account::mock;
    if (request.verifier) {
        verifier_ = *request.verifier;
        wipe_keys(*request.verifier);
    }
}

auth_action client_auth::reject(const char* sqlstate, std::string message) {
    state_ = state::over;
    scram_.reset();
    auth_action out;
    out.error = {sqlstate, std::move(message), {}};
    return out;
}

// The one answer to a wrong password and to a user that does not exist.
auth_action client_auth::reject_password() {
    return reject(sqlstate::invalid_password,
                  "password authentication failed for user \"" + user_ + "\"");
}

auth_action client_auth::accept(std::string bytes) {
    state_ = state::over;
    scram_.reset();
    auth_action out;
    out.what = auth_action::kind::accepted;
    out.bytes = std::move(bytes) + authentication(auth_code::ok);
    return out;
}

auth_action client_auth::start() {
    if (state_ != state::fresh) return reject(sqlstate::protocol_violation, "already started");
    auth_action out;
    out.what = auth_action::kind::send;
    switch (method_) {
        case auth_method::trust:
            return accept();
        case auth_method::cert:
            if (certificate_matches_) return accept();
            return reject(sqlstate::invalid_authorization,
                          "certificate authentication failed for user \"" + user_ + "\"");
        case auth_method::cleartext:
            if (transport_ == password_transport::exposed) {
                return reject(sqlstate::invalid_authorization,
                              "a cleartext password is taken only over TLS or from this host");
            }
            state_ = state::password;
            out.bytes = authentication(auth_code::cleartext_password);
            return out;
        case auth_method::scram:
            break;
    }
    state_ = state::mechanism;
    std::string mechanisms;
    if (!end_point_hash_.empty()) {
        mechanisms += scram_sha_256_plus;
        mechanisms += '\0';
    }
    mechanisms += scram_sha_256;
    mechanisms.append(2, '\0');
    out.bytes = authentication(auth_code::sasl, mechanisms);
    return out;
}

std::size_t client_auth::payload_limit() const noexcept {
    return method_ == auth_method::cleartext ? password_limit : scram_message_limit;
}

auth_action client_auth::receive(char type, byte_span payload) {
    if (type != 'p') {
        return reject(
            sqlstate::protocol_violation,
            "expected " + std::string{method_ == auth_method::scram ? "SASL" : "password"} +
                " response, got message type " + std::to_string(static_cast<unsigned char>(type)));
    }
    if (payload.size() > payload_limit()) {
        return reject(sqlstate::protocol_violation, "invalid message length");
    }
    switch (state_) {
        case state::password:
            return receive_password(payload);
        case state::mechanism:
            return receive_mechanism(payload);
        case state::first:
        case state::final:
            return receive_scram(as_text(payload));
        case state::fresh:
        case state::checking:
        case state::over:
            break;
    }
    return reject(sqlstate::protocol_violation, "unexpected password message");
}

auth_action client_auth::receive_password(byte_span payload) {
    reader in{payload};
    const auto password = in.text();
    if (!in.at_end()) return reject(sqlstate::protocol_violation, "invalid password packet size");
    // PostgreSQL takes no empty password either: some of what it might be checked against would.
    if (password.empty()) {
        return reject(sqlstate::invalid_password, "empty password returned by client");
    }
    state_ = state::checking;
    auth_action out;
    out.what = auth_action::kind::check_password;
    out.password = secret{password};
    return out;
}

auth_action client_auth::password_checked(bool matches) {
    if (state_ != state::checking) {
        return reject(sqlstate::protocol_violation, "no password was asked for");
    }
    return matches ? accept() : reject_password();
}

// SASLInitialResponse: mechanism NUL length:u32 response; length -1 if there is no response.
auth_action client_auth::receive_mechanism(byte_span payload) {
    reader in{payload};
    const auto mechanism = in.text();
    const auto length = in.u32();
    const auto response = in.take_rest();
    const bool is_absent = length == no_initial_response;
    if (!in.ok() || response.size() != (is_absent ? 0 : length)) {
        return reject(sqlstate::protocol_violation, "malformed SASLInitialResponse message");
    }
    const bool plus_offered = !end_point_hash_.empty();
    const bool plus = plus_offered && mechanism == scram_sha_256_plus;
    if (!plus && mechanism != scram_sha_256) {
        return reject(sqlstate::protocol_violation,
                      "client selected an invalid SASL authentication mechanism");
    }
    const auto binding = plus           ? scram_binding::chosen
                         : plus_offered ? scram_binding::offered_not_chosen
                                        : scram_binding::not_offered;
    scram_.emplace(verifier_, account_, binding, as_bytes(end_point_hash_), nonce_);
    wipe_keys(verifier_);
    if (!is_absent) return receive_scram(as_text(response));
    state_ = state::first;
    auth_action out;
    out.what = auth_action::kind::send;
    out.bytes = authentication(auth_code::sasl_continue);
    return out;
}

auth_action client_auth::receive_scram(std::string_view message) {
    auto step = scram_->step(message);
    auth_action out;
    switch (step.what) {
        case scram_step::kind::continue_with:
            state_ = state::final;
            out.what = auth_action::kind::send;
            out.bytes = authentication(auth_code::sasl_continue, step.text);
            return out;
        case scram_step::kind::done_with:
            return accept(authentication(auth_code::sasl_final, step.text));
        case scram_step::kind::failed:
            break;
    }
    if (step.failure == scram_failure::wrong_proof) return reject_password();
    return reject(step.error.sqlstate, std::move(step.error.message));
}

}  // namespace sluice::protocol
