// server_link where session state is concerned: which hints the tags give, asking the server after
// a transaction, what pins, and cleaning between clients (docs/sessions.md).
#include <utility>

#include "pool/client_link.hpp"
#include "pool/server_frame.hpp"
#include "pool/server_link.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::pool {

using config::session_state;
using protocol::outgoing;

namespace {

constexpr std::uint32_t settings_hints = protocol::hint_settings | protocol::hint_reset |
                                         protocol::hint_unknown | protocol::hint_named |
                                         protocol::hint_discard;
constexpr std::uint32_t pins_hints = protocol::hint_temporary | protocol::hint_cursors |
                                     protocol::hint_locks | protocol::hint_prepared |
                                     protocol::hint_channels | protocol::hint_unknown |
                                     protocol::hint_named | protocol::hint_discard;
// A pinned session's that outlast an answer: whether its sequences' values are its own.
constexpr std::uint32_t kept_hints = protocol::hint_sequences;
constexpr std::uint32_t anything = protocol::hint_unknown | protocol::hint_named;

constexpr std::uint32_t bit(question which) noexcept {
    return 1U << static_cast<unsigned>(which);
}

}  // namespace

void server_link::note_tag(std::string_view tag, client_link* client) {
    if (tag.size() < 3) return;
    switch (tag[0]) {
        case 'S':
            if (tag != "SET") return;
            hints |= protocol::hint_settings;
            if (serves_session && client != nullptr && client->sets_defaults())
                reset_pending = true;
            return;
        case 'R':
            if (tag == "ROLLBACK") undone_ = true;
            if (tag == "RESET") {
                hints |= protocol::hint_settings | protocol::hint_reset;
                reset_seen_ = reset_pending = client != nullptr;
            }
            return;
        case 'P':
            if (tag == "PREPARE") {
                hints |= protocol::hint_prepared;
                prepare_seen_ = true;
            }
            return;
        case 'L':
            if (tag == "LISTEN") hints |= protocol::hint_channels;
            if (tag == "LOAD") hints |= protocol::hint_library;
            return;
        case 'U':
            if (tag == "UNLISTEN") hints |= protocol::hint_channels;
            return;
        case 'D':
            if (tag == "DECLARE CURSOR") {
                // Where the text is read, it says whether the cursor is held.
                const bool read = client != nullptr && client->tracking() == session_state::full;
                if (!read) hints |= protocol::hint_cursors;
            } else if (tag == "DEALLOCATE ALL" || tag == "DISCARD ALL") {
                forget_prepared();
                if (client != nullptr) client->forget_statements();
                hints = (hints | protocol::hint_discard) & ~protocol::hint_prepared;
            }
            if (tag == "DISCARD ALL") {
                // Asked about all the same; without asking there is nothing left to clean.
                hints = protocol::hint_discard;
                pins &= ~(pin(pin_reason::sequence) | pin(pin_reason::setting) |
                          pin(pin_reason::process_id));
                sequences_are_foreign = false;
                discard_seen_ = client != nullptr;
                if (client != nullptr) client->channels.clear();
            } else if (tag == "DISCARD SEQUENCES") {
                pins &= ~pin(pin_reason::sequence);
                sequences_are_foreign = false;
            }
            return;
        default:
            return;
    }
}

void server_link::lease_to(const client_link& client) noexcept {
    undone_ = brought_channels = brought_ran_ = marker_passed_ = false;
    parsing_changed = prepare_seen_ = false;
    mentions_.clear();
    bring_failures.clear();
    ended.clear();
    tracked_ = client.tracking() != session_state::off;
    if (knowledge_ != nullptr) knowledge_edition_ = knowledge_->edition();
    if (last_client_ == client.serial()) return;
    if (last_client_ != 0) sequences_are_foreign = true;
    last_client_ = client.serial();
}

