// Who may log in, to which databases, with which limits: the configuration made ready for the
// Postgres port (verifiers derived, addresses parsed, certificates loaded). Immutable; a reload
// makes a new one, and a session keeps the one it logged in with. Any thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "config/schema.hpp"
#include "daemon/net/tls_context.hpp"
#include "pool/upstream_login.hpp"
#include "protocol/scram_verifier.hpp"

namespace sluice::daemon {

// The configuration is well-formed and still cannot be used.
struct unusable_settings : std::runtime_error {
    using std::runtime_error::runtime_error;
    unusable_settings(const std::string& what, std::string at_key, std::string what_is_there)
        : std::runtime_error(what), key(std::move(at_key)), found(std::move(what_is_there)) {}

    std::string key;  // where, if that is known
    std::string found;
};

struct user_account {
    std::optional<protocol::scram_verifier> verifier;  // none: no password is set
    std::string password;                              // plain, if that is what is known
    config::user_settings settings;
};

struct database_target {
    std::string name;  // as configured; "*" for the fallback
    pool::upstream_address address;
    config::database_settings settings;
};

class directory {
  public:
    // Throws unusable_settings: a URL or certificate. Derives a verifier for each plain
    // password (about a millisecond each) that `before` does not have: not for an event loop.
    // The one database of DATABASE_URL alone has an empty name in `settings` and gets the URL's.
    explicit directory(config::settings settings, const directory* before = nullptr);

    [[nodiscard]] const config::settings& settings() const noexcept { return settings_; }
    [[nodiscard]] const config::postgres_settings& postgres() const noexcept {
        return settings_.postgres;
    }
    // The named database, or the fallback "*"; null: there is none.
    [[nodiscard]] const database_target* find_database(const std::string& name) const;
    [[nodiscard]] const user_account* find_user(const std::string& name) const;
    [[nodiscard]] const std::map<std::string, database_target>& databases() const noexcept {
        return databases_;
    }
    [[nodiscard]] const std::map<std::string, user_account>& users() const noexcept {
        return users_;
    }
    [[nodiscard]] const net::tls_context* tls() const noexcept { return tls_.get(); }
    // Databases whose URL names a pooled Neon endpoint: one pooler too many.
    [[nodiscard]] std::vector<std::string> pooled_upstreams() const;

  private:
    void add_database(const std::string& name, const config::database_settings& settings);
    void add_user(const std::string& name, const config::user_settings& settings,
                  const directory* before);

    config::settings settings_;
    std::map<std::string, database_target> databases_;
    std::map<std::string, user_account> users_;
    std::unique_ptr<net::tls_context> tls_;
};

// Whether the name stands for the admin console: "pgbouncer" and "sluice", unless the configuration
// has a database of that name.
[[nodiscard]] bool is_console_database(const directory& from, const std::string& name);

}  // namespace sluice::daemon
