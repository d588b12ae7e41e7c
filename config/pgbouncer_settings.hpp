// The settings of PgBouncer's main section: what each becomes in sluice, or why nothing.
// Source: pgbouncer.ini(5) of 1.25, for names and defaults.
#pragma once

#include <span>
#include <string_view>

#include "config/pgbouncer_hba.hpp"

namespace sluice::config {

enum class setting_type { number, time, time_ms, on_off, text };

// Comes over under `key` of postgres, with the same meaning.
struct same_setting {
    std::string_view name;
    std::string_view key;
    setting_type type;
    std::string_view fallback;  // PgBouncer's default; empty: written only if the ini has it
    std::string_view comment;   // on the line, if the ini does not have it
};

// Has no place in sluice. Noted if the ini has it with another value than the default.
struct unmapped_setting {
    std::string_view name;
    import_kind kind;
    std::string_view fallback;
    std::string_view text;
};

// In the order in which the file is to have them.
[[nodiscard]] std::span<const same_setting> same_settings() noexcept;
// Null: not one of these.
[[nodiscard]] const unmapped_setting* find_unmapped(std::string_view name) noexcept;

}  // namespace sluice::config