// What needs no question: no command takes it away, or the server has no answer.
void server_link::settle_pins(const client_link& client) noexcept {
    if (client.tracking() != session_state::full || hints == 0) return;
    const auto settle = [&](std::uint32_t of, pin_reason why) {
        if ((hints & of) != 0) pins |= pin(why);
        hints &= ~of;
    };
    settle(protocol::hint_library | protocol::hint_dblink, pin_reason::library);
    settle(protocol::hint_seed, pin_reason::seed);
    settle(protocol::hint_process_id, pin_reason::process_id);
    settle(protocol::hint_reads_sequence, pin_reason::sequence);
    if (knowledge_ != nullptr && knowledge_->sequences_matter.load(std::memory_order_relaxed)) {
        settle(protocol::hint_sequences, pin_reason::sequence);
    }
}

// The words of the database's functions may have changed since the client's statements were read,
// by itself or others, or are just being learnt: then any word may have been a hint.
void server_link::note_changes() noexcept {
    if (knowledge_ == nullptr || !tracked_) return;
    if ((hints & protocol::hint_functions) != 0) {
        hints = (hints & ~protocol::hint_functions) | protocol::hint_named;
        knowledge_->changed();
    }
    const auto edition = knowledge_->edition();
    if (std::exchange(knowledge_edition_, edition) != edition || knowledge_->in_doubt()) {
        hints |= protocol::hint_named;
    }
}

next_step server_link::end_transaction(client_link& client, outgoing& to_server) {
    const bool first_look = std::exchange(changes_noted_at_, queries) != queries;
    if (first_look) note_changes();
    if (hints == 0 && pins == 0) return next_step::release;  // nearly always
    const auto tracking = client.tracking();
    if (tracking == session_state::off) return next_step::release;
    settle_pins(client);
    // Before the others: it finds the names of settings to ask for.
    if (first_look && knowledge_ != nullptr && knowledge_->in_doubt() &&
        survey_.take(*knowledge_)) {
        ask(question::functions, client, to_server);
        return end_question(to_server);
    }
    const bool unknown = (pins & pin(pin_reason::unknown)) != 0;
    const bool settings = unknown || (hints & settings_hints) != 0;
    const bool pinning = tracking == session_state::full &&
                         (unknown || (hints & pins_hints) != 0 ||
                          ((pins & passing_pins) != 0 && (hints & ~kept_hints) != 0));
    if (!settings && !pinning) {
        parsing_changed = false;
        if (pins != 0) {
            hints &= kept_hints;
            return next_step::keep;
        }
        if (tracking == session_state::full) hints = 0;
        return next_step::release;
    }
    if (settings) ask(question::settings, client, to_server);
    if (pinning) ask(question::pins, client, to_server);
    return end_question(to_server);
}

next_step server_link::end_question(outgoing& to_server) {
    to_server.build([](std::string& out) { protocol::append_empty(out, 'S'); });
    push({owed_kind::sync, reply_for::nobody, errand::question, 0, nullptr});
    return next_step::wait;
}

bool server_link::ask_again(client_link& client, outgoing& to_server) {
    if ((pins & passing_pins) == 0) return false;
    hints |= protocol::hint_release;
    return end_transaction(client, to_server) == next_step::wait;
}

void server_link::ask(question which, const client_link& client, outgoing& to_server) {
    const auto expect = [&](owed_kind kind) {
        push({kind, reply_for::nobody, errand::question, 0, nullptr});
    };
    const auto name = question_name(which);
    if (!std::exchange(question_prepared_[static_cast<std::size_t>(which)], true)) {
        to_server.build([&](std::string& out) {
            protocol::append_close_statement(out, name);  // if an earlier try has failed half-way
            protocol::append_parse(out, name, question_sql(which), {"\0\0", 2});
        });
        expect(owed_kind::close);
        expect(owed_kind::parse);
    }
    std::string names;
    std::vector<std::string_view> values;
    if (which == question::pins) {
        constexpr auto listing = protocol::hint_prepared | anything;
        constexpr auto pinning = pin(pin_reason::prepared) | pin(pin_reason::unknown);
        const bool lists = (hints & listing) != 0 || (pins & pinning) != 0;
        values.emplace_back(lists ? "t" : "f");
        lists_prepared_ = lists;
    }
    if (which == question::settings) {
        auto known = client.own_settings();
        if (knowledge_ != nullptr) {
            for (auto& one : knowledge_->function_settings())
                known.push_back(std::move(one));
        }
        names = names_array(known);
        values.emplace_back(names);
    }
    to_server.build([&](std::string& out) {
        protocol::append_bind(out, name, values);
        protocol::append_execute(out);
    });
    expect(owed_kind::bind);
    expect(owed_kind::execute);
    asked_ |= bit(which);
}

