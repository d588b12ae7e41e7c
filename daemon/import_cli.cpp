#include "daemon/import_cli.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ostream>
#include <string_view>
#include <system_error>

#include "config/load.hpp"
#include "config/pgbouncer_import.hpp"
#include "pool/upstream_login.hpp"

namespace sluice::daemon {

namespace {

using config::import_kind;

// An existing file is somebody's work: it stays.
void write_new_file(const std::string& path, std::string_view text) {
    const auto check = [&](bool fine) {
        if (!fine) throw std::system_error(errno, std::generic_category(), path);
    };
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    check(file >= 0);
    while (!text.empty()) {
        const auto written = write(file, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            const int error = errno;
            close(file);
            unlink(path.c_str());
            errno = error;
            check(false);
        }
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    check(close(file) == 0);
}

void print_notes(std::ostream& to, const config::imported& made) {
    for (const auto kind : {import_kind::lost, import_kind::changed, import_kind::needless}) {
        bool first = true;
        for (const auto& note : made.notes) {
            if (note.kind != kind) continue;
            if (first) to << config::heading_of(kind) << ":\n";
            first = false;
            to << "  " << config::show_note(note) << '\n';
        }
    }
}

}  // namespace

void add_import_command(CLI::App& command, import_options& to) {
    const auto named = [](const std::string& path) {
        return path.empty() ? "the name of a file is missing" : "";
    };
    command.add_option("ini", to.ini, "PgBouncer's file, e.g. /etc/pgbouncer/pgbouncer.ini")
        ->type_name("FILE")
        ->required()
        ->check(named);
    command.add_option("--output", to.output, "write this file (default: standard output)")
        ->type_name("FILE")
        ->check(named);
}

int run_import_command(const import_options& options, const command_line& with) {
    const auto made = config::import_pgbouncer(options.ini, with.env);
    // What does not load would be found at the first start: say so now.
    const auto name = options.output.empty() ? "(the result)" : options.output;
    const auto loaded = config::load_text(made.yaml, name, with.env, pool::is_address);
    if (options.output.empty()) {
        with.out << made.yaml;
    } else {
        write_new_file(options.output, made.yaml);
    }
    print_notes(with.err, made);
    for (const auto& warning : loaded.warnings)
        with.err << "warning: " << warning << '\n';
    if (made.has_passwords) {
        with.err << "warning: there are passwords in "
                 << (options.output.empty() ? "the output" : options.output)
                 << "; ${NAME} and ${file:PATH} can stand in their place\n";
    }
    return exit_fine;
}

}  // namespace sluice::daemon
