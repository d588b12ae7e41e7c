// ACL as far as sluice has it: users and the projects that they may open are in the configuration,
// here they can be looked at. Passwords, even hashed, are never shown.

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::uint32_t usual = admin | noscript | loading | stale;

void whoami(call& c) {
    c.out.bulk(c.self.who->name);
}

void list(call& c) {
    if (!c.may_administer()) return;
    c.out.array(c.in.access->users().size());
    for (const auto& [name, user] : c.in.access->users())
        c.out.bulk(user.described());
}

void users(call& c) {
    if (!c.may_administer()) return;
    c.out.array(c.in.access->users().size());
    for (const auto& [name, user] : c.in.access->users())
        c.out.bulk(name);
}

void getuser(call& c) {
    if (c.arg(2) != c.self.who->name && !c.may_administer()) return;
    const auto* const who = c.in.access->find(c.arg(2));
    if (who == nullptr) return c.out.nil();
    c.out.map(7);
    c.out.bulk("flags");
    c.out.set(who->password.empty() ? 2 : 1);
    c.out.bulk("on");
    if (who->password.empty()) c.out.bulk("nopass");
    c.out.bulk("passwords");
    c.out.array(0);
    c.out.bulk("commands");
    c.out.bulk("+@all");
    c.out.bulk("keys");
    c.out.bulk("~*");
    c.out.bulk("channels");
    c.out.bulk("");
    c.out.bulk("selectors");
    c.out.array(0);
    c.out.bulk("projects");
    if (who->all_projects) return c.out.bulk("all");
    c.out.array(who->projects.size());
    for (const auto id : who->projects)
        c.out.integer(id);
}

void cat(call& c) {
    if (c.args.size() > 3) return c.unknown_part();
    if (c.args.size() == 2) {
        c.out.array(category_names.size());
        for (const auto name : category_names)
            c.out.bulk(name);
        return;
    }
    const auto wanted = category(c.arg(2));
    if (wanted == 0) {
        return c.out.error("ERR Unknown category '" + std::string(c.arg(2).substr(0, 128)) + "'");
    }
    std::vector<std::string_view> names;
    for_each_command([&](const command& row) {
        if ((categories_of(row) & wanted) != 0) names.push_back(row.name);
    });
    c.out.array(names.size());
    for (const auto name : names)
        c.out.bulk(name);
}

void log(call& c) {
    if (!c.may_administer()) return;
    if (c.args.size() == 3 && c.is(2, "reset")) return c.out.simple("OK");
    c.out.array(0);
}

void refused(call& c) {
    c.out.error(
        "ERR users are in sluice's configuration (kv.users): change them there and reload "
        "(systemctl reload sluice)");
}

constexpr command parts[] = {
    {"acl|cat", -2, noscript | loading | stale, 0, 0, 0, cat, "server", "6.0.0",
     "Lists the categories of commands, or the commands of one.", "O(1)"},
    {"acl|deluser", -3, usual, 0, 0, 0, refused, "server", "6.0.0",
     "Refused: users are in the configuration.", "O(1)"},
    {"acl|getuser", 3, usual, 0, 0, 0, getuser, "server", "6.0.0", "Describes a user.",
     "O(N), its projects"},
    {"acl|help", 2, loading | stale, 0, 0, 0, show_help, "server", "6.0.0", "Prints this help.",
     "O(1)"},
    {"acl|list", 2, usual, 0, 0, 0, list, "server", "6.0.0", "Describes the users, a line each.",
     "O(N), the users"},
    {"acl|load", 2, usual, 0, 0, 0, refused, "server", "6.0.0",
     "Refused: users are in the configuration.", "O(1)"},
    {"acl|log", -2, usual, 0, 0, 0, log, "server", "6.0.0",
     "Nothing: refused logins are counted by the monitoring.", "O(1)"},
    {"acl|save", 2, usual, 0, 0, 0, refused, "server", "6.0.0",
     "Refused: users are in the configuration.", "O(1)"},
    {"acl|setuser", -3, usual | skip_slowlog, 0, 0, 0, refused, "server", "6.0.0",
     "Refused: users are in the configuration.", "O(1)"},
    {"acl|users", 2, usual, 0, 0, 0, users, "server", "6.0.0", "Lists the users' names.",
     "O(N), the users"},
    {"acl|whoami", 2, noscript | loading | stale, 0, 0, 0, whoami, "server", "6.0.0",
     "Answers the name of the connection's user.", "O(1)"},
};

std::span<const command> all_parts() {
    return parts;
}

constexpr command rows[] = {
    {"acl", -2, 0, 0, 0, 0, nullptr, "server", "6.0.0", "Commands about users.",
     "Depends on subcommand.", 0, all_parts},
};

}  // namespace

std::span<const command> acl_commands() {
    return rows;
}

}  // namespace sluice::kvstore
