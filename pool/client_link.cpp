#include "pool/client_link.hpp"

#include "pool/client_message.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::pool {

using protocol::as_bytes;
using protocol::as_text;
using protocol::byte_span;
using protocol::frame_header;
using protocol::outgoing;

namespace {

// A message up to this size is passed on whole; a longer one is streamed as it comes.
constexpr std::size_t whole_limit = 16384;
// A named Parse is kept, so that other server connections can be given it.
constexpr std::size_t parse_limit = 64U << 20;
// Messages that carry nothing but names.
constexpr std::size_t name_limit = 65536;
// Replies that a server may owe before the client has to wait. Above what a server can hold back in
// its 8 KiB output buffer (1638 replies of 5 bytes), so that waiting never blocks both sides.
constexpr std::size_t owed_limit = 16384;
constexpr std::size_t replay_limit = 8192;

bool known_type(char type) noexcept {
    return std::string_view("QPBDECSHFdcfX").find(type) != std::string_view::npos;
}

bool is_extended(char type) noexcept {
    return std::string_view("PBDEC").find(type) != std::string_view::npos;
}

}  // namespace

client_link::client_link(parameter_table& table, statement_table& statements, std::uint64_t serial)
    : startup(table.none()),
      wanted(table.none()),
      reported(table.none()),
      parameters_(table),
      statements_(statements),
      serial_(serial) {}

void client_link::reject(std::string_view sqlstate, std::string text) {
    rejection_ = {sqlstate, std::move(text)};
    want_ = client_want::rejection;
}

bool client_link::needs_server(char type, byte_span) const noexcept {
    return type == 'Q' || type == 'F' || (is_extended(type) && type != 'C');
}

// How many bytes of the message have to be here before it is looked at.
std::size_t client_link::needed_for(const frame_header& header) const noexcept {
    switch (header.type) {
        case 'd':
            return frame_header::size;
        case 'Q':
        case 'F':
        case 'f':
        case 'B':
            return std::min(header.total(), whole_limit);
        default:
            return header.total();
    }
}

std::size_t client_link::receive(byte_span in, server_link* server, outgoing& to_server,
                                 outgoing& to_client) {
    std::size_t at = 0;
    want_ = client_want::bytes;
    needed_ = frame_header::size;
    while (at < in.size() && want_ == client_want::bytes) {
        const auto rest = in.subspan(at);
        if (message_left_ > 0) {
            const auto n =
                static_cast<std::size_t>(std::min<std::uint64_t>(message_left_, rest.size()));
            if (message_passes_) to_server.pass(rest.first(n));
            message_left_ -= n;
            at += n;
            continue;
        }
        if (server == nullptr || (server->owed.empty() && !server->unsynced)) barrier_ = false;
        const bool behind_barrier = barrier_ && !server->unsynced;
        if (held_ || behind_barrier || (server != nullptr && server->owed.size() > owed_limit)) {
            want_ = client_want::patience;
            break;
        }
        frame_header header;
        const auto read = protocol::read_header(rest, header);
        if (read == protocol::header_status::partial) break;
        if (read == protocol::header_status::broken) {
            reject("08P01", "invalid message length");
            break;
        }
        if (!known_type(header.type)) {
            reject("08P01", "invalid frontend message type " +
                                std::to_string(static_cast<unsigned char>(header.type)));
            break;
        }
        const bool unnamed_parse = header.type == 'P' && rest.size() > 5 && rest[5] == 0;
        needed_ = needed_for(header);
        if (unnamed_parse) needed_ = std::min(needed_, whole_limit);
        if (needed_ > parse_limit || (needed_ > name_limit && header.type != 'P')) {
            reject("08P01", "message is too long for its type");
            break;
        }
        if (rest.size() < needed_ && !skip_to_sync_) break;
        if (server == nullptr && !skip_to_sync_ && needs_server(header.type, rest)) {
            want_ = client_want::server;
            break;
        }
        message m{header,    rest.first(std::min(rest.size(), header.total())),
                  {},        server,
                  to_server, to_client};
        m.body = m.part.subspan(frame_header::size);
        on_message(m);
        if (want_ == client_want::rejection || want_ == client_want::patience) break;
        at += m.part.size();
        message_left_ = header.total() - m.part.size();
        message_passes_ = m.passes;
    }
    return at;
}

