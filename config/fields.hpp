// The schema table: one row for each key. The loader reads by it, the reference prints it, diff
// compares by it, so that they cannot drift apart. Immutable after first use.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "config/codecs.hpp"
#include "config/schema.hpp"

namespace sluice::config {

// When a changed value takes effect.
enum class applies { live, restart };

// Owner is settings or what a map of it holds: database_settings, user_settings and so on.
template <class Owner>
struct field {
    std::string_view key;   // path below the owner
    std::string_view type;  // as the reference names it
    std::string_view unit;  // of a plain number
    applies change = applies::restart;
    std::string_view text;  // one line for the reference
    value_traits traits;
    std::string (*expected)() = nullptr;
    void (*read)(Owner&, std::string_view) = nullptr;  // throws bad_value
    void (*clear)(Owner&) = nullptr;
    std::string (*show)(const Owner&) = nullptr;
    bool (*same)(const Owner&, const Owner&) = nullptr;
    void (*copy)(Owner& to, const Owner& from) = nullptr;
};

[[nodiscard]] std::span<const field<settings>> global_fields();
[[nodiscard]] std::span<const field<database_settings>> database_fields();
[[nodiscard]] std::span<const field<user_settings>> user_fields();
[[nodiscard]] std::span<const field<kv_user_settings>> kv_user_fields();
[[nodiscard]] std::span<const field<monitoring_user_settings>> monitoring_user_fields();

// The maps have no row above, since their entries have names; the loader reads them itself.
inline constexpr std::string_view databases_key = "postgres.databases";
inline constexpr std::string_view users_key = "postgres.users";
inline constexpr std::string_view kv_users_key = "kv.users";
inline constexpr std::string_view monitoring_users_key = "monitoring.users";

}  // namespace sluice::config
