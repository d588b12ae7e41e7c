#include "protocol/scram.hpp"

#include <openssl/crypto.h>

#include <algorithm>

#include "protocol/base64.hpp"

// The messages (RFC 5802, section 7), C from the client and S from the server:
//   C  gs2-header bare          gs2-header = ("n" / "y" / "p=" type) "," ["a=" name] ","
//      bare = ["m=" ...] "n=" name ",r=" nonce *("," attribute)
//   S  "r=" nonce ",s=" salt ",i=" iterations
//   C  without-proof ",p=" proof
//      without-proof = "c=" base64(gs2-header binding-data) ",r=" nonce *("," attribute)
//   S  "v=" server-signature
// AuthMessage = bare "," server-first "," without-proof.

namespace sluice::protocol {

namespace {

constexpr std::string_view end_point_type = "tls-server-end-point";

scram_step fail(scram_failure failure, const char* sqlstate, std::string message) {
    return {scram_step::kind::failed, {}, failure, {sqlstate, std::move(message), {}}};
}

scram_step malformed(const char* what) {
    return fail(scram_failure::malformed, sqlstate::protocol_violation,
                std::string{"malformed SCRAM message: "} + what);
}

constexpr bool is_letter(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// Walks over "x=value,y=value". `rest` is what has not been read; a value ends at a comma.
class attributes {
  public:
    explicit attributes(std::string_view text) : rest_(text) {}

    struct attribute {
        char name;
        std::string_view value;
    };

    // The next attribute, or nothing at the end or if the text is not of this form.
    std::optional<attribute> next() noexcept {
        if (rest_.size() < 2 || !is_letter(rest_[0]) || rest_[1] != '=') return std::nullopt;
        const auto end = std::min(rest_.find(','), rest_.size());
        const attribute out{rest_[0], rest_.substr(2, end - 2)};
        // A comma must be followed by another attribute: "a=1," is not well formed.
        trailing_comma_ = end + 1 == rest_.size();
        rest_.remove_prefix(std::min(end + 1, rest_.size()));
        return out;
    }

    // The value of the next attribute if that is its name.
    std::optional<std::string_view> value_of(char name) noexcept {
        if (rest_.empty() || rest_[0] != name) return std::nullopt;
        const auto found = next();
        if (!found) return std::nullopt;
        return found->value;
    }

    [[nodiscard]] bool at_end() const noexcept { return rest_.empty() && !trailing_comma_; }

  private:
    std::string_view rest_;
    bool trailing_comma_ = false;
};

// The nonce's characters by the RFC: printable ASCII without the comma.
bool is_nonce(std::string_view text) noexcept {
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [](char c) { return c >= 0x21 && c <= 0x7e && c != ','; });
}

// Where the gs2 header ends: behind its second comma.
std::optional<std::size_t> gs2_header_size(std::string_view message) noexcept {
    const auto first = message.find(',');
    if (first == std::string_view::npos) return std::nullopt;
    const auto second = message.find(',', first + 1);
    if (second == std::string_view::npos) return std::nullopt;
    return second + 1;
}

}  // namespace

scram_server::scram_server(scram_verifier verifier, scram_account account, scram_binding binding,
                           byte_span end_point_hash, std::string_view nonce)
    : verifier_(std::move(verifier)),
      account_(account),
      binding_(binding),
      end_point_hash_(as_text(end_point_hash)),
      server_nonce_(nonce) {}

scram_server::~scram_server() {
    OPENSSL_cleanse(verifier_.stored_key.data(), verifier_.stored_key.size());
    OPENSSL_cleanse(verifier_.server_key.data(), verifier_.server_key.size());
}

scram_step scram_server::step(std::string_view client_message) {
    const auto now = state_;
    state_ = state::over;  // unless the message turns out well
    if (client_message.size() > scram_message_limit) return malformed("it is too long");
    if (client_message.empty()) return malformed("it is empty");
    if (client_message.find('\0') != std::string_view::npos) return malformed("it holds a zero");
    switch (now) {
        case state::first:
            return first(client_message);
        case state::final:
            return final(client_message);
        case state::over:
            break;
    }
    return malformed("the exchange is over");
}

std::optional<scram_step> scram_server::check_gs2_header(std::string_view header) {
    // Without its two commas: binding flag and authorization identity.
    const auto comma = header.find(',');
    const auto flag = header.substr(0, comma);
    const auto identity = header.substr(comma + 1, header.size() - comma - 2);

    if (flag == "n" || flag == "y") {
        if (binding_ == scram_binding::chosen) {
            return malformed("SCRAM-SHA-256-PLUS was selected without channel binding data");
        }
        // "y": the client would have bound the channel but did not see that we offer it. If we
        // did, someone in between took it off the list.
        if (flag == "y" && binding_ == scram_binding::offered_not_chosen) {
            return fail(scram_failure::binding_mismatch, sqlstate::invalid_authorization,
                        "SCRAM channel binding negotiation error");
        }
    } else if (flag.starts_with("p=")) {
        if (binding_ != scram_binding::chosen) {
            return malformed("SCRAM-SHA-256 was selected with channel binding data");
        }
        if (flag.substr(2) != end_point_type) {
            return fail(scram_failure::unsupported, sqlstate::protocol_violation,
                        "unsupported SCRAM channel-binding type");
        }
    } else {
        return malformed("unexpected channel-binding flag");
    }
    if (identity.starts_with("a=")) {
        return fail(scram_failure::unsupported, sqlstate::feature_not_supported,
                    "client uses authorization identity, but it is not supported");
    }
    if (!identity.empty()) return malformed("unexpected attribute in the gs2 header");
    return std::nullopt;
}

scram_step scram_server::first(std::string_view message) {
    const auto header_size = gs2_header_size(message);
    if (!header_size) return malformed("no gs2 header");
    if (auto failure = check_gs2_header(message.substr(0, *header_size))) return *failure;
    gs2_header_ = message.substr(0, *header_size);
    client_first_bare_ = message.substr(*header_size);

    if (client_first_bare_.starts_with("m=")) {
        return fail(scram_failure::unsupported, sqlstate::feature_not_supported,
                    "client requires an unsupported SCRAM extension");
    }
    attributes in{client_first_bare_};
    if (!in.value_of('n')) return malformed("no user name");
    const auto client_nonce = in.value_of('r');
    if (!client_nonce) return malformed("no nonce");
    if (!is_nonce(*client_nonce)) return malformed("non-printable characters in the nonce");
    while (in.next()) {
    }
    if (!in.at_end()) return malformed("garbage at the end");

    nonce_ = *client_nonce;
    nonce_ += server_nonce_;
    server_first_ = "r=" + nonce_ + ",s=" + base64_encode(as_bytes(verifier_.salt)) +
                    ",i=" + std::to_string(verifier_.iterations);
    state_ = state::final;
    return {scram_step::kind::continue_with, server_first_, {}, {}};
}

scram_step scram_server::final(std::string_view message) {
    attributes in{message};
    const auto binding = in.value_of('c');
    if (!binding) return malformed("no channel-binding attribute");
    std::string expected = gs2_header_;
    if (binding_ == scram_binding::chosen) expected += end_point_hash_;
    if (*binding != base64_encode(as_bytes(expected))) {
        if (binding_ == scram_binding::chosen) {
            return fail(scram_failure::binding_mismatch, sqlstate::invalid_authorization,
                        "SCRAM channel binding check failed");
        }
        return malformed("unexpected channel-binding attribute");
    }
    const auto nonce = in.value_of('r');
    if (!nonce) return malformed("no nonce");
    if (*nonce != nonce_) return malformed("the nonce does not match");

    auto attribute = in.next();
    while (attribute && attribute->name != 'p')
        attribute = in.next();
    if (!attribute) return malformed("no proof");
    if (!in.at_end()) return malformed("garbage at the end");
    sha256_digest proof;
    if (!base64_decode_into(attribute->value, proof)) return malformed("malformed proof");

    // All of the message but ",p=<proof>", which is its end.
    const auto without_proof = message.substr(0, message.size() - attribute->value.size() - 3);
    std::string auth_message = client_first_bare_;
    auth_message += ',';
    auth_message += server_first_;
    auth_message += ',';
    auth_message += without_proof;

    // Both signatures are made before anything is decided, and the account is looked at last, so
    // that a wrong password and an unknown user take the same path.
    const bool right = proof_is_right(proof, auth_message);
    sha256_digest server_signature;
    hmac_sha256(verifier_.server_key, as_bytes(auth_message), server_signature);
    if (!right || account_ == scram_account::mock) {
        return {scram_step::kind::failed, {}, scram_failure::wrong_proof, {}};
    }
    return {scram_step::kind::done_with, "v=" + base64_encode(server_signature), {}, {}};
}

// ClientKey = ClientProof XOR HMAC(StoredKey, AuthMessage); it must hash to StoredKey.
bool scram_server::proof_is_right(const sha256_digest& proof, std::string_view auth_message) const {
    sha256_digest client_key;
    hmac_sha256(verifier_.stored_key, as_bytes(auth_message), client_key);
    for (std::size_t i = 0; i < client_key.size(); ++i) {
        client_key[i] = static_cast<std::uint8_t>(client_key[i] ^ proof[i]);
    }
    sha256_digest stored_key;
    sha256(client_key, stored_key);
    OPENSSL_cleanse(client_key.data(), client_key.size());
    return CRYPTO_memcmp(stored_key.data(), verifier_.stored_key.data(), stored_key.size()) == 0;
}

}  // namespace sluice::protocol
