// `sluice kv export | import | stats | backup | restore`: docs/kv-cli.md. cli.cpp has the options,
// the other files of this group a command each. Failures are thrown: wrong_usage for what the
// person who typed it can put right (exit code 2), std::runtime_error for the rest (1).
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "config/schema.hpp"
#include "daemon/cli.hpp"
#include "kvstore/change.hpp"

namespace sluice::daemon {

struct kv_options {
    std::string command;  // which one it is
    std::string config;
    std::string directory;
    std::optional<kvstore::project_id> project;
    bool all = false;
    std::string format;
    std::string output;
    std::vector<std::string> files;
    bool replace = false;
    bool merge = false;
    bool dry_run = false;
    bool json = false;
    bool force = false;
    std::string backup;
};

struct wrong_usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// `to` is filled when the line is parsed.
void add_kv_commands(CLI::App& kv, kv_options& to);
[[nodiscard]] int run_kv_command(const kv_options& options, const command_line& with);

// What a command works on: the settings that --config or --directory stand for.
struct kv_job {
    const kv_options& options;
    const command_line& with;
    config::kv_settings settings;
    bool has_limits = false;  // the settings are from a configuration
};

[[nodiscard]] int export_projects(const kv_job& job);
[[nodiscard]] int import_files(const kv_job& job);
[[nodiscard]] int show_stats(const kv_job& job);
[[nodiscard]] int make_backup(const kv_job& job);
[[nodiscard]] int restore_backup(const kv_job& job);

}  // namespace sluice::daemon
