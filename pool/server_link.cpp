#include "pool/server_link.hpp"

#include <algorithm>
#include <utility>

#include "pool/client_link.hpp"
#include "pool/server_frame.hpp"
#include "pool/sqlstate.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"
#include "protocol/prepared_names.hpp"

namespace sluice::pool {

using protocol::as_bytes;
using protocol::as_text;
using protocol::byte_span;
using protocol::outgoing;

void append_failing_bind(std::string& out) {
    protocol::frame_writer(out, 'B')
        .text("")
        .text("sluice_missing")
        .u32(0)
        .bytes({"\0\0", 2})
        .finish();
}

namespace {

// A frame that has to be read whole is at most this long; of a longer one that may be streamed,
// this much is enough to know what it says.
constexpr std::size_t whole_limit = 1U << 20;
constexpr std::size_t prefix = 4096;

}  // namespace

server_link::server_link(parameter_table& table, const std::vector<parameter_set::entry>& reported)
    : applied(table.none()),
      parameters_(table),
      reported_(table.with(table.none(), reported)),
      defaults_(reported_) {}

bool server_link::streamable(char type) const noexcept {
    switch (type) {
        case 'D':
        case 'd':
        case 'T':
        case 'V':
        case 'A':
        case 'N':
        case 'E':
            return true;
        default:
            return false;
    }
}

std::size_t server_link::receive(byte_span in, client_link* client, outgoing& to_client,
                                 outgoing& to_server) {
    std::size_t at = 0;
    while (at < in.size() && health_ == link_health::fine) {
        const auto rest = in.subspan(at);
        if (frame_left_ > 0) {
            const auto n =
                static_cast<std::size_t>(std::min<std::uint64_t>(frame_left_, rest.size()));
            if (frame_passes_) to_client.pass(rest.first(n));
            frame_left_ -= n;
            at += n;
            continue;
        }
        protocol::frame_header header;
        const auto read = protocol::read_header(rest, header);
        if (read == protocol::header_status::partial) break;
        const bool data = header.type == 'D' || header.type == 'd';
        const bool asked = !owed.empty() && owed.head().why == errand::question;
        const bool streams = streamable(header.type) && !(data && asked);
        if (read == protocol::header_status::broken || (!streams && header.total() > whole_limit)) {
            desync();
            break;
        }
        const auto needed = data && !asked ? protocol::frame_header::size
                            : streams      ? std::min(header.total(), prefix)
                                           : header.total();
        if (rest.size() < needed) break;
        const auto part = rest.first(std::min(rest.size(), header.total()));
        frame_left_ = header.total() - part.size();
        frame_passes_ = false;
        frame_context frame{header.type, part,      part.subspan(protocol::frame_header::size),
                            client,      to_client, to_server};
        on_frame(frame);
        at += part.size();
    }
    if (health_ == link_health::dying && frame_left_ > 0 && at < in.size()) {
        const auto n =
            static_cast<std::size_t>(std::min<std::uint64_t>(frame_left_, in.size() - at));
        if (frame_passes_) to_client.pass(in.subspan(at, n));
        frame_left_ -= n;
        at += n;
    }
    return at;
}

void server_link::forward(frame_context& frame) {
    if (frame.client == nullptr) return;
    frame.to_client.pass(frame.part);
    frame_passes_ = true;
    batch.answered = true;
}

bool server_link::for_client(const frame_context& frame) noexcept {
    return frame.client != nullptr && !owed.empty() && owed.head().dest == reply_for::client;
}

void server_link::on_frame(frame_context& frame) {
    switch (frame.type) {
        case 'D':
        case 'd':
        case 'H':
            if (owed.empty()) return desync();
            if (owed.head().why == errand::question) return on_answer_row(frame);
            if (for_client(frame)) forward(frame);
            return;
        case 'Z':
            return on_ready(frame);
        case 'C':
            return on_command_complete(frame);
        case 'T':
            return on_row_description(frame);
        case '1':
            return on_completion(frame, owed_kind::parse);
        case '2':
            return on_completion(frame, owed_kind::bind);
        case '3':
            return on_completion(frame, owed_kind::close);
        case 'n':
            return on_completion(frame, owed_kind::describe);
        case 's':
            return on_completion(frame, owed_kind::execute);
        case 'E':
            return on_error(frame);
        case 'S':
            return on_parameter_status(frame);
        case 'G':
            return on_copy_in(frame);
        case 'N':
            return on_notice(frame);
        case 'A':
            return on_notification(frame);
        case 'c':
        case 't':
        case 'V':
            if (owed.empty()) return desync();
            if (for_client(frame)) forward(frame);
            return;
        case 'I':
            if (!owed.empty() && owed.head().kind == owed_kind::query) {
                if (for_client(frame)) forward(frame);
                return;
            }
            return on_completion(frame, owed_kind::execute);
        default:
            return desync();  // CopyBoth and login messages have no place here
    }
}

void server_link::on_completion(frame_context& frame, owed_kind kind) {
    if (owed.empty() || owed.head().kind != kind) return desync();
    if (for_client(frame)) forward(frame);
    if (kind == owed_kind::execute) note_ended(frame, owed.head().text, false);
    if (kind == owed_kind::parse && owed.head().statement != 0) {
        prepared.confirm(owed.head().statement);
    }
    owed.pop();
    settle_head(frame.to_client, frame.client != nullptr);
}

void server_link::on_row_description(frame_context& frame) {
    if (owed.empty()) return desync();
    if (owed.head().kind == owed_kind::describe) return on_completion(frame, owed_kind::describe);
    if (for_client(frame)) forward(frame);
}

void server_link::settle_head(outgoing& to_client, bool has_client) {
    while (!owed.empty()) {
        auto& head = owed.head();
        if (head.kind == owed_kind::copy_end) {
            owed.pop();
            continue;
        }
        if (head.dest != reply_for::faked) return;
        if (has_client) {
            to_client.build([&](std::string& out) {
                protocol::append_empty(out, head.kind == owed_kind::parse ? '1' : '3');
            });
        }
        owed.pop();
    }
}

void server_link::on_command_complete(frame_context& frame) {
    if (owed.empty()) return desync();
    if (copy_in && owed.size() > 1 && owed.at(1).kind == owed_kind::copy_end) owed.erase(1);
    copy_in = false;
    auto& head = owed.head();
    if (head.kind != owed_kind::query && head.kind != owed_kind::execute) return desync();
    // Also if the client has left.
    if (!frame.body.empty() && head.why == errand::of_client &&
        (head.dest == reply_for::client || frame.client == nullptr)) {
        note_tag(as_text(frame.body.first(frame.body.size() - 1)), frame.client);
    } else if (brought_channels && head.why == errand::of_client) {
        undone_ = false;  // what was undone was so before the channels came
        brought_ran_ = true;
    }
    if (!frame.body.empty() && for_client(frame)) forward(frame);
    if (owed.head().kind == owed_kind::execute) {
        const auto size = std::max<std::size_t>(frame.body.size(), 1) - 1;
        note_ended(frame, head.text, false, as_text(frame.body.first(size)));
        owed.pop();
        settle_head(frame.to_client, frame.client != nullptr);
    }
}

// A statement of the client's has come to its end, of which the client is told.
void server_link::note_ended(const frame_context& frame, std::uint32_t text, bool failed,
                             std::string_view tag) {
    if (!for_client(frame) || !frame.client->counts_statements()) return;
    ended.add(text, failed, tag == "BEGIN" || tag == "START TRANSACTION");
}

void server_link::on_ready(frame_context& frame) {
    if (frame.body.size() != 1) return desync();
    while (!owed.empty() && owed.head().kind == owed_kind::copy_end)
        owed.pop();
    if (owed.empty()) return desync();
    auto& head = owed.head();
    if (head.kind != owed_kind::sync && head.kind != owed_kind::query &&
        head.kind != owed_kind::function_call) {
        return desync();
    }
    answered_to = std::max(answered_to, head.statement);
    status_ = static_cast<char>(frame.body[0]);
    if (status_ != 'I' && status_ != 'T' && status_ != 'E') return desync();
    copy_in = false;
    if (head.why == errand::settings) {
        settings_owed_ = 0;
        if (!settings_failed_) applied = applying_;
        if (frame.client != nullptr) tell_reported(*frame.client, frame.to_client);
    } else if (head.why == errand::question) {
        on_answer_end(frame.client);
    } else if (head.dest == reply_for::client) {
        if (discard_seen_) {
            applied = parameters_.none();
            if (frame.client != nullptr) frame.client->discard_all();
        }
        discard_seen_ = reset_seen_ = false;
        if (head.kind != owed_kind::sync) note_ended(frame, head.text, query_failed_);
        query_failed_ = false;
        ended.end_batch();
        ++queries;
        if (counters_ != nullptr) counters_->queries.add();
        if (!held_from && status_ == 'I' && may_have_notified(frame.client)) {
            held_from = frame.to_client.size();
        }
        forward(frame);
        // Committed: what is undone later was not done with them.
        if (status_ == 'I' && std::exchange(brought_ran_, false) && !undone_) {
            brought_within = false;
        }
        const bool goes_on = status_ == 'T' || (status_ == 'I' && serves_session);
        if (std::exchange(reset_pending, false) && goes_on && frame.client != nullptr) {
            restore_startup(*frame.client, frame.to_server);
        }
    }
    owed.pop();
    settle_head(frame.to_client, frame.client != nullptr);
    if (owed.empty()) {
        batch.recording = false;
        owed.shrink();
    }
}

void server_link::on_notice(frame_context& frame) {
    const auto sqlstate = protocol::read_error_fields(frame.body).sqlstate;
    // An immediate shutdown says goodbye in a notice. Between queries it concerns nobody.
    if (owed.empty() && (sqlstate == "57P01" || sqlstate == "57P02")) {
        health_ = link_health::dying;
        return;
    }
    if (!owed.empty() && owed.head().why == errand::bring) return;  // it has been told before
    const bool answered = batch.answered;
    forward(frame);
    batch.answered = answered;
}

// Brings what the client knows of the server's parameters up to date.
void server_link::tell_reported(client_link& client, outgoing& to_client) {
    if (client.reported == reported_) return;
    for (const auto& [name, value] : reported_->entries()) {
        const auto* told = client.reported->find(name);
        if (told != nullptr && *told == value) continue;
        to_client.build([&n = name, &v = value](std::string& out) {
            protocol::append_parameter_status(out, n, v);
        });
    }
    client.reported = reported_;
}

void server_link::on_copy_in(frame_context& frame) {
    if (owed.empty()) return desync();
    copy_in = true;
    const bool extended = owed.head().kind == owed_kind::execute;
    std::size_t end = 1;
    while (end < owed.size() && owed.at(end).kind != owed_kind::copy_end) {
        if (owed.at(end).kind == owed_kind::sync) {
            owed.erase(end);
        } else {
            ++end;
        }
    }
    copy_ended = end < owed.size();
    bool synced = false;
    for (std::size_t i = 1; i < owed.size(); ++i) {
        synced = synced || owed.at(i).kind == owed_kind::sync;
    }
    if (extended && !synced) unsynced = true;  // a Sync that was ignored has to come again
    if (owed.head().dest == reply_for::client) return forward(frame);
    // Nobody is there to send the data, or the Sync.
    if (!copy_ended) {
        frame.to_server.build(
            [](std::string& out) { protocol::append_copy_fail(out, "the client has left"); });
    }
    if (unsynced) abort_batch(frame.to_server);
}

// A Sync alone would commit what the batch has done so far.
void server_link::abort_batch(outgoing& to_server) {
    if (!skipping) {
        to_server.build([](std::string& out) { append_failing_bind(out); });
        push({owed_kind::bind, reply_for::nobody, errand::of_client, 0, nullptr});
    }
    to_server.build([](std::string& out) { protocol::append_empty(out, 'S'); });
    push({owed_kind::sync, reply_for::nobody, errand::of_client, 0, nullptr});
    unsynced = skipping = false;
}

void server_link::on_parameter_status(frame_context& frame) {
    protocol::reader in(frame.body);
    const auto name = in.text();
    const auto value = in.text();
    if (!in.at_end()) return desync();
    reported_ = parameters_.with(reported_, name, value);
    if (owed.empty()) {  // of its own accord: the server's configuration was reloaded
        defaults_ = parameters_.with(defaults_, name, value);
    }
    if (frame.client == nullptr) {
        if (!owed.empty() && owed.head().why == errand::of_client) hints |= protocol::hint_settings;
        return;
    }
    const bool own_change = for_client(frame);
    if (!owed.empty() && owed.head().why == errand::settings)
        return;  // the client is told when it is done
    if (!owed.empty() && owed.head().why == errand::bring) return;  // and back again
    if (own_change && protocol::decides_parsing(name)) parsing_changed = true;
    if (own_change) hints |= protocol::hint_settings;
    if (own_change && discard_seen_) {
        frame.client->server_reported(name, value, false);
    } else if (own_change) {
        const auto* preset = defaults_->find(name);
        if (reset_seen_ && preset != nullptr && *preset == value) {
            applied = parameters_.without(applied, name);
            frame.client->server_reported(name, value, false);
            const auto* at_start = frame.client->startup->find(name);
            frame.client->wanted = at_start != nullptr
                                       ? parameters_.with(frame.client->wanted, name, *at_start)
                                       : parameters_.without(frame.client->wanted, name);
        } else {
            applied = parameters_.with(applied, name, value);
            frame.client->server_reported(name, value, true);
        }
    } else {
        frame.client->server_reported(name, value, false);
    }
    frame.to_client.pass(frame.part);
}

void server_link::on_error(frame_context& frame) {
    const auto fields = protocol::read_error_fields(frame.body);
    copy_in = false;
    if (fields.fatal() || owed.empty()) {
        health_ = link_health::dying;
        last_error_.assign(as_text(frame.part));
        // While its settings are under way nothing of the client was sent, and between transactions
        // it has all its answers: it gets another connection.
        const bool unconcerned = owed.empty()
                                     ? between_transactions() && !serves_session && pins == 0
                                     : owed.head().why == errand::settings ||
                                           (owed.head().why == errand::bring && status_ == 'I' &&
                                            !serves_session && pins == 0);
        if (!unconcerned) forward(frame);
        end_is_told_ = !unconcerned && frame.client != nullptr;
        return;
    }
    auto& head = owed.head();
    if (head.why == errand::bring) return on_bring_error(frame);
    if (head.why != errand::of_client) {
        last_error_.assign(as_text(frame.part));
        if (head.why == errand::settings) {
            settings_failed_ = true;
        } else if (head.why == errand::question) {
            on_answer_error();
        } else {
            desync();  // a clean-up that fails leaves we do not know what
        }
        return;
    }
    if (try_again(frame)) return;
    undone_ = true;

    bool wanted = frame.client != nullptr;
    for (std::size_t i = 0; i < owed.size(); ++i) {
        const auto& entry = owed.at(i);
        if (entry.kind == owed_kind::sync || entry.kind == owed_kind::query ||
            entry.kind == owed_kind::function_call) {
            wanted = wanted && entry.dest == reply_for::client;
            break;
        }
    }
    if (wanted) {
        if (counters_ != nullptr) {
            counters_->errors_by_class[static_cast<std::size_t>(class_of(fields.sqlstate))].add();
        }
        if (head.note != nullptr && !head.note->own_error.empty()) {
            frame.to_client.copy(as_bytes(head.note->own_error));
        } else if (cancelled == cancel_reason::query_timeout && fields.sqlstate == "57014") {
            frame.to_client.build([](std::string& out) {
                protocol::append_error(
                    out,
                    {.sqlstate = "57014", .message = "canceling statement due to query_timeout"});
            });
        } else {
            forward(frame);
        }
    }
    if (head.kind == owed_kind::query || head.kind == owed_kind::function_call) {
        query_failed_ = true;
        return;
    }
    wanted = wanted && frame.client->counts_statements();
    for (std::size_t i = 0; wanted && i < owed.size() && owed.at(i).kind != owed_kind::sync; ++i) {
        if (owed.at(i).kind != owed_kind::execute) continue;
        ended.add(owed.at(i).text, true, false);  // the rest of the batch is skipped
        break;
    }
    if (fields.sqlstate == "0A000" && fields.routine == "RevalidateCachedQuery") {
        prepared.mark_stale(head.statement);
    }
    drop_until_sync(frame.client);
    if (skipping && frame.client == nullptr) {  // nobody is there to send the Sync
        abort_batch(frame.to_server);
    }
    settle_head(frame.to_client, frame.client != nullptr);
}

// A plan that a change of the schema has made useless is refused before anything of the batch has
// run. Outside a transaction, and when the batch describes its result to the client, it can be
// prepared anew and run again without anybody noticing.
bool server_link::try_again(frame_context& frame) {
    const auto fields = protocol::read_error_fields(frame.body);
    if (fields.sqlstate != "0A000" || fields.routine != "RevalidateCachedQuery") return false;
    if (frame.client == nullptr || !batch.recording || batch.answered || !batch.may_change_shape ||
        unsynced || status_ != 'I' || owed.head().kind != owed_kind::bind || frame_left_ > 0) {
        return false;
    }
    const auto what = prepared.find(owed.head().statement);
    if (what == nullptr) return false;
    prepared.add(what, batches);  // no longer stale
    frame.to_server.build([&](std::string& out) {
        protocol::append_close_statement(out, what->server_name);
        protocol::append_parse(out, what->server_name, what->query, what->types);
        out.append(batch.bytes);
    });
    batch.recording = false;  // once
    owed.push_front({owed_kind::parse, reply_for::nobody, errand::of_client, what->id, nullptr});
    owed.push_front({owed_kind::close, reply_for::nobody, errand::of_client, 0, nullptr});
    owed.push_front({owed_kind::sync, reply_for::nobody, errand::of_client, 0, nullptr});
    if (counters_ != nullptr) counters_->statement_replans.add();
    return true;
}

// The server skips to the next Sync: what was to come before it never happened. What those messages
// have changed here is taken back, the last change first.
void server_link::drop_until_sync(client_link* client) {
    std::size_t end = 0;
    while (end < owed.size() && owed.at(end).kind != owed_kind::sync)
        ++end;
    skipping = end == owed.size();
    bool parsed_since = false;
    bool changed_since = false;  // a query drops the unnamed statement
    for (auto i = end; i < owed.size(); ++i) {
        parsed_since = parsed_since || owed.at(i).is_unnamed();
        changed_since = changed_since || parsed_since || owed.at(i).kind == owed_kind::query;
    }
    if (!parsed_since) unnamed_client = somebody;
    for (auto i = end; i-- > 0;) {
        auto& entry = owed.at(i);
        if (entry.kind == owed_kind::parse && entry.dest != reply_for::faked) {
            if (entry.statement != 0) prepared.erase(entry.statement);
            const bool failed_itself = i == 0;
            if (failed_itself && entry.statement == 0 && client != nullptr && !parsed_since &&
                entry.dest == reply_for::client) {
                client->forget_unnamed();
            }
        }
        if (entry.note == nullptr) continue;
        undo_change(*entry.note);
        if (i > 0 && entry.note->restores_unnamed && client != nullptr && !changed_since) {
            client->restore_unnamed(*entry.note);
        }
        if (entry.note->evicted != nullptr) {
            const auto id = entry.note->evicted->id;
            prepared.add(entry.note->evicted, 0);
            prepared.confirm(id);
        }
        if (entry.note->restores_name && client != nullptr) client->restore_name(*entry.note);
    }
    while (end-- > 0)
        owed.pop();
}

bool server_link::apply_settings(client_link& client, outgoing& to_server, outgoing& to_client) {
    settings_failed_ = false;
    if (!held.empty() && client.tracking() != config::session_state::full) {
        to_server.build([](std::string& out) { protocol::append_query(out, "DEALLOCATE ALL"); });
        push({owed_kind::query, reply_for::nobody, errand::of_client, 0, nullptr});
        unnamed_client = 0;
        forget_prepared();
    }
    if (applied == client.wanted) {
        tell_reported(client, to_client);
        return true;
    }
    const bool rides = change_cannot_fail(*applied, *client.wanted);
    applying_ = client.wanted;
    settings_owed_ = 1;
    unnamed_client = 0;
    to_server.build([&](std::string& out) {
        protocol::append_query(out, settings_sql(*applied, *client.wanted));
    });
    push({owed_kind::query, reply_for::nobody, errand::settings, 0, nullptr});
    return rides;
}

}  // namespace sluice::pool
