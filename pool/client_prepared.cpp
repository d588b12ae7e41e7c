// client_link where SQL-level prepared statements are concerned: a statement of the client's runs
// where the names that it uses stand for what they stand for to the client (docs/sessions.md).
#include <algorithm>

#include "pool/client_link.hpp"
#include "pool/client_message.hpp"
#include "pool/sql_prepared.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/session_hints.hpp"

namespace sluice::pool {

using protocol::prepared_names;

namespace {

// Statements of clients that may be gone stay on a connection up to this number.
constexpr std::size_t most_held = 200;
constexpr std::string_view reserved_prefix = "sluice_";
constexpr std::string_view savepoint = "sluice_before";

constexpr std::uint32_t about_anything = protocol::hint_unknown | protocol::hint_named;
constexpr std::uint32_t watched =
    protocol::hint_executes | protocol::hint_prepared | about_anything;
constexpr std::uint32_t changing_settings = protocol::hint_settings | protocol::hint_reset |
                                            protocol::hint_discard | protocol::hint_local |
                                            about_anything;

bool contains(const std::vector<std::string>& names, std::string_view name) noexcept {
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::string error_bytes(std::string_view sqlstate, std::string_view message,
                        std::string_view hint = {}) {
    std::string out;
    protocol::append_error(out, {.sqlstate = sqlstate, .message = message, .hint = hint});
    return out;
}

const std::string* reserved_in(const prepared_names& names) noexcept {
    for (const auto* some : {&names.executed, &names.changed}) {
        for (const auto& name : *some) {
            if (name.starts_with(reserved_prefix)) return &name;
        }
    }
    return nullptr;
}

std::unique_ptr<owed_note> note_for(const std::string& name) {
    auto note = std::make_unique<owed_note>();
    note->sql_name = name;
    return note;
}

}  // namespace

// What has to happen for a name before the client's message.
struct client_link::name_change {
    std::string name;
    bool deallocates = false;
    bool stands_in = false;
    statement_ptr prepares = nullptr;

