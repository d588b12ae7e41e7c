#include "config/verifier.hpp"

#include "config/error.hpp"
#include "config/units.hpp"

namespace sluice::config {

namespace {

constexpr std::string_view verifier_prefix = "SCRAM-SHA-256$";

// Padded standard base64. Gives the number of bytes that it stands for; 0 when it is malformed.
std::size_t base64_bytes(std::string_view text) noexcept {
    constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (text.empty() || text.size() % 4 != 0) return 0;
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
    text.remove_suffix(padding);
    if (text.find_first_not_of(alphabet) != std::string_view::npos) return 0;
    return text.size() * 3 / 4;
}

// The part before `separator`, which is taken off the text with it; all of it when there is none.
std::string_view cut(std::string_view& text, char separator) noexcept {
    const auto at = text.find(separator);
    const auto out = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    return out;
}

// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as in pg_authid.
bool is_well_formed(std::string_view text) {
    constexpr std::size_t key_bytes = 32;
    text.remove_prefix(verifier_prefix.size());
    const auto iterations = cut(text, ':');
    const auto salt = cut(text, '$');
    const auto stored_key = cut(text, ':');
    try {
        static_cast<void>(parse_count(iterations, 1, 100'000'000));
    } catch (const bad_value&) {
        return false;
    }
    return base64_bytes(salt) > 0 && base64_bytes(stored_key) == key_bytes &&
           base64_bytes(text) == key_bytes;
}

}  // namespace

bool is_verifier(std::string_view password) noexcept {
    return password.starts_with(verifier_prefix);
}

bool is_md5_hash(std::string_view text) noexcept {
    constexpr std::size_t hash_size = 35;
    return text.size() == hash_size && text.starts_with("md5") &&
           text.substr(3).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void check_password(std::string_view password) {
    if (is_verifier(password) && !is_well_formed(password)) {
        throw bad_value(
            "a SCRAM verifier SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as "
            "`sluice hash-password` prints it");
    }
    if (is_md5_hash(password)) {
        throw bad_value(
            "a password or a SCRAM-SHA-256 verifier (MD5 hashes are not supported; "
            "`sluice hash-password` makes a verifier)");
    }
}

}  // namespace sluice::config
