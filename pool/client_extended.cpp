// client_link where the extended protocol's Parse, Bind, Describe and Close are concerned: a
// client's names for statements, the names that the server knows them by, and bringing a statement
// to the connection that is to run it.
#include "pool/client_link.hpp"
#include "pool/client_message.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::pool {

using protocol::as_text;

// A client's SQL-level DEALLOCATE of a statement that it prepared by protocol: the server knows it
// under another name, which other clients share. So the server is given a statement to deallocate.
void client_link::stand_in(message& m) {
    m.server->unsynced = true;
    m.to_server.build([](std::string& out) {
        protocol::append_close_statement(out, stand_in_name);  // if one was never used up
        protocol::append_parse(out, stand_in_name, "SELECT 1", {"\0\0", 2});
    });
    m.server->push({owed_kind::close, reply_for::nobody, errand::of_client, 0, nullptr});
    m.server->push({owed_kind::parse, reply_for::nobody, errand::of_client, 0, nullptr});
}

void client_link::parse_deallocate(message& m, statement_names::iterator at) {
    auto note = std::make_unique<owed_note>();
    note->name = at->first;
    note->named_before = at->second;
    note->restores_name = true;
    names_.erase(at);
    stand_in(m);
    m.server->batch.recording = false;
    m.server->unnamed_client = 0;
    m.to_server.build([](std::string& out) {
        protocol::append_parse(out, "", std::string("DEALLOCATE ") + std::string(stand_in_name),
                               {"\0\0", 2});
    });
    m.server->push({owed_kind::parse, reply_for::client, errand::of_client, 0, std::move(note)});
    unnamed_.reset();
    ++unnamed_count_;
    m.server->unnamed_client = serial_;
    m.server->unnamed_count = unnamed_count_;
    m.server->unnamed_changed_in = m.server->names_changed_in = m.server->batches;
}

// The statement's Parse went out in an earlier batch that may still fail: what follows has to know.
bool client_link::defer_for(message& m, std::uint64_t statement) {
    if (m.server->prepared.use(statement, m.server->batches) != prepared_cache::state::pending) {
        return false;
    }
    want_ = client_want::patience;
    return true;
}

// An error may still undo what an earlier batch did to the names: what follows has to know. It is
// the same for the statements that were closed on the server to make room.
bool client_link::defer_name(const message& m) {
    if (!m.server->undecided(m.server->names_changed_in)) return false;
    want_ = client_want::patience;
    return true;
}

bool client_link::defer_unnamed(const message& m) {
    if (!m.server->undecided(m.server->unnamed_changed_in)) return false;
    want_ = client_want::patience;
    return true;
}

// Something of the batch may fail before this message, which is then skipped: what it does to the
// unnamed statement has to be taken back.
std::unique_ptr<owed_note> client_link::note_unnamed(const message& m) {
    if (!m.server->unsynced) return nullptr;
    auto note = std::make_unique<owed_note>();
    note->unnamed_before = std::move(unnamed_);
    note->restores_unnamed = true;
    return note;
}

// Pipelines prepare one text many times.
bool client_link::is_unnamed_again(std::string_view query, std::string_view types) const noexcept {
    return unnamed_ != nullptr && unnamed_->query == query && unnamed_->types == types;
}

// Its text hinted at nothing, and is read by the same rules and words as then.
bool client_link::is_plain_as_before(const message& m) noexcept {
    look_at_strings();
    if (unnamed_->standard_strings != standard_strings_) return false;
    if (tracking_ == config::session_state::off) return true;
    const auto* known = m.server->knowledge();
    return unnamed_->hints == 0 && !makes_temporary_ &&
           (known == nullptr ||
            (known->edition() == unnamed_->words_edition && known->edition() == words_edition_));
}

