// The files of PgBouncer as plain entries that know their places: pgbouncer.ini with what it
// includes, the strings in [databases] and [users], auth_file. What they mean is for
// pgbouncer_import.hpp. Used by one command; blocks on files.
// Throws config_error with file and line; no text of it holds a value that may be a secret.
// Source: pgbouncer.ini(5), 1.25 and 1.18.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/environment.hpp"

namespace sluice::config {

struct text_place {
    std::string file;
    int line = 0;  // from 1; 0: none

    bool operator==(const text_place&) const = default;
};

struct ini_entry {
    std::string key;
    std::string value;
    text_place at;
};

// The sections, each in the order of the files. A key may come twice: the last one holds.
struct pgbouncer_ini {
    std::vector<ini_entry> databases;
    std::vector<ini_entry> users;
    std::vector<ini_entry> peers;
    std::vector<ini_entry> settings;  // [pgbouncer]
};

[[nodiscard]] pgbouncer_ini read_pgbouncer_ini(const std::string& path, const environment& env);

// "host=db user='it''s'" as pairs.
using word_pairs = std::vector<std::pair<std::string, std::string>>;
[[nodiscard]] word_pairs parse_words(const ini_entry& entry);

struct auth_entry {
    std::string user;
    std::string password;
    text_place at;
};

// `named` is the setting with the file's name: where the mistake is when it cannot be read.
[[nodiscard]] std::vector<auth_entry> read_auth_file(const ini_entry& named,
                                                     const environment& env);

struct text_line {
    std::string text;
    text_place at;
};

// A file that the setting `named` names, relative to the working directory as PgBouncer has it.
// Refused if it is not UTF-8, which YAML has to be.
[[nodiscard]] std::vector<text_line> read_lines(const ini_entry& named, const environment& env);

[[nodiscard]] std::string_view trimmed(std::string_view text) noexcept;

}  // namespace sluice::config
