#include "config/validate.hpp"

#include <algorithm>

#include "config/address.hpp"
#include "config/document.hpp"
#include "config/fields.hpp"
#include "config/names.hpp"

namespace sluice::config {

namespace {

using found_mistake = std::optional<mistake>;

found_mistake check_tls(const postgres_settings& postgres) {
    const auto& tls = postgres.tls;
    const auto needs = [](std::string_view key, std::string_view what, std::string_view reason) {
        return mistake{"postgres.tls." + std::string(key), "nothing",
                       std::string(what) + ", because " + std::string(reason)};
    };
    const auto mode = "postgres.tls.mode is " + std::string(name_of(tls.mode));
    if (tls.mode != tls_mode::disable) {
        if (tls.certificate.empty()) return needs("certificate", "a PEM file", mode);
        if (tls.key.empty()) return needs("key", "a PEM file", mode);
    }
    if (tls.mode == tls_mode::verify_ca || tls.mode == tls_mode::verify_full) {
        if (tls.client_ca.empty()) return needs("client_ca", "a PEM file", mode);
    }
    if (postgres.auth_type == auth_type::cert) {
        constexpr std::string_view reason = "postgres.auth_type is cert";
        if (tls.client_ca.empty()) return needs("client_ca", "a PEM file", reason);
        if (tls.mode == tls_mode::disable) {
            return mistake{"postgres.tls.mode", "disable",
                           "a mode with TLS, because postgres.auth_type is cert"};
        }
    }
    return std::nullopt;
}

found_mistake check_users(const postgres_settings& postgres) {
    const auto auth = postgres.auth_type;
    if (!postgres.users || (auth != auth_type::cleartext && auth != auth_type::scram_sha_256)) {
        return std::nullopt;
    }
    for (const auto& [name, user] : *postgres.users) {
        if (user.password.empty()) {
            return mistake{
                key_path(key_path(std::string(users_key), name), "password"), "nothing",
                "a password, because postgres.auth_type is " + std::string(name_of(auth))};
        }
    }
    return std::nullopt;
}

found_mistake check_sizes(const postgres_settings& postgres) {
    const auto too_many = [](std::string key, std::uint32_t min, std::uint32_t size) {
        return mistake{std::move(key), std::to_string(min),
                       "at most the pool_size of " + std::to_string(size)};
    };
    if (postgres.min_pool_size > postgres.pool_size) {
        return too_many("postgres.min_pool_size", postgres.min_pool_size, postgres.pool_size);
    }
    for (const auto& [name, database] : postgres.databases) {
        const auto min = database.min_pool_size.value_or(postgres.min_pool_size);
        const auto size = database.pool_size.value_or(postgres.pool_size);
        if (min <= size) continue;
        const auto* const key = database.min_pool_size ? "min_pool_size" : "pool_size";
        const auto path = key_path(key_path(std::string(databases_key), name), key);
        if (database.min_pool_size) return too_many(path, min, size);
        return mistake{path, std::to_string(size),
                       "at least the postgres.min_pool_size of " + std::to_string(min)};
    }
    return std::nullopt;
}

// Two listeners cannot share an address; "*" shares its port with every other TCP address.
bool collide(const listen_address& one, const listen_address& other) {
    using kind = listen_address::kind;
    if (one.type != other.type || one.port != other.port) return false;
    if (one.type == kind::unix_socket) return one.path == other.path;
    return one.host == other.host || one.host == "*" || other.host == "*";
}

found_mistake check_addresses(const settings& all) {
    struct place {
        std::string key;
        const listen_address* address;
    };
    std::vector<place> seen;
    const auto add = [&](const std::string& key,
                         const std::vector<listen_address>& list) -> found_mistake {
        for (std::size_t i = 0; i < list.size(); ++i) {
            const auto taken = std::find_if(seen.begin(), seen.end(), [&](const place& other) {
                return collide(list[i], *other.address);
            });
            if (taken != seen.end()) {
                return mistake{item_path(key, i), show_address(list[i]),
                               "an address that " + taken->key + " does not take", taken->key};
            }
            seen.push_back({item_path(key, i), &list[i]});
        }
        return std::nullopt;
    };
    if (auto found = add("postgres.listen", all.postgres.listen)) return found;
    return add("monitoring.listen", all.monitoring.listen);
}

}  // namespace

found_mistake find_mistake(const settings& all) {
    if (auto found = check_tls(all.postgres)) return found;
    if (auto found = check_users(all.postgres)) return found;
    if (auto found = check_sizes(all.postgres)) return found;
    return check_addresses(all);
}

std::vector<std::string> find_doubts(const settings& all) {
    std::vector<std::string> out;
    if (all.postgres.databases.empty()) {
        out.push_back(std::string(databases_key) +
                      ": there is no database, so every Postgres client is turned away");
    }
    return out;
}

}  // namespace sluice::config
