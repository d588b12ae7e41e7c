#include "daemon/http/access.hpp"

#include <openssl/rand.h>

#include <algorithm>

#include "config/verifier.hpp"
#include "protocol/base64.hpp"

namespace sluice::daemon {

namespace {

constexpr std::size_t most_proved = 64;

std::string random_bytes(std::size_t count) {
    std::string out(count, '\0');
    RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(count));
    return out;
}

protocol::byte_span bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// What follows "<scheme> ", whose case does not matter; empty: another scheme.
std::string_view after_scheme(std::string_view header, std::string_view scheme) {
    if (header.size() <= scheme.size() || header[scheme.size()] != ' ') return {};
    const auto lower = [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    if (!std::equal(scheme.begin(), scheme.end(), header.begin(),
                    [&](char one, char other) { return lower(one) == lower(other); })) {
        return {};
    }
    header.remove_prefix(scheme.size());
    header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
    return header;
}

bool matches(const std::string& stored, std::string_view password) {
    const auto verifier = protocol::parse_verifier(stored);
    return verifier ? protocol::verify_password(password, *verifier)
                    : protocol::same_password(stored, password);
}

}  // namespace

monitoring_access::monitoring_access(const config::monitoring_settings& settings)
    : key_(random_bytes(32)) {
    configure(settings);
}

void monitoring_access::configure(const config::monitoring_settings& settings) {
    settings_ = settings;
    proved_.clear();
    stand_in_ = random_bytes(16);
    // Of the kind that users have, so that an unknown name takes as long as a known one.
    const bool any_verifier =
        std::any_of(settings_.users.begin(), settings_.users.end(),
                    [](const auto& user) { return config::is_verifier(user.second.password); });
    if (any_verifier) {
        stand_in_ = protocol::format_verifier(protocol::mock_verifier({}, bytes_of(key_)));
    }
}

access_answer monitoring_access::check(std::string_view authorization, std::string_view peer,
                                       time now) {
    if (!asks()) return access_answer::open;
    if (authorization.empty()) return access_answer::unknown;
    // What was right once is not a guess: another program on the same address may be guessing.
    const auto hash = hash_of(authorization);
    if (proved_.contains(hash)) return access_answer::granted;
    if (is_limited(peer, now)) return access_answer::too_many;
    if (!is_right(authorization)) {
        count_failure(peer, now);
        return access_answer::refused;
    }
    if (proved_.size() >= most_proved) proved_.clear();
    proved_.insert(hash);
    return access_answer::granted;
}

bool monitoring_access::is_right(std::string_view authorization) const {
    if (const auto token = after_scheme(authorization, "Bearer"); !token.empty()) {
        return takes_token() && protocol::same_password(settings_.token, token);
    }
    const auto credentials = after_scheme(authorization, "Basic");
    return !credentials.empty() && takes_passwords() && is_right_password(credentials);
}

bool monitoring_access::is_right_password(std::string_view credentials) const {
    const auto text = protocol::base64_decode(credentials);
    if (!text) return false;
    const auto colon = text->find(':');
    if (colon == std::string::npos) return false;
    const auto user = settings_.users.find(text->substr(0, colon));
    const bool is_known = user != settings_.users.end();
    const auto& stored = is_known ? user->second.password : stand_in_;
    return matches(stored, std::string_view(*text).substr(colon + 1)) && is_known;
}

bool monitoring_access::is_limited(std::string_view peer, time now) {
    const auto at = failures_.find(peer);
    if (at == failures_.end()) return false;
    if (now - at->second.since < window) return at->second.count >= most_failures;
    failures_.erase(at);
    return false;
}

void monitoring_access::count_failure(std::string_view peer, time now) {
    if (failures_.size() >= most_addresses) {
        std::erase_if(failures_,
                      [now](const auto& each) { return now - each.second.since >= window; });
        if (failures_.size() >= most_addresses) failures_.erase(failures_.begin());
    }
    auto& known = failures_.try_emplace(std::string(peer), failures{0, now}).first->second;
    ++known.count;
}

protocol::sha256_digest monitoring_access::hash_of(std::string_view text) const {
    protocol::sha256_digest out{};
    protocol::hmac_sha256(bytes_of(key_), bytes_of(text), out);
    return out;
}

}  // namespace sluice::daemon
