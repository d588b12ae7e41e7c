#include "config/diff.hpp"

#include <map>
#include <set>

#include "config/document.hpp"
#include "config/fields.hpp"

namespace sluice::config {

namespace {

void add(changes& out, applies change, const std::string& path) {
    (change == applies::live ? out.live : out.restart).push_back(path);
}

template <class Owner>
void compare(changes& out, const std::string& prefix, std::span<const field<Owner>> fields,
             const Owner& before, const Owner& after) {
    for (const auto& row : fields) {
        if (!row.same(before, after)) add(out, row.change, prefix + std::string(row.key));
    }
}

// `presence` says how an entry that appears or goes applies.
template <class Entry>
void compare_entries(changes& out, std::string_view key, applies presence,
                     std::span<const field<Entry>> fields,
                     const std::map<std::string, Entry>& before,
                     const std::map<std::string, Entry>& after) {
    std::set<std::string> names;
    for (const auto& [name, entry] : before)
        names.insert(name);
    for (const auto& [name, entry] : after)
        names.insert(name);
    for (const auto& name : names) {
        const auto path = key_path(std::string(key), name);
        const auto old_entry = before.find(name);
        const auto new_entry = after.find(name);
        if (old_entry == before.end() || new_entry == after.end()) {
            add(out, presence, path);
        } else {
            compare(out, path + ".", fields, old_entry->second, new_entry->second);
        }
    }
}

template <class Owner>
void keep(std::span<const field<Owner>> fields, Owner& next, const Owner& running) {
    for (const auto& row : fields) {
        if (row.change == applies::restart) row.copy(next, running);
    }
}

template <class Entry>
void keep_entries(std::span<const field<Entry>> fields, std::map<std::string, Entry>& next,
                  const std::map<std::string, Entry>& running) {
    for (auto& [name, entry] : next) {
        const auto at = running.find(name);
        if (at != running.end()) keep(fields, entry, at->second);
    }
}

}  // namespace

changes diff(const settings& before, const settings& after) {
    changes out;
    compare(out, {}, global_fields(), before, after);
    const auto& old_pg = before.postgres;
    const auto& new_pg = after.postgres;
    compare_entries(out, databases_key, applies::live, database_fields(), old_pg.databases,
                    new_pg.databases);
    if (old_pg.users.has_value() != new_pg.users.has_value()) {
        add(out, applies::live, std::string(users_key));
    } else if (old_pg.users) {
        compare_entries(out, users_key, applies::live, user_fields(), *old_pg.users, *new_pg.users);
    }
    compare_entries(out, kv_users_key, applies::live, kv_user_fields(), before.kv.users,
                    after.kv.users);
    compare_entries(out, monitoring_users_key, applies::live, monitoring_user_fields(),
                    before.monitoring.users, after.monitoring.users);
    return out;
}

void keep_what_waits(settings& next, const settings& running) {
    keep(global_fields(), next, running);
    keep_entries(database_fields(), next.postgres.databases, running.postgres.databases);
    if (next.postgres.users && running.postgres.users) {
        keep_entries(user_fields(), *next.postgres.users, *running.postgres.users);
    }
    keep_entries(kv_user_fields(), next.kv.users, running.kv.users);
}

}  // namespace sluice::config
