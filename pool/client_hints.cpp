// client_link where session state is concerned: what the text of the client's statements says it
// may do to the session, noted on the server connection that is to run it (docs/sessions.md).
#include <algorithm>

#include "pool/client_link.hpp"
#include "pool/client_message.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/sql_words.hpp"

namespace sluice::pool {

using protocol::as_text;

namespace {

constexpr std::size_t most_own_settings = 200;
constexpr std::size_t longest_name = 127;
// A bit of our own: set_config gets the name as a parameter.
constexpr std::uint32_t hint_bound_name = 1U << 31;
// Another: what the client listens to counts, not only what it adds.
constexpr std::uint32_t hint_all_channels = 1U << 30;
constexpr std::uint32_t hint_unlistens = 1U << 29;
// What a text that was not read to its end may do.
constexpr std::uint32_t anything = protocol::hint_unknown | protocol::hint_sequences;

// Like app.user_id: all of it in the letters of a name, with a dot inside.
bool is_own_setting(std::string_view text) noexcept {
    if (text.empty() || text.size() > longest_name) return false;
    bool dotted = false;
    for (const char c : text) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '_' || c == '$' ||
                            static_cast<unsigned char>(c) >= 0x80;
        if (!letter && c != '.') return false;
        dotted = dotted || c == '.';
    }
    return dotted && text.front() != '.' && text.back() != '.';
}

void add_name(std::vector<std::string>& to, std::string_view name) {
    const bool known = std::any_of(to.begin(), to.end(),
                                   [&](const std::string& one) { return same_name(one, name); });
    if (!known && to.size() < most_own_settings) to.emplace_back(name);
}

// What a function may get as the name of a setting: SELECT put('app.user_id', '1').
void add_strings(std::vector<std::string>& to, std::string_view sql, bool standard_strings) {
    protocol::sql::reader tokens(sql, standard_strings);
    for (;;) {
        const auto one = tokens.next();
        if (one.what == protocol::sql::token::kind::end) return;
        if (one.what == protocol::sql::token::kind::string && is_own_setting(one.text))
            add_name(to, one.text);
    }
}

bool has_default(std::string_view sql) noexcept {
    constexpr std::string_view word = "default";
    const auto same = [](char a, char b) { return protocol::sql::lower(a) == b; };
    for (auto from = sql.begin();;) {
        const auto at = std::search(from, sql.end(), word.begin(), word.end(), same);
        if (at == sql.end()) return false;
        from = at + static_cast<std::ptrdiff_t>(word.size());
        const bool begins = at == sql.begin() || !protocol::sql::is_word_char(*(at - 1));
        if (begins && (from == sql.end() || !protocol::sql::is_word_char(*from))) return true;
    }
}

}  // namespace

// SET x TO DEFAULT has the tag of every other SET. In session mode no other hint is looked for.
void client_link::note_default(const message& m, std::string_view sql) noexcept {
    if (sets_defaults_ || !m.server->serves_session || startup->empty()) return;
    sets_defaults_ = !m.whole() || has_default(sql);
}

std::uint32_t client_link::hints_of(const message& m, std::string_view sql) {
    if (tracking_ == config::session_state::off) return 0;
    look_at_strings();
    if (const auto* known = m.server->knowledge();
        known != nullptr && known->edition() != words_edition_) {
        words_edition_ = known->edition();
        words_ = known->words();
    }
    auto bits = protocol::read_session_hints(sql, standard_strings_, words_.get());
    if ((bits & protocol::hint_channels) != 0) {
        using kind = protocol::channel_statement::kind;
        const auto what = protocol::read_channel_statement(sql).what;
        if (what != kind::listen) bits |= hint_all_channels;
        if (what == kind::unlisten || what == kind::unlisten_all) bits |= hint_unlistens;
    }
    if (makes_temporary_) bits |= protocol::hint_temporary;  // CREATE TABLE would do
    if ((bits & (protocol::hint_settings | protocol::hint_unknown | protocol::hint_named)) == 0) {
        return bits;
    }
    for (const auto& name : protocol::settings_named_in(sql))
        add_name(own_settings_, name);
    if ((bits & protocol::hint_named) != 0) add_strings(own_settings_, sql, standard_strings_);
    if (!protocol::set_config_names_are_literal(sql)) bits |= hint_bound_name;
    return bits;
}

template <class Statement>
void client_link::read_again(const message& m, std::string_view sql, Statement& known) {
    const auto* knowledge = m.server->knowledge();
    if (knowledge == nullptr || knowledge->edition() == known.words_edition) return;
    known.hints |= hints_of(m, sql);
    known.words_edition = words_edition_;
}
template void client_link::read_again(const message&, std::string_view, named_statement&);
template void client_link::read_again(const message&, std::string_view, unnamed_statement&);

std::uint32_t client_link::unread_hints() const noexcept {
    return tracking_ == config::session_state::off ? 0 : anything;
}

