#include "daemon/kv/cli.hpp"

#include <filesystem>

#include "kvstore/project_file.hpp"

namespace sluice::daemon {

namespace {

void add_place(CLI::App& command, kv_options& to) {
    auto* const config =
        command
            .add_option("--config", to.config,
                        "configuration file that names the directory (default: as for serve)")
            ->type_name("FILE")
            ->check([](const std::string& path) {
                return path.empty() ? "the name of a file is missing" : "";
            });
    command.add_option("--directory", to.directory, "the store's directory itself")
        ->type_name("DIR")
        ->excludes(config)
        ->check([](const std::string& path) {
            return path.empty() ? "the name of a directory is missing" : "";
        });
}

CLI::Option* add_project(CLI::App& command, kv_options& to, const std::string& text) {
    return command.add_option("--project", to.project, text)
        ->type_name("N")
        ->check(CLI::Range(kvstore::project_id{0}, kvstore::most_project_id, "0 to 2147483647"));
}

void add_export(CLI::App& kv, kv_options& to) {
    auto& command = *kv.add_subcommand("export", "write projects as JSON");
    add_place(command, to);
    auto* const project = add_project(command, to, "this project only");
    command.add_flag("--all", to.all, "every project (the default)")->excludes(project);
    command
        .add_option("--format", to.format,
                    "json (the default): a project's file, or {\"projects\": […]} of all; "
                    "jsonl: a line for each key")
        ->check(CLI::IsMember({"json", "jsonl"}));
    command.add_option("--output", to.output, "write this file (default: standard output)")
        ->type_name("FILE");
}

void add_import(CLI::App& kv, kv_options& to) {
    auto& command = *kv.add_subcommand(
        "import", "put keys from files: exports, E-Code's files, Replit's exports");
    add_place(command, to);
    command.add_option("files", to.files, "the files")->type_name("FILE")->required();
    add_project(command, to, "the project that gets the keys, whatever the files say");
    command.add_option("--format", to.format, "of the files (default: auto)")
        ->check(CLI::IsMember({"auto", "json", "ecode", "jsonl", "replit"}));
    auto* const merge =
        command.add_flag("--merge", to.merge, "keep keys that the files do not have (the default)");
    command
        .add_flag("--replace", to.replace, "remove the projects' keys that the files do not have")
        ->excludes(merge);
    command.add_flag("--dry-run", to.dry_run, "say what would change, and change nothing");
}

void add_others(CLI::App& kv, kv_options& to) {
    auto& stats = *kv.add_subcommand("stats", "count projects, keys and bytes");
    add_place(stats, to);
    add_project(stats, to, "this project only");
    stats.add_flag("--json", to.json, "as one JSON object");

    auto& backup = *kv.add_subcommand(
        "backup", "copy all projects, as they are at one moment, to a new directory");
    add_place(backup, to);
    backup
        .add_option("--output", to.output,
                    "make it in this directory (default: kv.backup.directory)")
        ->type_name("DIR");

    auto& restore = *kv.add_subcommand("restore", "put a backup in the place of the projects");
    restore.add_option("backup", to.backup, "the backup's directory, sluice-<time>")
        ->type_name("BACKUP")
        ->required();
    add_place(restore, to);
    restore.add_flag("--force", to.force,
                     "also where there are projects: they are moved to before-restore-<time>");
}

kv_job job_of(const kv_options& options, const command_line& with) {
    kv_job out{options, with, {}, false};
    if (!options.directory.empty()) {
        out.settings.directory = options.directory;
    } else {
        try {
            auto found = find_configuration(options.config, with.env);
            out.settings = std::move(found.content.settings.kv);
            out.has_limits = true;
        } catch (const no_configuration&) {
            // The default directory.
        }
    }
    auto& directory = out.settings.directory;
    while (directory.size() > 1 && directory.back() == '/')
        directory.pop_back();
    return out;
}

}  // namespace

void add_kv_commands(CLI::App& kv, kv_options& to) {
    kv.require_subcommand(1);
    add_export(kv, to);
    add_import(kv, to);
    add_others(kv, to);
    for (auto* const command : kv.get_subcommands({})) {
        command->final_callback([&to, command] { to.command = command->get_name(); });
    }
}

int run_kv_command(const kv_options& options, const command_line& with) {
    const auto job = job_of(options, with);
    try {
        if (options.command == "export") return export_projects(job);
        if (options.command == "import") return import_files(job);
        if (options.command == "stats") return show_stats(job);
        if (options.command == "backup") return make_backup(job);
        return restore_backup(job);
    } catch (const wrong_usage& error) {
        with.err << "sluice: " << error.what() << '\n';
        return exit_usage;
    }
}

}  // namespace sluice::daemon
