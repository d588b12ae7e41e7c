// PgBouncer's auth_hba_file, and what of it sluice can have: sluice has no rules by database, user
// or address, but one way to log in, the places where it listens, and whether TLS is a must. What
// is decided is never more open than the file was in how clients prove who they are; what was
// narrower there is noted.
// Pure but for reading the file.
#pragma once

#include <string>
#include <vector>

#include "config/environment.hpp"
#include "config/pgbouncer_ini.hpp"
#include "config/schema.hpp"

namespace sluice::config {

enum class import_kind {
    lost,     // PgBouncer did it and sluice will not: to be looked at
    changed,  // it comes over, not quite as it was
    needless  // there is nothing to set, since sluice does it anyway
};

struct import_note {
    import_kind kind;
    text_place at;
    std::string what;  // the setting
    std::string text;
};

struct hba_rule {
    enum class kind { local, host, hostssl, hostnossl };
    kind type = kind::local;
    std::string databases;  // as written
    std::string users;
    std::string address;  // with its mask; empty for local
    std::string method;
    text_place at;
};

// Lines that PgBouncer would pass over (it takes no such type, or misses columns) are noted.
[[nodiscard]] std::vector<hba_rule> read_hba(const ini_entry& named, const environment& env,
                                             std::vector<import_note>& notes);

struct hba_outcome {
    config::auth_type auth_type = config::auth_type::scram_sha_256;
    bool tcp = false;            // some line lets TCP clients in
    bool loopback_only = false;  // and none those of other machines
    bool unix_socket = false;
    bool tls_only = false;  // every line for TCP wants TLS
};

[[nodiscard]] hba_outcome decide_hba(const std::vector<hba_rule>& rules,
                                     std::vector<import_note>& notes);

}  // namespace sluice::config