void client_link::on_parse(message& m) {
    protocol::reader in(m.body);
    const auto name = in.text();
    note_default(m, as_text(m.body));
    if (name.empty()) {
        std::unique_ptr<owed_note> note;
        if (m.whole()) {
            const auto query = in.text();
            const auto types = as_text(in.take_rest());
            if (!in.ok() || types.size() < 2) return reject("08P01", "invalid Parse message");
            if (read_text(m, query)) return;
            if (barrier_ && m.server->status() != 'E') {
                const auto at = names_.find(protocol::read_deallocate(query).name);
                if (at != names_.end()) return parse_deallocate(m, at);
            }
            const bool again = is_unnamed_again(query, types);
            const bool as_before = again && is_plain_as_before(m);
            const auto hints = as_before ? 0 : hints_of(m, query);
            if (bring_for_parse(m, hints, query) != brought::ready) return;
            // What it would take back if it were skipped is what it makes.
            if (!again) {
                note = note_unnamed(m);
                if (unnamed_ == nullptr) unnamed_ = std::make_unique<unnamed_statement>();
                unnamed_->query.assign(query);
                unnamed_->types.assign(types);
            }
            unnamed_->hints = hints;
            unnamed_->words_edition = words_edition_;
            if (as_before) {
                renew_text(query, unnamed_->text);
            } else {
                unnamed_->text = text_of(m, query);
            }
            unnamed_->standard_strings = standard_strings_;
        } else {
            unnamed_.reset();  // too long to keep: it works on this connection only
        }
        ++unnamed_count_;
        m.server->unnamed_client = serial_;
        m.server->unnamed_count = unnamed_count_;
        m.server->unnamed_changed_in = m.server->batches;
        return pass(m, owed_kind::parse, std::move(note));
    }
    const auto query = in.text();
    const auto types = as_text(in.take_rest());
    if (!in.ok() || types.size() < 2) return reject("08P01", "invalid Parse message");
    const auto hints = hints_of(m, query);
    if (bring_for_parse(m, hints, query) != brought::ready) return;
    if (max_statements_ == 0) {
        prepared_hints_ |= hints;  // of any name
        note_passed(name, text_of(m, query));
        return pass(m, owed_kind::parse);
    }
    if (defer_name(m)) return;
    if (is_refused_in_failed_transaction(m, query)) {
        return fail_in_turn(m, "25P02",
                            "current transaction is aborted, commands ignored until end of "
                            "transaction block");
    }
    if (names_.contains(name)) {
        return fail_in_turn(m, "42P05",
                            "prepared statement \"" + std::string(name) + "\" already exists");
    }
    const auto what = statements_.find_or_add(query, types, parse_settings(hints));
    if (defer_for(m, what->id)) return;
    auto note = std::make_unique<owed_note>();
    note->name = name;
    note->restores_name = true;
    names_.emplace(std::string(name),
                   named_statement{what, false, hints, words_edition_, text_of(m, query)});
    m.server->unsynced = true;
    m.server->batch.recording = false;
    auto* counters = m.server->counters();
    const auto now = m.server->prepared.use(what->id, m.server->batches);
    if (now == prepared_cache::state::ready || now == prepared_cache::state::sent) {
        if (counters != nullptr) counters->statement_hits.add();
        m.server->push(
            {owed_kind::parse, reply_for::faked, errand::of_client, what->id, std::move(note)});
        m.server->settle_head(m.to_client, true);
        if (!m.server->owed.empty()) m.server->names_changed_in = m.server->batches;
        return;
    }
    if (counters != nullptr) counters->statement_misses.add();
    if (now == prepared_cache::state::stale) {
        m.to_server.build(
            [&](std::string& out) { protocol::append_close_statement(out, what->server_name); });
        m.server->push({owed_kind::close, reply_for::nobody, errand::of_client, 0, nullptr});
    }
    make_room(m);
    m.to_server.build(
        [&](std::string& out) { protocol::append_parse(out, what->server_name, query, types); });
    m.server->prepared.add(what, m.server->batches);
    m.server->names_changed_in = m.server->batches;
    m.server->push(
        {owed_kind::parse, reply_for::client, errand::of_client, what->id, std::move(note)});
}

// Before the first message of a batch, which may wait; after it nothing can. Without
// max_prepared_statements, names share one space.
client_link::brought client_link::bring_for_parse(message& m, std::uint32_t hints,
                                                  std::string_view sql) {
    if (max_statements_ == 0) hints |= protocol::hint_named;
    return bring_prepared(m, hints, sql, true, false);
}

// Only EXECUTE is looked into.
client_link::brought client_link::bring_for_describe(message& m, std::uint32_t hints,
                                                     std::string_view sql) {
    return bring_prepared(m, hints & protocol::hint_executes, sql, true, false);
}

