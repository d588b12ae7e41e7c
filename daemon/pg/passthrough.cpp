#include "daemon/pg/passthrough.hpp"

#include <openssl/rand.h>

#include <array>

namespace sluice::daemon {

passthrough_cache::proof passthrough_cache::check(const std::string& name,
                                                  const std::string& password,
                                                  const pool::login_order& order,
                                                  config::milliseconds believed) {
    const auto now = std::chrono::steady_clock::now();
    std::optional<protocol::scram_verifier> verifier;
    {
        const std::lock_guard lock(mutex_);
        if (const auto at = known_.find(name); at != known_.end() && at->second.until > now) {
            verifier = at->second.verifier;
        }
    }
    if (verifier.has_value() && protocol::verify_password(password, *verifier)) {
        return {true, std::nullopt};
    }
    const auto result = pool::log_in(order);
    if (!result.connection.has_value()) {
        const bool wrong = result.failure.sqlstate == "28P01" || result.failure.sqlstate == "28000";
        if (wrong) return {false, std::nullopt};
        return {false, result.failure};
    }
    std::array<std::uint8_t, protocol::default_scram_salt_size> salt{};
    if (believed.count() > 0 && RAND_bytes(salt.data(), static_cast<int>(salt.size())) == 1) {
        entry proved{protocol::derive_verifier(password, salt, protocol::default_scram_iterations),
                     now + believed};
        const std::lock_guard lock(mutex_);
        if (known_.size() >= most) known_.clear();
        known_.insert_or_assign(name, std::move(proved));
    }
    return {true, std::nullopt};
}

}  // namespace sluice::daemon
