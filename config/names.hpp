// The words of the configuration for each enumerator, used to read, to show and to list them.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "config/schema.hpp"

namespace sluice::config {

template <class Enum>
using name_pair = std::pair<Enum, std::string_view>;

// names_of<pool_mode> and so on.
template <class Enum>
inline constexpr std::array<name_pair<Enum>, 0> names_of{};

template <>
inline constexpr std::array names_of<log_level>{name_pair<log_level>{log_level::debug, "debug"},
                                                name_pair<log_level>{log_level::info, "info"},
                                                name_pair<log_level>{log_level::warning, "warning"},
                                                name_pair<log_level>{log_level::error, "error"}};

template <>
inline constexpr std::array names_of<log_format>{name_pair<log_format>{log_format::text, "text"},
                                                 name_pair<log_format>{log_format::json, "json"}};

template <>
inline constexpr std::array names_of<session_state>{
    name_pair<session_state>{session_state::full, "full"},
    name_pair<session_state>{session_state::settings_only, "settings_only"},
    name_pair<session_state>{session_state::off, "off"}};

template <>
inline constexpr std::array names_of<pool_mode>{
    name_pair<pool_mode>{pool_mode::session, "session"},
    name_pair<pool_mode>{pool_mode::transaction, "transaction"},
    name_pair<pool_mode>{pool_mode::statement, "statement"}};

template <>
inline constexpr std::array names_of<auth_type>{
    name_pair<auth_type>{auth_type::trust, "trust"},
    name_pair<auth_type>{auth_type::cleartext, "cleartext"},
    name_pair<auth_type>{auth_type::scram_sha_256, "scram-sha-256"},
    name_pair<auth_type>{auth_type::cert, "cert"},
    name_pair<auth_type>{auth_type::passthrough, "passthrough"}};

template <>
inline constexpr std::array names_of<fsync_policy>{
    name_pair<fsync_policy>{fsync_policy::always, "always"},
    name_pair<fsync_policy>{fsync_policy::everysec, "everysec"},
    name_pair<fsync_policy>{fsync_policy::never, "never"}};

template <>
inline constexpr std::array names_of<tls_mode>{
    name_pair<tls_mode>{tls_mode::disable, "disable"},
    name_pair<tls_mode>{tls_mode::allow, "allow"},
    name_pair<tls_mode>{tls_mode::require, "require"},
    name_pair<tls_mode>{tls_mode::verify_ca, "verify-ca"},
    name_pair<tls_mode>{tls_mode::verify_full, "verify-full"}};

template <class Enum>
constexpr std::string_view name_of(Enum value) noexcept {
    for (const auto& [one, name] : names_of<Enum>) {
        if (one == value) return name;
    }
    return "?";
}

}  // namespace sluice::config