void client_link::on_message(message& m) {
    const char type = m.header.type;
    if (type == 'X') {
        want_ = client_want::goodbye;
        return;
    }
    if (skip_to_sync_) {
        const bool alone = refuse_one_ && (type == 'Q' || type == 'F');  // no Sync belongs to it
        refuse_one_ = false;
        if (type == 'S' || alone) {
            skip_to_sync_ = false;
            m.to_client.build([](std::string& out) { protocol::append_ready(out, 'I'); });
        }
        return;
    }
    if (m.server != nullptr) {
        if (m.server->skipping && type != 'S') return;  // the server would ignore it too
        if (m.server->batch.recording && !m.server->unsynced && !m.server->owed.empty()) {
            m.server->batch.recording = false;  // the next batch is already behind it
        }
    }
    switch (type) {
        case 'Q':
            return on_query(m);
        case 'F':
            if (bring_prepared(m, unread_hints(), {}, false, true) != brought::ready) return;
            note_hints(m, unread_hints());
            m.server->unsynced = false;
            return pass(m, owed_kind::function_call);
        case 'P':
            return on_parse(m);
        case 'B':
            return on_bind(m);
        case 'D':
            return on_describe(m);
        case 'E':
            return on_execute(m);
        case 'C':
            return on_close(m);
        case 'S':
            return on_sync(m);
        case 'H':
            if (m.server != nullptr) {
                m.to_server.pass(m.part);
                record(m, m.part);
            }
            return;
        default:
            return on_copy_data(m);
    }
}

void client_link::record(message& m, byte_span bytes) {
    auto& batch = m.server->batch;
    if (!batch.recording) return;
    if (!m.whole() || batch.bytes.size() + bytes.size() > replay_limit) {
        batch.recording = false;
        return;
    }
    batch.bytes.append(as_text(bytes));
}

void client_link::pass(message& m, owed_kind kind, std::unique_ptr<owed_note> note) {
    m.server->push({kind, reply_for::client, errand::of_client, 0, std::move(note)});
    if (is_extended(m.header.type)) m.server->unsynced = true;
    m.to_server.pass(m.part);
    m.passes = true;
    record(m, m.part);
}

// Passes a message on with the statement name at `name_at` of its body replaced.
void client_link::pass_renamed(message& m, std::size_t name_at, std::string_view name,
                               std::string_view new_name, owed_kind kind, std::uint64_t id) {
    m.server->push({kind, reply_for::client, errand::of_client, id, nullptr});
    m.server->unsynced = true;
    const auto before = m.body.first(name_at);
    const auto behind = m.body.subspan(name_at + name.size());
    std::string head;
    protocol::frame_writer frame(head, m.header.type);
    frame.bytes(as_text(before)).bytes(new_name);
    frame.finish(m.header.body - name_at - name.size());
    m.to_server.copy(as_bytes(head));
    record(m, as_bytes(head));
    m.to_server.pass(behind);
    record(m, behind);
    m.passes = true;
}

// Looks for the statements that change what the client's names stand for. True: the message has
// to wait until the replies that are owed have come.
bool client_link::read_text(message& m, std::string_view sql) {
    if (max_statements_ == 0) return false;
    const auto found = protocol::read_deallocate(sql);
    if (found.what == protocol::deallocation::none) return false;
    // (Settings under way change no name; to wait for them would be to give the connection back.)
    auto& owed = m.server->owed;
    if (!owed.empty() && !m.server->unsynced && owed.at(owed.size() - 1).why != errand::settings) {
        want_ = client_want::patience;
        return true;
    }
    barrier_ = true;
    return false;
}

