#include "pool/client_registry.hpp"

#include <openssl/crypto.h>

namespace sluice::pool {

std::uint32_t client_registry::add(client_entry entry, std::uint32_t random) {
    const std::lock_guard lock(mutex_);
    // Positive as a signed number: pg_basebackup and others read it as one.
    auto id = random & 0x7fff'ffffU;
    while (id == 0 || by_process_id_.contains(id))
        id = (id + 1) & 0x7fff'ffffU;
    entry.process_id = id;
    by_process_id_.emplace(id, std::move(entry));
    return id;
}

void client_registry::remove(std::uint32_t process_id) {
    const std::lock_guard lock(mutex_);
    by_process_id_.erase(process_id);
}

std::optional<client_entry> client_registry::find(std::uint32_t process_id,
                                                  std::string_view secret) const {
    const std::lock_guard lock(mutex_);
    const auto at = by_process_id_.find(process_id);
    if (at == by_process_id_.end() || at->second.secret.size() != secret.size() ||
        CRYPTO_memcmp(at->second.secret.data(), secret.data(), secret.size()) != 0) {
        return std::nullopt;
    }
    return at->second;
}

std::string client_registry::describe(std::uint64_t serial) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : by_process_id_) {
        if (entry.serial == serial) return entry.description;
    }
    return {};
}

}  // namespace sluice::pool
