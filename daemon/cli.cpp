#include "daemon/cli.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <ostream>
#include <utility>

#include "config/address.hpp"
#include "daemon/control_cli.hpp"
#include "daemon/describe.hpp"
#include "daemon/doctor.hpp"
#include "daemon/import_cli.hpp"
#include "daemon/kv/cli.hpp"
#include "daemon/predecessor.hpp"
#include "daemon/version.hpp"
#include "pool/upstream_login.hpp"

namespace sluice::daemon {

namespace {

constexpr const char* description =
    "sluice pools Postgres connections, and keeps keys and values for Redis clients.";

constexpr const char* nothing_to_load =
    "no configuration. Do one of these three:\n"
    "  set DATABASE_URL to a Postgres connection string, and everything else has a default\n"
    "  write ./sluice.yaml or /etc/sluice/sluice.yaml\n"
    "  name a file with --config FILE or in SLUICE_CONFIG";

std::string variable(const config::environment& env, const char* name) {
    return env.variable(name).value_or("");
}

void print_warnings(std::ostream& to, const config::loaded& content) {
    for (const auto& warning : content.warnings)
        to << "warning: " << warning << '\n';
}

int serve(const std::string& file, const command_line& with) {
    const auto found = find_configuration(file, with.env);
    print_warnings(with.err, found.content);
    return with.serve({found.content.settings, found.file});
}

void print_listeners(std::ostream& out, std::string_view what,
                     const std::vector<config::listen_address>& addresses) {
    if (addresses.empty()) out << what << " does not listen\n";
    for (const auto& address : addresses) {
        out << what << " listens on " << config::show_address(address) << '\n';
    }
}

// The files that only `serve` opens: TLS reads them itself.
void check_files(const char* section, const config::tls_settings& tls,
                 const found_configuration& found, const config::environment& env) {
    if (tls.mode == config::tls_mode::disable) return;
    const std::array<std::pair<const char*, const std::string*>, 3> files{
        {{"certificate", &tls.certificate}, {"key", &tls.key}, {"client_ca", &tls.client_ca}}};
    for (const auto& [key, path] : files) {
        if (path->empty()) continue;
        if (const auto content = env.read_file(*path); content.error) {
            throw config::config_error(found.file, 0, std::string(section) + "." + key,
                                       *path + " (" + content.error.message() + ")",
                                       "a readable PEM file");
        }
    }
}

int check(const std::string& file, const command_line& with) {
    const auto found = find_configuration(file, with.env);
    const auto& settings = found.content.settings;
    check_files("postgres.tls", settings.postgres.tls, found, with.env);
    check_files("kv.tls", settings.kv.tls, found, with.env);
    check_files("monitoring.tls", settings.monitoring.tls, found, with.env);
    with.out << "configuration is fine: "
             << (found.file.empty() ? "DATABASE_URL and defaults" : found.file) << '\n';
    print_listeners(with.out, "postgres", settings.postgres.listen);
    print_listeners(with.out, "key-value", settings.kv.listen);
    print_listeners(with.out, "monitoring", settings.monitoring.listen);
    print_warnings(with.out, found.content);
    return exit_fine;
}

int hash_password(const command_line& with) {
    const auto password = with.read_password();
    if (!password || password->empty()) {
        with.err << "sluice: no password was given\n";
        return exit_usage;
    }
    with.out << with.make_verifier(*password) << '\n';
    return exit_fine;
}

// Parses, and runs the chosen command.
int dispatch(const std::vector<std::string>& arguments, const command_line& with) {
    CLI::App app(description, "sluice");
    app.set_version_flag("--version", std::string("sluice ") + version);
    app.require_subcommand(1);
    std::string file;
    const auto add = [&](const char* name, const char* text) {
        return app.add_subcommand(name, text);
    };
    const auto* const serve_command = add("serve", "run the daemon");
    const auto* const check_command = add("check", "check the configuration and say what it does");
    auto* const doctor_command =
        add("doctor", "look at everything that sluice needs, say what to do");
    bool json = false;
    doctor_command->add_flag("--json", json, "one JSON object for each line");
    for (auto* const command :
         {app.get_subcommand("serve"), app.get_subcommand("check"), doctor_command}) {
        command
            ->add_option("--config", file,
                         "configuration file (default: $SLUICE_CONFIG, ./sluice.yaml, "
                         "/etc/sluice/sluice.yaml, else DATABASE_URL alone)")
            ->check([](const std::string& path) {  // --config "$UNSET" must not mean "search"
                return path.empty() ? "the name of a file is missing" : "";
            });
    }
    const auto* const hash_command =
        add("hash-password",
            "read a password from the terminal or standard input, print a "
            "SCRAM-SHA-256 verifier for the configuration");
    control_options control;
    std::vector<const CLI::App*> control_commands{
        add("upgrade",
            "let a new process of the installed binary take over, without a refused connection; "
            "if it cannot, the running one serves on (exit code 1)"),
        add("reload", "let the running daemon read its configuration again, and wait"),
        add("status", "say what the running daemon is doing")};
    for (const auto* const command : control_commands) {
        auto* const at = app.get_subcommand(command->get_name());
        at->add_option("--config", control.file, "configuration file of the running daemon");
        at->add_option("--socket", control.socket, "its control socket, if it is elsewhere");
    }
    kv_options kv;
    add_kv_commands(*add("kv", "export, import, back up and restore the key-value store"), kv);
    import_options from_pgbouncer;
    auto* const import_command =
        add("import-pgbouncer", "write PgBouncer's configuration as sluice's");
    add_import_command(*import_command, from_pgbouncer);
    const auto* const describe_command = add("describe", "")->group("");  // packaging/pages.py's
    try {
        // The parser wants the arguments last first.
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::ParseError& error) {
        return app.exit(error, with.out, with.err) == 0 ? exit_fine : exit_usage;
    }
    if (*serve_command) return serve(file, with);
    if (*check_command) return check(file, with);
    if (*doctor_command) return run_doctor(file, json, with);
    if (*hash_command) return hash_password(with);
    if (*import_command) return run_import_command(from_pgbouncer, with);
    if (*describe_command) {
        describe(app, with.out);
        return exit_fine;
    }
    for (const auto* const command : control_commands) {
        if (*command) return run_control_command(command->get_name(), control, with);
    }
    return run_kv_command(kv, with);
}

bool is_there(const std::string& path, const config::environment& env) {
    // One that cannot be read counts: to pass over it in silence would start with other settings.
    return env.read_file(path).error != std::errc::no_such_file_or_directory;
}

}  // namespace

found_configuration find_configuration(const std::string& explicit_file,
                                       const config::environment& env) {
    auto file = explicit_file.empty() ? variable(env, "SLUICE_CONFIG") : explicit_file;
    for (const char* const usual : {"./sluice.yaml", "/etc/sluice/sluice.yaml"}) {
        if (file.empty() && is_there(usual, env)) file = usual;
    }
    if (!file.empty()) return {file, config::load_file(file, env, pool::is_address)};
    const auto url = variable(env, "DATABASE_URL");
    if (url.empty()) throw no_configuration(nothing_to_load);
    found_configuration out;
    out.content.settings.postgres.databases[""].url = url;  // its name is the URL's own
    return out;
}

int run_command_line(const std::vector<std::string>& arguments, const command_line& with) {
    try {
        return dispatch(arguments, with);
    } catch (const config::config_error& error) {
        with.err << "sluice: " << error.what() << '\n';
        tell_predecessor(error.what());
        return exit_usage;
    } catch (const no_configuration& error) {
        with.err << "sluice: " << error.what() << '\n';
        tell_predecessor(error.what());
        return exit_usage;
    } catch (const std::exception& error) {
        with.err << "sluice: " << error.what() << '\n';
        tell_predecessor(error.what());
        return exit_failure;
    }
}

}  // namespace sluice::daemon
