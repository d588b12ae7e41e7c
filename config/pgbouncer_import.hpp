// PgBouncer's configuration as a configuration of sluice: `sluice import-pgbouncer`. The result is
// YAML with a comment wherever the two differ, and a list of what does not come over. A setting
// that the ini does not have is written if PgBouncer's default is another one and somebody would
// notice. Anything that would let in more than PgBouncer did is left out and noted.
// Blocks on files. Throws config_error as pgbouncer_ini.hpp does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/environment.hpp"
#include "config/pgbouncer_hba.hpp"

namespace sluice::config {

struct imported {
    std::string yaml;
    std::vector<import_note> notes;
    bool has_passwords = false;
};

[[nodiscard]] imported import_pgbouncer(const std::string& ini_path, const environment& env);

[[nodiscard]] std::string_view heading_of(import_kind kind) noexcept;
// "file:line: setting: what of it"
[[nodiscard]] std::string show_note(const import_note& note);

}  // namespace sluice::config
