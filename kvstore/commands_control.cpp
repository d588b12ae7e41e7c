// SLUICE: what the command line's tools ask of a running daemon, on its control socket only.

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::string_view busy = "ERR a save or a backup is running already: try again later";

void save(call& c) {
    await_job(c, busy, [&c](const auto& wake) { return c.in.outside.start_saving(wake); });
}

void backup(call& c) {
    await_job(c, busy, [&c](const auto& wake) {
        return c.in.outside.start_backup(std::string(c.arg(2)), wake);
    });
}

bool to_form(std::string_view text, value_form& out) {
    if (equals_in_any_case(text, "undecided")) {
        out = value_form::undecided;
    } else if (equals_in_any_case(text, "text")) {
        out = value_form::text;
    } else if (equals_in_any_case(text, "json")) {
        out = value_form::json;
    } else {
        return false;
    }
    return true;
}

// A key as a project's file has it: with its form and its expiry; -1: it stays.
void put(call& c) {
    change what;
    what.key = c.arg(2);
    what.value = c.arg(3);
    if (!to_form(c.arg(4), what.form)) return c.syntax_error();
    if (!c.integer(5, what.expires)) return;
    if (what.expires < -1) return c.out.error("ERR invalid expire time in 'sluice|put' command");
    if (what.expires == -1) what.expires = never;
    const auto at = c.here->look_up(what.key);
    if (!c.may_put(at, what.key, what.value.size())) return;
    c.in.changes.commit_put(*c.here, what, at);
    c.out.simple("OK");
}

// id, keys, bytes of keys and values, keys that expire.
void projects(call& c) {
    struct one {
        project_id id;
        std::uint64_t keys, bytes, expiring;
    };
    std::vector<one> found;
    for_each_project(c, [&found](project& which) {
        if (which.state != project::residence::resident) return;
        found.push_back({which.id(), which.keys(), which.bytes(), which.expiring()});
    });
    c.out.array(found.size());
    for (const auto& which : found) {
        c.out.array(4);
        c.out.integer(which.id);
        c.out.integer(static_cast<std::int64_t>(which.keys));
        c.out.integer(static_cast<std::int64_t>(which.bytes));
        c.out.integer(static_cast<std::int64_t>(which.expiring));
    }
}

constexpr std::uint32_t usual = hidden | admin | noscript;

constexpr command parts[] = {
    {"sluice|backup", 3, usual | no_multi, 0, 0, 0, backup, "server", "7.0.0",
     "Copies all projects' files, as they are at one moment, to a directory of the server.",
     "O(N)"},
    {"sluice|help", 2, usual, 0, 0, 0, show_help, "server", "7.0.0", "Prints this help.", "O(1)"},
    {"sluice|projects", 2, usual | counts, 0, 0, 0, projects, "server", "7.0.0",
     "Lists the projects in memory: id, keys, bytes, keys that expire.", "O(N), the projects"},
    {"sluice|put", 6, hidden | noscript | write | denyoom | data, 2, 2, 1, put, "server", "7.0.0",
     "Puts a key with the form of its value and its expiry.", "O(1)"},
    {"sluice|save", 2, usual | no_multi, 0, 0, 0, save, "server", "7.0.0",
     "Writes the files of all projects that changed, and waits for it.", "O(N)"},
};

std::span<const command> all_parts() {
    return parts;
}

constexpr command rows[] = {
    {"sluice", -2, hidden, 0, 0, 0, nullptr, "server", "7.0.0",
     "What sluice's own tools ask of it.", "Depends on subcommand.", 0, all_parts},
};

}  // namespace

std::span<const command> control_commands() {
    return rows;
}

}  // namespace sluice::kvstore