void server_link::on_answer_row(frame_context& frame) {
    const bool survey = (asked_ & bit(question::functions)) != 0;
    if (survey ? !survey_.add_row(frame.body) : !answer_.add_row(frame.body)) desync();
}

void server_link::on_answer_error() {
    answer_failed_ = true;
    question_prepared_ = {};
    while (!owed.empty() && owed.head().kind != owed_kind::sync)
        owed.pop();
}

void server_link::on_answer_end(client_link* client) {
    const auto asked = std::exchange(asked_, 0);
    const auto answer = std::exchange(answer_, {});
    if (asked == bit(question::functions)) return on_survey_end();
    parsing_changed = false;
    if (std::exchange(answer_failed_, false)) {
        if (client == nullptr) return;  // the hints remain, and everything is cleaned
        pins |= pin(pin_reason::unknown);
        hints = 0;
        return;
    }
    pins &= ~pin(pin_reason::unknown);
    if ((asked & bit(question::settings)) != 0) {
        auto settings = answer.settings;
        const auto* login = defaults_->find("session_authorization");
        if (login != nullptr && *login != answer.session_user) {
            settings.emplace_back("session_authorization", answer.session_user);
        }
        applied = parameters_.with(parameters_.none(), settings);
        const auto* super = defaults_->find("is_superuser");
        const bool cannot_be_set_again =
            answer.has_privileged && (super == nullptr || *super != "on");
        pins &= ~pin(pin_reason::setting);
        if (client != nullptr) {
            const bool may_be_reset =
                (hints & (protocol::hint_reset | protocol::hint_discard | anything)) != 0;
            client->settings_are(applied, may_be_reset);
            if (client->tracking() == session_state::full &&
                (cannot_be_set_again || client->has_unknown_names())) {
                pins |= pin(pin_reason::setting);
            }
        }
        hints &= ~(settings_hints & ~anything);
    }
    if ((asked & bit(question::pins)) != 0) {
        pins = (pins & ~passing_pins) | answer.pins;
        if (client != nullptr) {
            take_prepared(answer, *client);
        } else if (lists_prepared_) {
            pins |= pin(pin_reason::prepared);  // nobody's: cleaned
        }
        take_channels(answer.channels, client);
        hints &= kept_hints;
    } else if (client != nullptr && client->tracking() == session_state::full) {
        hints &= kept_hints;
    } else {
        // settings_only: the rest is cleaned.
        if ((hints & anything) != 0) hints |= pins_hints & ~(settings_hints | anything);
        hints &= ~settings_hints;
    }
}

// The hints remain: they are asked about now that the names are known.
void server_link::on_survey_end() {
    if (!std::exchange(answer_failed_, false)) return survey_.learn();
    const auto error = protocol::as_bytes(last_error_).subspan(protocol::frame_header::size);
    const auto sqlstate = protocol::read_error_fields(error).sqlstate;
    // Canceled, perhaps by the client's statement_timeout: another client's transaction tries it.
    if (sqlstate == "57014") return survey_.give_up();
    survey_.fail(sqlstate);
}

