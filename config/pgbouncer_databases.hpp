// [databases], [users] and auth_file as entries of postgres.databases and postgres.users, and the
// book that all of import_pgbouncer writes its findings into.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/pgbouncer_hba.hpp"
#include "config/pgbouncer_ini.hpp"
#include "config/pgbouncer_settings.hpp"
#include "config/pgbouncer_text.hpp"
#include "config/schema.hpp"

namespace sluice::config {

struct import_book {
    std::map<std::string, ini_entry, std::less<>> settings;
    std::map<std::string, auth_entry, std::less<>> users;  // of auth_file
    std::vector<import_note> notes;
    text_place default_place;  // of what the ini does not say
    bool has_passwords = false;
    bool has_own_logins = false;  // a database lets each client log in upstream as itself

    [[nodiscard]] const ini_entry* find(std::string_view name) const;
    // Of PgBouncer's sockets, both its own and the servers'.
    [[nodiscard]] std::string socket_directory() const;

    // A value as sluice's YAML has it. Throws config_error.
    [[nodiscard]] std::string converted(const same_setting& row, const ini_entry& entry);
    [[nodiscard]] std::string checked_mode(const std::string& mode, const text_place& at) const;
    [[nodiscard]] std::uint32_t number(const ini_entry& entry) const;
    [[nodiscard]] std::uint32_t setting_number(std::string_view name, std::uint32_t fallback) const;
    // 0 is "any number" in PgBouncer.
    [[nodiscard]] std::uint32_t pool_size(const ini_entry& entry);
};

[[nodiscard]] bool needs_password(auth_type auth);
[[nodiscard]] bool usable_password(std::string_view password);

// Written, written as a comment to be completed by hand, or left out since it would say nothing.
enum class user_place { entry, comment, nowhere };
// `settings`: of [users], or null.
[[nodiscard]] user_place place_of_user(const import_book& book, auth_type auth,
                                       const std::string& name, const ini_entry* settings);

void write_databases(import_book& book, const std::vector<ini_entry>& databases, yaml_writer& out);
void write_user_entry(import_book& book, auth_type auth, const std::string& name,
                      const ini_entry* settings, yaml_writer& out);

}  // namespace sluice::config
