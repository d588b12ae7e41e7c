#include "daemon/pg/directory.hpp"

#include <openssl/rand.h>

#include <array>
#include <stdexcept>

namespace sluice::daemon {

directory::directory(config::settings settings, const directory* before)
    : settings_(std::move(settings)) {
    for (const auto& [name, database] : settings_.postgres.databases)
        add_database(name, database);
    if (settings_.postgres.users.has_value()) {
        for (const auto& [name, user] : *settings_.postgres.users)
            add_user(name, user, before);
    } else {
        for (const auto& [name, database] : databases_) {
            if (database.address.user.empty()) continue;
            config::user_settings user;
            user.password = database.address.password;
            add_user(database.address.user, user, before);
        }
    }
    const auto& tls = settings_.postgres.tls;
    if (tls.mode != config::tls_mode::disable) {
        try {
            tls_ = std::make_unique<net::tls_context>(tls);
        } catch (const net::tls_file_error& error) {
            throw unusable_settings(std::string("postgres.") + error.what(),
                                    "postgres.tls." + error.key, error.problem);
        }
    }
}

void directory::add_database(const std::string& name, const config::database_settings& settings) {
    auto address = pool::parse_address(settings.url);
    if (!address.has_value()) {
        throw unusable_settings("postgres.databases." + (name.empty() ? "DATABASE_URL" : name) +
                                ".url is not a connection string that libpq understands (expected "
                                "postgresql://user:password@host:port/database or key=value)");
    }
    auto known_as = name;
    if (known_as.empty()) known_as = address->database.empty() ? address->user : address->database;
    if (known_as.empty()) throw unusable_settings("DATABASE_URL names no database");
    databases_.emplace(known_as, database_target{known_as, std::move(*address), settings});
}

void directory::add_user(const std::string& name, const config::user_settings& settings,
                         const directory* before) {
    user_account account;
    account.settings = settings;
    const auto* known = before == nullptr ? nullptr : before->find_user(name);
    if (known != nullptr && known->settings.password == settings.password) {
        account.verifier = known->verifier;
        account.password = known->password;
    } else if (!settings.password.empty()) {
        account.verifier = protocol::parse_verifier(settings.password);
        if (!account.verifier.has_value()) {
            account.password = settings.password;
            std::array<std::uint8_t, protocol::default_scram_salt_size> salt{};
            if (RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1) {
                throw std::runtime_error("no randomness to be had");
            }
            account.verifier = protocol::derive_verifier(settings.password, salt,
                                                         protocol::default_scram_iterations);
        }
    }
    users_.insert_or_assign(name, std::move(account));
}

const database_target* directory::find_database(const std::string& name) const {
    auto at = databases_.find(name);
    if (at == databases_.end()) at = databases_.find("*");
    return at == databases_.end() ? nullptr : &at->second;
}

const user_account* directory::find_user(const std::string& name) const {
    const auto at = users_.find(name);
    return at == users_.end() ? nullptr : &at->second;
}

bool is_console_database(const directory& from, const std::string& name) {
    return (name == "pgbouncer" || name == "sluice") && !from.databases().contains(name);
}

std::vector<std::string> directory::pooled_upstreams() const {
    std::vector<std::string> out;
    for (const auto& [name, database] : databases_) {
        const auto& host = database.address.host;
        const auto label = host.substr(0, host.find('.'));
        if (label.size() > 7 && label.ends_with("-pooler")) out.push_back(name);
    }
    return out;
}

}  // namespace sluice::daemon