// RESET goes back to the server's value, and the client's session began with another one. Between
// transactions that is put right by what is asked then, but in session mode nothing is.
void server_link::restore_startup(client_link& client, outgoing& to_server) {
    if (client.startup->empty()) return;
    if (client.tracking() == session_state::off && !serves_session) return;
    std::string sql = "SELECT pg_catalog.set_config(v.name, v.value, false) FROM (VALUES ";
    bool first = true;
    for (const auto& [name, value] : client.startup->entries()) {
        sql += first ? "(" : ",(";
        first = false;
        append_literal(sql, name);
        sql += ',';
        append_literal(sql, value);
        sql += ')';
    }
    sql +=
        ") v(name, value) LEFT JOIN pg_catalog.pg_settings s "
        "ON pg_catalog.lower(s.name) = pg_catalog.lower(v.name) "
        "WHERE coalesce(s.source <> 'session', pg_catalog.current_setting(v.name, true) = '')";
    to_server.build([&](std::string& out) { protocol::append_query(out, sql); });
    unnamed_client = 0;
    push({owed_kind::query, reply_for::nobody, errand::of_client, 0, nullptr});
}

bool server_link::abandon(bool message_cut_short, outgoing& to_server) {
    if (message_cut_short || health_ != link_health::fine) return false;
    note_changes();
    frame_passes_ = false;
    batch.recording = false;
    reset_pending = false;
    if (reset_seen_ || discard_seen_) hints |= protocol::hint_settings;
    reset_seen_ = discard_seen_ = false;
    for (std::size_t i = 0; i < owed.size(); ++i) {
        auto& entry = owed.at(i);
        if (entry.dest == reply_for::client) entry.dest = reply_for::nobody;
        if (entry.note != nullptr) entry.note->restores_name = false;
    }
    bool needs_sync = unsynced || skipping;
    if (copy_in && !copy_ended) {
        to_server.build(
            [](std::string& out) { protocol::append_copy_fail(out, "the client has left"); });
        needs_sync = needs_sync || owed.head().kind == owed_kind::execute;
    }
    if (needs_sync) abort_batch(to_server);
    return true;
}

bool server_link::clean_up(outgoing& to_server) {
    if (!owed.empty() || unsynced || skipping || health_ != link_health::fine) return false;
    std::string sql;
    if (status_ != 'I') {
        sql = "ROLLBACK;";
    } else if (!reset_query_.empty()) {
        reset_session(std::exchange(reset_query_, {}), to_server);
        return false;
    } else if (needs_cleaning()) {
        if (std::exchange(listens, false)) hints |= protocol::hint_channels;
        const bool all = (hints & anything) != 0 || (pins & pin(pin_reason::unknown)) != 0;
        const auto clean = [&](std::uint32_t of, pin_reason why, const char* command) {
            if (all || (hints & of) != 0 || (pins & pin(why)) != 0) sql += command;
        };
        const bool resets = all || (hints & settings_hints) != 0;
        if (resets) {
            sql += "RESET SESSION AUTHORIZATION;RESET ALL;";
            applied = parameters_.none();
        }
        clean(protocol::hint_cursors, pin_reason::cursor, "CLOSE ALL;");
        clean(protocol::hint_channels, pin_reason::listening, "UNLISTEN *;");
        clean(protocol::hint_temporary, pin_reason::temporary, "DISCARD TEMP;");
        clean(protocol::hint_locks, pin_reason::lock,
              "SELECT pg_catalog.pg_advisory_unlock_all();");
        clean(0, pin_reason::sequence, "DISCARD SEQUENCES;");
        const auto before = sql.size();
        clean(protocol::hint_prepared, pin_reason::prepared, "DEALLOCATE ALL;");
        if (sql.size() != before) forget_prepared();
        hints = pins = 0;
    } else {
        hints = 0;
    }
    if (sql.empty()) return true;
    sql.pop_back();
    unnamed_client = 0;
    to_server.build([&](std::string& out) { protocol::append_query(out, sql); });
    push({owed_kind::query, reply_for::nobody, errand::clean_up, 0, nullptr});
    return false;
}

void server_link::reset_session(const std::string& query, outgoing& to_server) {
    if (query.empty()) return;
    forget_prepared();
    applied = parameters_.none();
    hints = pins = 0;
    unnamed_client = 0;
    to_server.build([&](std::string& out) { protocol::append_query(out, query); });
    push({owed_kind::query, reply_for::nobody, errand::clean_up, 0, nullptr});
}

}  // namespace sluice::pool