    [[nodiscard]] std::string sql() const {
        return stands_in ? stand_in_sql(name) : prepares->query;
    }
};

statement_ptr client_link::carried_statement(std::string_view name, std::string_view text,
                                             const parameters& parsed_under) {
    return statements_.find_or_add(text, name, parsed_under);
}

void client_link::plan(const server_link& server, const std::string& name, name_use use,
                       std::vector<name_change>& out) const {
    if (server.has_mentioned(name)) return;  // it is this client's, whatever it is
    const auto mine = own.find(name);
    const auto there = server.held.find(name);
    const bool is_there = there != server.held.end();
    if (mine == own.end()) {
        if (is_there) out.push_back({name, true});
        return;
    }
    const auto& [what, broken] = mine->second;
    if (what == nullptr || (is_there && there->second.what == what)) return;
    if (use == name_use::changes) {
        if (!is_there || !there->second.stand_in) out.push_back({name, is_there, true});
    } else if (use == name_use::executes || !broken) {
        out.push_back({name, is_there, false, what});
    } else if (is_there) {
        out.push_back({name, true});
    }
}

std::vector<client_link::name_change> client_link::plan_all(const server_link& server,
                                                            const prepared_names& names,
                                                            bool any) const {
    std::vector<name_change> out;
    if (own.empty() && server.held.empty()) return out;
    if (any) {
        for (const auto& one : own)
            plan(server, one.first,
                 contains(names.executed, one.first) ? name_use::executes : name_use::any, out);
        for (const auto& one : server.held) {
            if (!own.contains(one.first)) plan(server, one.first, name_use::any, out);
        }
        return out;
    }
    for (const auto& name : names.executed)
        plan(server, name, name_use::executes, out);
    for (const auto& name : names.changed) {
        if (!contains(names.executed, name)) plan(server, name, name_use::changes, out);
    }
    if (server.held.size() < most_held || server.unsynced) return out;
    for (const auto& one : server.held) {
        const auto& name = one.first;
        const bool planned = contains(names.executed, name) || contains(names.changed, name);
        if (!planned && !own.contains(name)) plan(server, name, name_use::any, out);
    }
    return out;
}

// Before anything of the message is carried out; `runs` if it is more than a Parse. `read`: `sql`
// is its text.
client_link::brought client_link::bring_prepared(message& m, std::uint32_t bits,
                                                 std::string_view sql, bool read, bool runs) {
    if (tracking_ != config::session_state::full) return brought::ready;
    if ((bits & (watched | changing_settings)) == 0) return brought::ready;
    auto& server = *m.server;
    prepared_names names;
    if (read && (bits & (protocol::hint_executes | protocol::hint_prepared)) != 0) {
        names = protocol::prepared_names_in(sql, standard_strings_);
        if (const auto* name = reserved_in(names)) {
            refuse(m, error_bytes("42939", "prepared statement name \"" + *name +
                                               "\" is reserved: names of the pooler's own "
                                               "statements begin with \"sluice_\""));
            return brought::refused;
        }
    }
    const bool any = names.any || (bits & about_anything) != 0;
    auto changes = plan_all(server, names, any);
    const bool needed =
        names.any || std::any_of(changes.begin(), changes.end(), [&](auto& one) {
            return contains(names.executed, one.name) || contains(names.changed, one.name);
        });
    if (const auto refused = drop_failed(m, names, changes); refused) return brought::refused;
    if (!changes.empty()) {
        const auto outcome =
            server.unsynced ? ride(m, names, changes) : send_ahead(m, changes, needed, bits);
        if (outcome != brought::ready) return outcome;
    }
    for (const auto& name : names.executed) {
        if (const auto mine = own.find(name); mine != own.end()) mine->second.broken = false;
    }
    if (runs) note_changes(m, bits, sql, read, names);
    return brought::ready;
}

// What has failed already is not tried again: the client gets the error if it needs the name.
bool client_link::drop_failed(message& m, const prepared_names& names,
                              std::vector<name_change>& changes) {
    auto& failures = m.server->bring_failures;
    if (failures.empty()) return false;
    for (const auto& one : changes) {
        const auto at = failures.find(one.name);
        if (at == failures.end()) continue;
        const bool needed = contains(names.executed, one.name) || contains(names.changed, one.name);
        if (!needed && !at->second.deallocating) {
            if (const auto mine = own.find(one.name); mine != own.end()) mine->second.broken = true;
            continue;
        }
        auto error = std::move(at->second.error);
        failures.erase(at);
        refuse(m, std::move(error));
        return true;
    }
    std::erase_if(changes, [&](const name_change& one) { return failures.contains(one.name); });
    return false;
}

// At the start of a batch: in commands of their own, whose outcome the message waits for.
client_link::brought client_link::send_ahead(message& m, std::vector<name_change>& changes,
                                             bool needed, std::uint32_t bits) {
    auto& server = *m.server;
    const bool only_settings =
        server.owed.size() == 1 && server.owed.head().why == errand::settings;
    if (!server.owed.empty() && !only_settings) {
        want_ = client_want::patience;
        return brought::wait;
    }
    if (server.status() == 'E') {
        // Nothing can be brought, nor run: but what stands behind a ROLLBACK could.
        if (m.header.type != 'Q' || (bits & protocol::hint_release) == 0 || !needed)
            return brought::ready;
        refuse(m, error_bytes("0A000",
                              "prepared statements cannot be used in the same query as the end of "
                              "a failed transaction",
                              "Send the ROLLBACK in a query of its own."));
        return brought::refused;
    }
    for (const auto& one : changes)
        send_change(m, one);
    server.unnamed_client = 0;
    want_ = client_want::patience;
    return brought::wait;
}

// Within a transaction an error must not end it, and PREPARE outlasts a rollback, which settings
// do not.
void client_link::send_change(message& m, const name_change& one) {
    auto& server = *m.server;
    const auto run = [&](const std::string& sql, std::unique_ptr<owed_note> note) {
        m.to_server.build([&](std::string& out) { protocol::append_query(out, sql); });
        server.push({owed_kind::query, reply_for::nobody, errand::bring, 0, std::move(note)});
    };
    const bool within = server.status() == 'T';
    const std::string back(savepoint);
    if (within) run("SAVEPOINT " + back, note_for(one.name));
    if (one.deallocates) run(deallocate_sql(one.name), note_deallocate(server, one));
    const bool prepares = one.stands_in || one.prepares != nullptr;
    const bool resets = prepares && !one.stands_in && parses_otherwise(server, *one.prepares);
    if (resets) {
        const auto sql =
            parsing_sql(*server.effective(), *one.prepares->parsed_under, server.parsing_changed);
        run((within ? "" : "BEGIN;") + sql, note_for(one.name));
    }
    if (prepares) run(one.sql(), note_prepare(server, one));
    if (resets && !within) run("ROLLBACK", note_for(one.name));
    if (within) run("ROLLBACK TO SAVEPOINT " + back + ";RELEASE SAVEPOINT " + back, nullptr);
}

std::unique_ptr<owed_note> client_link::note_deallocate(server_link& server,
                                                        const name_change& one) {
    auto note = note_for(one.name);
    const auto there = server.held.find(one.name);
    note->change = owed_note::held_change::deallocates;
    note->held_before = there->second;
    server.held.erase(there);
    return note;
}

std::unique_ptr<owed_note> client_link::note_prepare(server_link& server, const name_change& one) {
    auto note = note_for(one.name);
    note->change = owed_note::held_change::prepares;
    server.held.insert_or_assign(one.name, held_statement{one.prepares, one.stands_in});
    return note;
}

// In the middle of a batch nothing can be waited for; an error ends the batch, as the client's own
// would have. Nor can settings be set for a while: what is only perhaps needed is then missing, and
// whoever runs it is told so.
client_link::brought client_link::ride(message& m, const prepared_names& names,
                                       std::vector<name_change>& changes) {
    auto& server = *m.server;
    for (auto& one : changes) {
        if (one.prepares == nullptr || !parses_otherwise(server, *one.prepares)) continue;
        if (contains(names.executed, one.name)) {
            refuse(m, error_bytes("0A000",
                                  "a statement that was prepared under other settings cannot be "
                                  "used in the middle of a pipeline on another server connection",
                                  "Send a Sync before it."));
            return brought::refused;
        }
        one.prepares = nullptr;
    }
    for (const auto& one : changes) {
        if (one.deallocates) {
            run_before(m, deallocate_sql(one.name));
            server.owed.at(server.owed.size() - 1).note = note_deallocate(server, one);
        }
        if (!one.stands_in && one.prepares == nullptr) continue;
        run_before(m, one.sql());
        server.owed.at(server.owed.size() - 1).note = note_prepare(server, one);
    }
    return brought::ready;
}

bool client_link::parses_otherwise(const server_link& server, const statement& what) {
    return server.parsing_changed ||
           parsing_part(parameters_, server.effective()) != what.parsed_under;
}

// What the message itself changes, as far as the text says.
void client_link::note_changes(message& m, std::uint32_t bits, std::string_view sql, bool read,
                               const prepared_names& names) {
    auto& server = *m.server;
    const bool may_execute_any =
        (bits & protocol::hint_executes) != 0 && (prepared_hints_ & changing_settings) != 0;
    if ((bits & changing_settings) != 0 || may_execute_any) {
        server.parsing_changed = server.parsing_changed || !read || may_execute_any ||
                                 (bits & about_anything) != 0 ||
                                 !protocol::set_config_names_are_literal(sql) ||
                                 protocol::may_change_parsing(sql, standard_strings_);
    }
    if (names.changed.empty()) return;
    auto under =
        server.parsing_changed ? parameters() : parsing_part(parameters_, server.effective());
    for (const auto& name : names.changed)
        server.mention(name, under);
    server.hints |= protocol::hint_prepared;
}

// The client's message is not carried out, and the server made to fail in its place.
void client_link::refuse(message& m, std::string error) {
    auto note = std::make_unique<owed_note>();
    note->own_error = std::move(error);
    auto& server = *m.server;
    server.batch.recording = false;
    if (m.header.type == 'Q' || m.header.type == 'F') {
        m.to_server.build(
            [](std::string& out) { protocol::append_query(out, "DEALLOCATE sluice_missing"); });
        server.unsynced = false;
        server.unnamed_client = 0;
        server.unnamed_changed_in = server.batches;
        server.push({owed_kind::query, reply_for::client, errand::of_client, 0, std::move(note)});
        return;
    }
    server.unsynced = true;
    m.to_server.build([](std::string& out) { append_failing_bind(out); });
    server.push({owed_kind::bind, reply_for::client, errand::of_client, 0, std::move(note)});
}

}  // namespace sluice::pool