void client_link::note_hints(message& m, std::uint32_t bits) {
    if (bits == 0 || tracking_ == config::session_state::off) return;
    if ((bits & protocol::hint_executes) != 0) bits |= prepared_hints_;
    if ((bits & protocol::hint_prepared) != 0) prepared_hints_ |= bits & ~protocol::hint_prepared;
    if ((bits & hint_bound_name) != 0 && m.header.type != 'B') has_unknown_names_ = true;
    if ((bits & protocol::hint_notifies) != 0 && m.server->knowledge() != nullptr) {
        m.server->knowledge()->note_notifier(m.server->process_id(), process_id_);
    }
    if ((bits & (protocol::hint_sequences | protocol::hint_reads_sequence)) != 0) {
        guard_sequences(m, bits);
    }
    if ((bits & hint_all_channels) != 0 && !channels.empty() && !m.server->brought_channels) {
        bring_channels(m, (bits & hint_unlistens) != 0);
    }
    constexpr auto not_kept =
        hint_bound_name | hint_all_channels | hint_unlistens | protocol::hint_local;
    m.server->hints |= bits & ~not_kept;
    if ((bits & protocol::hint_reset) != 0) m.server->reset_pending = true;
}

// SELECT set_config($1, $2, false): the name is among the parameters.
void client_link::note_bound_names(const message& m, std::uint32_t bits) {
    if ((bits & hint_bound_name) == 0) return;
    if (!m.whole()) {
        has_unknown_names_ = true;
        return;
    }
    protocol::reader in(m.body);
    (void)in.text();
    (void)in.text();
    const auto formats = in.u16();
    (void)in.take(std::size_t{formats} * 2);
    const auto count = in.u16();
    for (std::uint16_t i = 0; i < count && in.ok(); ++i) {
        const auto length = static_cast<std::int32_t>(in.u32());
        if (length < 0) continue;
        const auto value = as_text(in.take(static_cast<std::size_t>(length)));
        if (is_own_setting(value)) add_name(own_settings_, value);
    }
}

// currval and lastval must never tell what another client's INSERT has left on the connection.
void client_link::guard_sequences(message& m, std::uint32_t bits) {
    auto& server = *m.server;
    auto* known = server.knowledge();
    const bool reads = (bits & protocol::hint_reads_sequence) != 0;
    if (reads && known != nullptr) known->sequences_matter = true;
    if (!server.sequences_are_foreign) return;
    const bool matters = known != nullptr && known->sequences_matter.load();
    constexpr auto made = protocol::hint_unknown | protocol::hint_named;
    server.sequences_are_foreign = false;
    if (!matters || (server.hints & made) != 0) return;
    run_before(m, "DISCARD SEQUENCES");
}

// UNLISTEN takes effect where the server knows what there is to unlisten. The marker tells
// afterwards whether the transaction came to its end; pg_listening_channels() would show it.
void client_link::bring_channels(message& m, bool marks) {
    m.server->brought_channels = true;
    m.server->brought_within = m.server->status() != 'I' || m.server->unsynced ||
                               m.header.type != 'Q' || !m.server->owed.empty();
    for (const auto& channel : channels)
        run_before(m, listen_sql(channel));
    if (marks) run_before(m, listen_sql(listen_marker));
}

// A command of ours in front of the client's message; nobody gets the answer.
void client_link::run_before(message& m, std::string_view sql) {
    auto& server = *m.server;
    const auto nobody = [&](owed_kind kind) {
        server.push({kind, reply_for::nobody, errand::of_client, 0, nullptr});
    };
    if (!server.unsynced && m.header.type == 'Q') {
        m.to_server.build([&](std::string& out) { protocol::append_query(out, sql); });
        server.unnamed_client = 0;
        return nobody(owed_kind::query);
    }
    server.unsynced = true;
    server.batch.recording = false;
    constexpr std::string_view name = "sluice_before";
    m.to_server.build([&](std::string& out) {
        protocol::append_close_statement(out, name);
        protocol::append_parse(out, name, sql, {"\0\0", 2});
        protocol::append_bind(out, name, {});
        protocol::append_execute(out);
    });
    nobody(owed_kind::close);
    nobody(owed_kind::parse);
    nobody(owed_kind::bind);
    nobody(owed_kind::execute);
}

// What the session began with and the server no longer has was RESET: it comes back. A RESET
// setting of the application's own is empty.
void client_link::settings_are(const parameters& now, bool may_be_reset) {
    std::vector<parameter_set::entry> missing;
    for (const auto& one : startup->entries()) {
        const auto* value = now->find(one.first);
        const bool is_own = one.first.find('.') != std::string::npos;
        if (value == nullptr || (may_be_reset && is_own && value->empty())) missing.push_back(one);
    }
    wanted = missing.empty() ? now : parameters_.with(now, missing);
    const auto* path = wanted->find("search_path");
    makes_temporary_ = path != nullptr && path->find("pg_temp") != std::string::npos;
}

}  // namespace sluice::pool
