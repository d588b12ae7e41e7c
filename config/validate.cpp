#include "config/validate.hpp"

#include <algorithm>
#include <filesystem>

#include "config/address.hpp"
#include "config/document.hpp"
#include "config/fields.hpp"
#include "config/names.hpp"
#include "config/units.hpp"

namespace sluice::config {

namespace {

using found_mistake = std::optional<mistake>;

mistake lacks_file(const std::string& key, const std::string& reason) {
    return {key, "nothing", "a PEM file, because " + reason};
}

// `section`: postgres.tls and so on.
found_mistake check_tls(const std::string& section, const tls_settings& tls) {
    const auto mode = section + ".mode is " + std::string(name_of(tls.mode));
    if (tls.mode != tls_mode::disable) {
        if (tls.certificate.empty()) return lacks_file(section + ".certificate", mode);
        if (tls.key.empty()) return lacks_file(section + ".key", mode);
    }
    if (tls.mode == tls_mode::verify_ca || tls.mode == tls_mode::verify_full) {
        if (tls.client_ca.empty()) return lacks_file(section + ".client_ca", mode);
    }
    return std::nullopt;
}

found_mistake check_certificate_login(const postgres_settings& postgres) {
    if (postgres.auth_type != auth_type::cert) return std::nullopt;
    if (postgres.tls.client_ca.empty()) {
        return lacks_file("postgres.tls.client_ca", "postgres.auth_type is cert");
    }
    if (postgres.tls.mode != tls_mode::disable) return std::nullopt;
    return mistake{"postgres.tls.mode", "disable",
                   "a mode with TLS, because postgres.auth_type is cert"};
}

found_mistake check_kv_users(const kv_settings& kv) {
    for (const auto& [name, user] : kv.users) {
        if (!user.password.empty()) continue;
        return mistake{key_path(key_path(std::string(kv_users_key), name), "password"), "nothing",
                       "a password, which every user of the key-value port needs"};
    }
    return std::nullopt;
}

bool same_directory(const std::string& one, const std::string& other) {
    const auto plain = [](const std::string& path) {
        return (std::filesystem::path(path) / "").lexically_normal();
    };
    return plain(one) == plain(other);
}

found_mistake check_backup(const kv_settings& kv) {
    if (kv.backup.directory.empty()) return std::nullopt;
    if (kv.backup.every == 0ms) {
        return mistake{"kv.backup.every", "0",
                       "a duration above 0, because kv.backup.directory is set"};
    }
    if (!same_directory(kv.backup.directory, kv.directory)) return std::nullopt;
    return mistake{"kv.backup.directory", "the directory of the store",
                   "another directory than kv.directory"};
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
    if (auto found = add("kv.listen", all.kv.listen)) return found;
    return add("monitoring.listen", all.monitoring.listen);
}

// Whether only programs on this machine reach it. A name may mean any address.
bool is_loopback(const listen_address& address) {
    const auto& host = address.host;
    if (address.type == listen_address::kind::unix_socket) return true;
    const bool ipv4 = host.find_first_not_of("0123456789.") == std::string::npos;
    return host == "localhost" || host == "::1" || (ipv4 && host.starts_with("127."));
}

// The first address that other machines reach, or nullptr.
const listen_address* find_exposed(const std::vector<listen_address>& all) {
    const auto at = std::find_if_not(all.begin(), all.end(), is_loopback);
    return at == all.end() ? nullptr : &*at;
}

bool asks_for_certificates(const tls_settings& tls) {
    return tls.mode == tls_mode::verify_ca || tls.mode == tls_mode::verify_full;
}

found_mistake check_monitoring(const monitoring_settings& monitoring) {
    for (const auto& [name, user] : monitoring.users) {
        const auto key = key_path(std::string(monitoring_users_key), name);
        // Authorization: Basic ends the name at the first colon.
        if (name.find(':') != std::string::npos) return mistake{key, "a name with a colon", "none"};
        if (!user.password.empty()) continue;
        return mistake{key_path(key, "password"), "nothing",
                       "a password, which every user of the monitoring port needs"};
    }
    if (monitoring.allow_anonymous || !is_open_to_all(monitoring)) return std::nullopt;
    for (std::size_t i = 0; i < monitoring.listen.size(); ++i) {
        if (is_loopback(monitoring.listen[i])) continue;
        return mistake{item_path("monitoring.listen", i), show_address(monitoring.listen[i]),
                       "a loopback address, because other machines reach this one and nobody is "
                       "asked who they are; or monitoring.token, monitoring.users, or "
                       "monitoring.allow_anonymous: true",
                       "monitoring.listen"};
    }
    return std::nullopt;
}

void doubt_monitoring(const monitoring_settings& monitoring, std::vector<std::string>& out) {
    const auto* exposed = find_exposed(monitoring.listen);
    if (exposed == nullptr) return;
    const auto where = "monitoring.listen: " + show_address(*exposed) + " is reached from other ";
    if (is_open_to_all(monitoring)) {
        out.push_back(where + "machines, and everybody there may see the metrics");
    } else if (monitoring.tls.mode == tls_mode::disable) {
        out.push_back(where +
                      "machines, and with monitoring.tls.mode disable the token and passwords "
                      "travel readable");
    }
}

void doubt_kv_access(const kv_settings& kv, std::vector<std::string>& out) {
    const auto open = std::find_if_not(kv.listen.begin(), kv.listen.end(), is_loopback);
    if (open == kv.listen.end()) return;
    const auto where = "kv.listen: " + show_address(*open) + " is reached from other machines";
    if (kv.users.empty() && kv.protected_mode) {
        out.push_back(where +
                      ", whose clients are refused, because there are no kv.users and "
                      "kv.protected_mode is on");
        return;
    }
    if (kv.users.empty()) {
        out.push_back(where + ", and without kv.users everybody there may read and write all");
    }
    if (kv.tls.mode == tls_mode::disable) {
        out.push_back(where + ", and with kv.tls.mode disable passwords and data travel readable");
    }
}

void doubt_kv(const kv_settings& kv, std::vector<std::string>& out) {
    if (kv.listen.empty()) return;
    doubt_kv_access(kv, out);
    for (const auto& [name, user] : kv.users) {
        if (user.all_projects || !user.projects.empty()) continue;
        out.push_back(key_path(std::string(kv_users_key), name) +
                      ": may open no project; write projects: all, or a list of them");
    }
    if (kv.max_memory != 0 && kv.max_project_size > kv.max_memory) {
        out.push_back("kv.max_project_size: " + show_size(kv.max_project_size) +
                      " is more than the kv.max_memory of " + show_size(kv.max_memory));
    }
}

}  // namespace

bool is_open_to_all(const monitoring_settings& monitoring) {
    return find_exposed(monitoring.listen) != nullptr && monitoring.token.empty() &&
           monitoring.users.empty() && !asks_for_certificates(monitoring.tls);
}

found_mistake find_mistake(const settings& all) {
    if (auto found = check_tls("postgres.tls", all.postgres.tls)) return found;
    if (auto found = check_certificate_login(all.postgres)) return found;
    if (auto found = check_users(all.postgres)) return found;
    if (auto found = check_sizes(all.postgres)) return found;
    if (auto found = check_tls("kv.tls", all.kv.tls)) return found;
    if (auto found = check_kv_users(all.kv)) return found;
    if (auto found = check_backup(all.kv)) return found;
    if (auto found = check_tls("monitoring.tls", all.monitoring.tls)) return found;
    if (auto found = check_monitoring(all.monitoring)) return found;
    return check_addresses(all);
}

std::vector<std::string> find_doubts(const settings& all) {
    std::vector<std::string> out;
    if (all.postgres.databases.empty()) {
        out.push_back(std::string(databases_key) +
                      ": there is no database, so every Postgres client is turned away");
    }
    doubt_kv(all.kv, out);
    doubt_monitoring(all.monitoring, out);
    return out;
}

}  // namespace sluice::config
