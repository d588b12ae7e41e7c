// server_link where SQL-level prepared statements are concerned: what the server lists, whose it
// is, and what a failure of ours means (docs/sessions.md).
#include <algorithm>

#include "pool/client_link.hpp"
#include "pool/server_frame.hpp"
#include "pool/server_link.hpp"
#include "pool/sql_prepared.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::pool {

namespace {

constexpr std::string_view query_timeout_text = "canceling statement due to query_timeout";

}  // namespace

void server_link::forget_prepared() {
    prepared.clear();
    held.clear();
    question_prepared_ = {};
}

void server_link::mention(const std::string& name, const parameters& parsed_under) {
    for (auto& one : mentions_) {
        if (one.first != name) continue;
        if (one.second != parsed_under) one.second = nullptr;
        return;
    }
    mentions_.emplace_back(name, parsed_under);
}

bool server_link::has_mentioned(std::string_view name) const noexcept {
    return std::any_of(mentions_.begin(), mentions_.end(),
                       [&](const auto& one) { return one.first == name; });
}

// What the server lists is the client's where it has changed the name itself; anything else was
// there before, and may be another's.
void server_link::take_prepared(const session_answer& answer, client_link& client) {
    if (lists_prepared_) {
        for (const auto& [name, text] : answer.prepared)
            take_listed(name, text, client);
        std::erase_if(held, [&](const auto& one) {
            const auto& name = one.first;
            const bool listed = std::any_of(answer.prepared.begin(), answer.prepared.end(),
                                            [&](const auto& row) { return row.first == name; });
            if (listed) return false;
            const auto mine = client.own.find(name);
            const bool was_mine =
                one.second.stand_in || has_mentioned(name) ||
                (mine != client.own.end() && mine->second.what == one.second.what);
            if (was_mine && mine != client.own.end()) client.own.erase(mine);
            return true;
        });
        mentions_.clear();
        prepare_seen_ = false;
    }
    const bool stays = std::any_of(client.own.begin(), client.own.end(),
                                   [](const auto& one) { return one.second.what == nullptr; });
    if (stays) pins |= pin(pin_reason::prepared);
}

void server_link::take_listed(const std::string& name, const std::optional<std::string>& text,
                              client_link& client) {
    const auto there = held.find(name);
    const bool known = there != held.end();
    if (known && there->second.stand_in && text == stand_in_sql(name)) return;
    const auto mention = std::find_if(mentions_.begin(), mentions_.end(),
                                      [&](const auto& one) { return one.first == name; });
    const bool mentioned = mention != mentions_.end();
    const auto under = mentioned ? mention->second : nullptr;
    statement_ptr what;
    if (known && !there->second.stand_in) {
        const auto& was = there->second.what;
        const bool same = was == nullptr || (text && is_listed_as(*was, *text));
        const bool again = mentioned && prepare_seen_;
        if (same && (!again || (was != nullptr && was->parsed_under == under))) return;
        // The same text again, under other settings or not: it cannot be told.
        if (!same && under != nullptr && text) what = portable(name, *text, under, client);
    } else if (under != nullptr && text) {
        what = portable(name, *text, under, client);
    }
    held.insert_or_assign(name, held_statement{what});
    client.own.insert_or_assign(name, own_statement{what});
}

// Null: it has to stay where it is.
statement_ptr server_link::portable(const std::string& name, std::string_view text,
                                    const parameters& under, client_link& client) {
    if (!client.may_carry_statements() || client.own.size() >= most_own_statements) return nullptr;
    const auto sql = protocol::prepare_statement_in(text, name);
    std::size_t bytes = sql.size();
    for (const auto& one : client.own)
        bytes += one.second.what == nullptr ? 0 : one.second.what->query.size();
    if (sql.empty() || bytes > most_own_bytes) return nullptr;
    return client.carried_statement(name, sql, under);
}

// The command that the server was to run never happened, or failed.
void server_link::undo_change(const owed_note& note) {
    using change = owed_note::held_change;
    if (note.change == change::deallocates) held.insert_or_assign(note.sql_name, *note.held_before);
    if (note.change == change::prepares) held.erase(note.sql_name);
}

// Nobody else is disturbed: the client is told if its message needs the name.
void server_link::on_bring_error(frame_context& frame) {
    const auto* note = owed.head().note.get();
    if (note == nullptr) return;
    const auto sqlstate = protocol::read_error_fields(frame.body).sqlstate;
    const bool deallocating = note->change == owed_note::held_change::deallocates;
    if (deallocating && sqlstate == "26000") return;
    const auto [failure, first] = bring_failures.try_emplace(note->sql_name);
    if (first) {
        failure->second.deallocating = deallocating;
        auto& error = failure->second.error;
        if (cancelled == cancel_reason::query_timeout && sqlstate == "57014") {
            protocol::append_error(error, {.sqlstate = "57014", .message = query_timeout_text});
        } else {
            error = protocol::as_text(frame.part);
        }
    }
    // Where it could not be deallocated, it is still there.
    if (first || !failure->second.deallocating) undo_change(*note);
}

}  // namespace sluice::pool