// PostgreSQL looks at this before it looks at the name.
bool client_link::is_refused_in_failed_transaction(const message& m, std::string_view sql) {
    if (m.server->status() != 'E' || !m.server->owed.empty() || m.server->unsynced) return false;
    const auto bits = protocol::read_session_hints(sql, true, nullptr);
    return (bits & (protocol::hint_release | protocol::hint_prepared)) == 0;  // not its end
}

// The shape of EXECUTE's rows is of the client's own prepared statement.
parameters client_link::parse_settings(std::uint32_t hints) {
    auto out = parameters_.without(wanted, "application_name");
    if ((hints & protocol::hint_executes) == 0) return out;
    return parameters_.with(out, "sluice.client", std::to_string(serial_));
}

void client_link::on_bind(message& m) {
    protocol::reader in(m.body);
    const auto portal = in.text();
    const auto name = in.text();
    if (!in.ok()) return reject("08P01", "invalid Bind message");
    if (name.empty()) {
        if (defer_unnamed(m)) return;
        if (unnamed_ != nullptr) read_again(m, unnamed_->query, *unnamed_);
        // Without a copy it was too long to be read, or there is none.
        const bool is_there = m.server->unnamed_client == serial_;
        const auto hints = unnamed_ != nullptr ? unnamed_->hints : is_there ? unread_hints() : 0;
        const auto sql = unnamed_ != nullptr ? std::string_view(unnamed_->query) : "";
        if (bring_prepared(m, hints, sql, unnamed_ != nullptr, true) != brought::ready) return;
        bring_unnamed(m);
        note_bind(m, hints);
        if (unnamed_ != nullptr) renew_text(unnamed_->query, unnamed_->text);
        note_bound(portal, unnamed_ != nullptr ? unnamed_->text : 0);
        return pass(m, owed_kind::bind);
    }
    if (max_statements_ == 0) {
        if (bring_prepared(m, prepared_hints_ | protocol::hint_named, {}, false, true) !=
            brought::ready) {
            return;
        }
        note_bind(m, prepared_hints_);
        note_bound(portal, passed_text(name));
        return pass(m, owed_kind::bind);
    }
    if (defer_name(m)) return;
    const auto at = names_.find(name);
    if (at == names_.end()) {
        return fail_in_turn(m, "26000",
                            "prepared statement \"" + std::string(name) + "\" does not exist");
    }
    if (defer_for(m, at->second.what->id)) return;
    if (m.server->owed.empty() && m.server->status() == 'I' && !m.server->unsynced && m.whole()) {
        m.server->batch.bytes.clear();
        m.server->batch.recording = true;
        m.server->batch.may_change_shape = !at->second.described;
        m.server->batch.answered = false;
    }
    const auto what = at->second.what;
    read_again(m, what->query, at->second);
    if (bring_prepared(m, at->second.hints, what->query, true, true) != brought::ready) return;
    note_bind(m, at->second.hints);
    renew_text(what->query, at->second.text);
    note_bound(portal, at->second.text);
    bring_statement(m, what);
    pass_renamed(m, portal.size() + 1, name, what->server_name, owed_kind::bind, what->id);
}

void client_link::on_describe(message& m) {
    if (m.body.size() < 2) return reject("08P01", "invalid Describe message");
    const auto name = as_text(m.body.subspan(1, m.body.size() - 2));
    if (m.body[0] == 'P') m.server->batch.may_change_shape = true;
    if (m.body[0] == 'S' && name.empty()) {
        if (defer_unnamed(m)) return;
        if (unnamed_ != nullptr &&
            bring_for_describe(m, unnamed_->hints, unnamed_->query) != brought::ready) {
            return;
        }
        bring_unnamed(m);
    }
    const bool named = m.body[0] == 'S' && !name.empty();
    if (named && max_statements_ == 0 &&
        bring_prepared(m, prepared_hints_ | protocol::hint_named, {}, false, false) !=
            brought::ready) {
        return;
    }
    if (!named || max_statements_ == 0) return pass(m, owed_kind::describe);
    if (defer_name(m)) return;
    const auto at = names_.find(name);
    if (at == names_.end()) {
        return fail_in_turn(m, "26000",
                            "prepared statement \"" + std::string(name) + "\" does not exist");
    }
    if (defer_for(m, at->second.what->id)) return;
    const auto what = at->second.what;
    if (bring_for_describe(m, at->second.hints, what->query) != brought::ready) return;
    m.server->batch.recording = false;
    at->second.described = true;
    bring_statement(m, what);
    pass_renamed(m, 1, name, what->server_name, owed_kind::describe, what->id);
}