void client_link::on_query(message& m) {
    const auto sql = as_text(m.body.first(m.whole() && !m.body.empty() ? m.body.size() - 1 : 0));
    if (read_text(m, sql)) return;
    note_default(m, sql);
    const auto hints = m.whole() ? hints_of(m, sql) : unread_hints();
    if (bring_prepared(m, hints, sql, m.whole(), true) != brought::ready) return;
    note_hints(m, hints);
    auto note = note_unnamed(m);
    unnamed_.reset();
    m.server->batch.recording = false;
    if (barrier_ && m.server->status() != 'E') {
        if (const auto at = names_.find(protocol::read_deallocate(sql).name); at != names_.end()) {
            names_.erase(at);
            stand_in(m);
            m.to_server.build([](std::string& out) {
                protocol::append_query(out,
                                       std::string("DEALLOCATE ") + std::string(stand_in_name));
            });
            m.server->unnamed_client = 0;
            m.server->unsynced = false;
            m.server->push({owed_kind::query, reply_for::client, errand::of_client, 0, nullptr});
            return;
        }
    }
    m.server->unnamed_client = 0;
    m.server->unnamed_changed_in = m.server->batches;
    m.server->unsynced = false;
    const auto text = text_of(m, sql);
    pass(m, owed_kind::query, std::move(note));
    m.server->owed.last().text = text;
}

void client_link::on_sync(message& m) {
    if (m.server == nullptr) {
        m.to_client.build([](std::string& out) { protocol::append_ready(out, 'I'); });
        return;
    }
    m.to_server.pass(m.part);
    record(m, m.part);
    if (m.server->copy_in && !m.server->copy_ended) return;  // read and ignored
    m.server->unsynced = m.server->skipping = false;
    m.server->push({owed_kind::sync, reply_for::client, errand::of_client, 0, nullptr});
}

// CopyData, CopyDone and CopyFail outside a copy are ignored by PostgreSQL; without a server
// connection they are dropped here instead of asking for one.
void client_link::on_copy_data(message& m) {
    if (m.server == nullptr) return;
    m.to_server.pass(m.part);
    m.passes = true;
    if (m.header.type == 'd') return;
    if (m.server->copy_in) m.server->copy_ended = true;
    if (!m.server->owed.empty()) {
        m.server->push({owed_kind::copy_end, reply_for::client, errand::of_client, 0, nullptr});
    }
}

// An error of our own in the middle of a batch has to abort what the batch did before it, as an
// error of the server's would. So the server is made to fail at this place, and its words are
// replaced.
void client_link::fail_in_turn(message& m, std::string_view sqlstate, const std::string& text) {
    auto note = std::make_unique<owed_note>();
    protocol::append_error(note->own_error, {.sqlstate = sqlstate, .message = text});
    m.server->unsynced = true;
    m.server->batch.recording = false;
    m.to_server.build([](std::string& out) { append_failing_bind(out); });
    m.server->push({owed_kind::bind, reply_for::client, errand::of_client, 0, std::move(note)});
}

void client_link::refuse_batch(const protocol::error_report& error, outgoing& to_client) {
    to_client.build([&](std::string& out) { protocol::append_error(out, error); });
    skip_to_sync_ = refuse_one_ = true;
}

void client_link::server_reported(std::string_view name, std::string_view value,
                                  bool is_own_change) {
    reported = parameters_.with(reported, name, value);
    if (is_own_change) wanted = parameters_.with(wanted, name, value);
}

void client_link::restore_name(const owed_note& note) {
    if (note.named_before.what != nullptr) {
        names_.insert_or_assign(note.name, note.named_before);
    } else {
        names_.erase(note.name);
    }
}

void client_link::forget_statements() {
    names_.clear();
    own.clear();
    unnamed_.reset();
}

void client_link::discard_all() {
    forget_statements();
    wanted = startup;
    has_unknown_names_ = false;
    prepared_hints_ = 0;
}

}  // namespace sluice::pool