void client_link::on_close(message& m) {
    if (m.body.size() < 2) return reject("08P01", "invalid Close message");
    const auto name = as_text(m.body.subspan(1, m.body.size() - 2));
    const bool ours = m.body[0] == 'S' && !name.empty() && max_statements_ != 0;
    std::unique_ptr<owed_note> note;
    if (m.body[0] == 'S' && name.empty()) {
        if (m.server != nullptr) note = note_unnamed(m);
        unnamed_.reset();
        if (m.server != nullptr) {
            m.server->unnamed_client = 0;
            m.server->unnamed_changed_in = m.server->batches;
        }
    }
    if (m.server != nullptr && ours && defer_name(m)) return;
    if (m.server != nullptr && !ours) return pass(m, owed_kind::close, std::move(note));

    note = std::make_unique<owed_note>();
    if (const auto at = ours ? names_.find(name) : names_.end(); at != names_.end()) {
        note->name = name;
        note->named_before = at->second;
        note->restores_name = true;
        names_.erase(at);
    }
    if (m.server == nullptr) {
        m.to_client.build([](std::string& out) { protocol::append_empty(out, '3'); });
        return;
    }
    m.server->batch.recording = false;
    m.server->unsynced = true;
    m.server->push({owed_kind::close, reply_for::faked, errand::of_client, 0, std::move(note)});
    m.server->settle_head(m.to_client, true);
    if (!m.server->owed.empty()) m.server->names_changed_in = m.server->batches;
}

void client_link::bring_statement(message& m, const statement_ptr& what) {
    auto* counters = m.server->counters();
    const auto now = m.server->prepared.use(what->id, m.server->batches);
    if (now == prepared_cache::state::ready || now == prepared_cache::state::sent) {
        if (counters != nullptr) counters->statement_hits.add();
        return;
    }
    if (counters != nullptr) counters->statement_misses.add();
    if (now == prepared_cache::state::stale) {
        m.to_server.build(
            [&](std::string& out) { protocol::append_close_statement(out, what->server_name); });
        m.server->push({owed_kind::close, reply_for::nobody, errand::of_client, 0, nullptr});
    } else {
        make_room(m);
    }
    m.server->unsynced = true;
    m.to_server.build([&](std::string& out) {
        protocol::append_parse(out, what->server_name, what->query, what->types);
    });
    m.server->push({owed_kind::parse, reply_for::nobody, errand::of_client, what->id, nullptr});
    m.server->prepared.add(what, m.server->batches);
    m.server->names_changed_in =
        m.server->batches;  // it may be evicted before it is known to be there
}

void client_link::make_room(message& m) const {
    auto evicted = m.server->prepared.evict(max_statements_);
    if (evicted == nullptr) return;
    if (auto* counters = m.server->counters()) counters->statement_evictions.add();
    m.server->unsynced = true;
    m.to_server.build(
        [&](std::string& out) { protocol::append_close_statement(out, evicted->server_name); });
    auto note = std::make_unique<owed_note>();
    note->evicted = std::move(evicted);
    m.server->names_changed_in = m.server->batches;
    m.server->push({owed_kind::close, reply_for::nobody, errand::of_client, 0, std::move(note)});
}

// The unnamed statement of a server connection may be another client's, or gone.
void client_link::bring_unnamed(message& m) {
    if (m.server->unnamed_client == serial_ && m.server->unnamed_count == unnamed_count_) return;
    if (unnamed_ != nullptr) {
        m.server->unsynced = true;
        m.to_server.build([&](std::string& out) {
            protocol::append_parse(out, "", unnamed_->query, unnamed_->types);
        });
        m.server->push({owed_kind::parse, reply_for::nobody, errand::of_client, 0, nullptr});
        m.server->unnamed_client = serial_;
        m.server->unnamed_count = unnamed_count_;
        m.server->unnamed_changed_in = m.server->batches;
    } else if (m.server->unnamed_client != 0) {
        m.server->unsynced = true;
        m.to_server.build([](std::string& out) { protocol::append_close_statement(out, ""); });
        m.server->push({owed_kind::close, reply_for::nobody, errand::of_client, 0, nullptr});
        m.server->unnamed_client = 0;
        m.server->unnamed_changed_in = m.server->batches;
    }
}

}  // namespace sluice::pool
