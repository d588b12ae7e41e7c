// The protocol state of one server connection after login, without its socket: which replies it
// owes, which statements and settings it holds, and what it must be told before another client may
// have it. Bytes from the server go in; bytes for the client and the server, and what happened,
// come out. Confined to the worker that owns the connection at the moment; knows its client only
// during receive().
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metrics/counters.hpp"
#include "pool/ended_statements.hpp"
#include "pool/owed_replies.hpp"
#include "pool/parameters.hpp"
#include "pool/session_state.hpp"
#include "pool/statements.hpp"
#include "protocol/outgoing.hpp"

namespace sluice::pool {

class client_link;

enum class link_health : std::uint8_t {
    fine,
    dying,     // the server said FATAL: it will close, nothing more may be sent
    desynced,  // it sent what the protocol forbids at this point; close it
};

// What follows a transaction.
enum class next_step : std::uint8_t {
    release,  // nothing of the client's is on the connection but settings, which are known
    wait,     // the server was asked; again when the link is idle
    keep,     // pins: the client keeps the connection
};

// Why the server was told to cancel, which decides the text of the error that follows.
enum class cancel_reason : std::uint8_t { none, client_asked, query_timeout, client_left };

// A Bind that the server refuses, which makes it abort the batch at this place: no statement of
// ours has the name in it.
void append_failing_bind(std::string& out);

class server_link {
  public:
    server_link(parameter_table& parameters, const std::vector<parameter_set::entry>& reported);

    // Takes whole frames, and parts of those that may be streamed, from the front of `in`; returns
    // how many bytes were taken. `client` is null when nobody holds the link.
    std::size_t receive(protocol::byte_span in, client_link* client, protocol::outgoing& to_client,
                        protocol::outgoing& to_server);

    [[nodiscard]] link_health health() const noexcept { return health_; }
    // dying: the client has been passed the server's last words.
    [[nodiscard]] bool end_is_told() const noexcept { return end_is_told_; }
    // 'I' idle, 'T' in a transaction, 'E' in a failed one, as the last ReadyForQuery said.
    [[nodiscard]] char status() const noexcept { return status_; }
    // Nothing is owed and no transaction is open: another client may have the link.
    [[nodiscard]] bool idle() const noexcept {
        return status_ == 'I' && owed.empty() && !unsynced && !skipping && frame_left_ == 0 &&
               health_ == link_health::fine;
    }
    // As idle(), whether or not the server has gone since.
    [[nodiscard]] bool between_transactions() const noexcept {
        return status_ == 'I' && owed.empty() && !unsynced && !skipping;
    }
    [[nodiscard]] bool awaiting_settings() const noexcept { return settings_owed_ > 0; }
    // Something of the client's is under way, rather than a question of ours.
    [[nodiscard]] bool owes_client() noexcept {
        return !owed.empty() && owed.head().why == errand::of_client;
    }
    // The frame that is being streamed to the client is not at its end.
    [[nodiscard]] bool in_frame() const noexcept { return frame_left_ > 0; }

    // Before a transaction of `client`: makes the settings of the connection those of the client.
    // False: the client's message has to wait for the outcome (see settings_failed()).
    [[nodiscard]] bool apply_settings(client_link& client, protocol::outgoing& to_server,
                                      protocol::outgoing& to_client);

    // The client has the connection from now on.
    void lease_to(const client_link& client) noexcept;
    // idle(), and the client has all its answers: asks what the transaction has left behind if
    // something hints at it.
    [[nodiscard]] next_step end_transaction(client_link& client, protocol::outgoing& to_server);
    // A pinned client idles: asks whether what pins it is gone. False: there is nothing to ask.
    [[nodiscard]] bool ask_again(client_link& client, protocol::outgoing& to_server);
    // idle(): the shared connection listens for the client from now on. Sends where exactly, and
    // stops listening; done when nothing is owed. The marker is none to UNLISTEN only.
    void hand_channels_over(const std::string& marker, protocol::outgoing& to_server);
    void set_process_id(std::uint32_t own) noexcept { process_id_ = own; }
    [[nodiscard]] std::uint32_t process_id() const noexcept { return process_id_; }
    [[nodiscard]] bool needs_cleaning() const noexcept {
        return listens || (hints & cleaned_hints) != 0 || pins != 0 || !reset_query_.empty();
    }
    // After a client that left something that no command takes away.
    [[nodiscard]] bool is_spoilt() const noexcept {
        return (pins & pin(pin_reason::library)) != 0 ||
               (hints & (protocol::hint_library | protocol::hint_dblink)) != 0;
    }

    // The client is gone in the middle of something. Turns everything owed into replies for nobody
    // and ends what it left open. False: not possible, close the connection.
    [[nodiscard]] bool abandon(bool message_cut_short, protocol::outgoing& to_server);

    // Between clients: sends what is needed next (ROLLBACK, resets). True when the link is clean.
    [[nodiscard]] bool clean_up(protocol::outgoing& to_server);
    // Session mode: the reset query that runs when a client leaves.
    void reset_session(const std::string& query, protocol::outgoing& to_server);
    // The same, as soon as the link is idle: clean_up() does it.
    void reset_session_later(std::string query) { reset_query_ = std::move(query); }

    void set_counters(metrics::pool_counters* counters) noexcept { counters_ = counters; }
    void set_knowledge(session_knowledge* known) noexcept { knowledge_ = known; }
    [[nodiscard]] session_knowledge* knowledge() const noexcept { return knowledge_; }
    // DEALLOCATE ALL and its like: nothing is prepared any more.
    void forget_prepared();
    [[nodiscard]] const parameters& reported() const noexcept { return reported_; }
    [[nodiscard]] const parameters& defaults() const noexcept { return defaults_; }
    [[nodiscard]] const std::string& last_error() const noexcept { return last_error_; }
    [[nodiscard]] bool settings_failed() const noexcept { return settings_failed_; }
    [[nodiscard]] metrics::pool_counters* counters() const noexcept { return counters_; }

    // SQL-level names that the client has used in PREPARE or DEALLOCATE since the last answer, with
    // the settings that decided how it was parsed (null: not known).
    void mention(const std::string& name, const parameters& parsed_under);
    [[nodiscard]] bool has_mentioned(std::string_view name) const noexcept;
    // The settings that the next message runs under, as far as they are known.
    [[nodiscard]] const parameters& effective() const noexcept {
        return settings_owed_ > 0 ? applying_ : applied;
    }
    // Statements are being brought; the client's message waits.
    [[nodiscard]] bool bringing() noexcept {
        return !owed.empty() && owed.at(owed.size() - 1).why == errand::bring;
    }

    // Shared with client_link, which writes the other direction.
    owed_replies owed;
    prepared_cache prepared;
    held_statements held;  // SQL-level, of whichever client
    struct bring_failure {
        std::string error;  // a whole ErrorResponse
        bool deallocating = false;
    };
    std::map<std::string, bring_failure, std::less<>> bring_failures;  // of this client
    // The settings that decide how statements are parsed may not be `applied` now.
    bool parsing_changed = false;
    parameters applied;       // settings the connection has now, above its defaults
    std::uint32_t hints = 0;  // protocol::session_hint bits of what ran since the last answer
    pin_set pins = 0;
    bool listens = false;           // to something
    bool brought_channels = false;  // all that its client listens to, by a command of ours
    bool brought_within = false;    // ... in a transaction of the client's, which may be undone
    // ReadyForQuery waits for the notifications that the client has sent to itself: from that byte
    // of what receive() has passed to the client on.
    std::optional<std::size_t> held_from;
    bool reset_pending = false;  // the batch that is under way goes back to startup values
    // Sequences' last values may be another client's.
    bool sequences_are_foreign = false;
    cancel_reason cancelled = cancel_reason::none;
    bool serves_session = false;  // session mode: the client's for good
    bool unsynced = false;        // extended messages were sent since the last Sync
    bool skipping = false;        // an error came and no Sync was sent yet: the server skips to it
    bool copy_in = false;         // the server reads CopyData ...
    bool copy_ended = false;      // ... and the client has sent CopyDone or CopyFail
    ended_statements ended;       // of the client, not counted yet
    std::uint64_t queries = 0;    // ReadyForQuery seen for the client
    std::uint64_t batches = 1;  // the number of the batch (up to a Sync, or a Query) being written
    std::uint64_t answered_to = 0;  // the last batch whose ReadyForQuery has come
    // The last batches that changed what the client's names, or the unnamed statement, stand for.
    std::uint64_t names_changed_in = 0;
    std::uint64_t unnamed_changed_in = 0;
    // Whose Parse the unnamed statement is: a client's serial number and its count of such Parses.
    // 0: there is none. somebody: not known.
    static constexpr auto somebody = ~std::uint64_t{0};
    std::uint64_t unnamed_client = 0;
    std::uint64_t unnamed_count = 0;
    // The extended batch that is being sent, as sent, as long as it could be run again.
    struct {
        std::string bytes;
        bool recording = false;
        bool may_change_shape = false;  // the client does not rely on an earlier description
        bool answered = false;          // the client saw a reply of it
    } batch;

    // A reply that ends a batch is given the batch's number.
    void push(owed_reply reply) {
        if (reply.kind == owed_kind::sync || reply.kind == owed_kind::query ||
            reply.kind == owed_kind::function_call) {
            reply.statement = batches++;
        }
        if (counters_ != nullptr && reply.why == errand::of_client) count(reply);
        owed.push(std::move(reply));
    }
    void count(const owed_reply& reply) noexcept {
        if (reply.kind == owed_kind::bind) return counters_->binds.add();
        if (reply.kind != owed_kind::parse) return;
        if (reply.dest != reply_for::nobody) counters_->client_parses.add();
        if (reply.dest != reply_for::faked) counters_->server_parses.add();
    }
    // An earlier batch than the one being written, of which is not known yet what an error undoes.
    [[nodiscard]] bool undecided(std::uint64_t number) const noexcept {
        return number > answered_to && number != batches && !owed.empty();
    }
    // Answers faked entries that have come to the head.
    void settle_head(protocol::outgoing& to_client, bool has_client);

  private:
    struct frame_context;
    void on_frame(frame_context& frame);
    void on_completion(frame_context& frame, owed_kind kind);
    void on_row_description(frame_context& frame);
    void on_command_complete(frame_context& frame);
    void on_ready(frame_context& frame);
    void on_error(frame_context& frame);
    void on_parameter_status(frame_context& frame);
    void on_copy_in(frame_context& frame);
    void on_notice(frame_context& frame);
    void forward(frame_context& frame);
    void drop_until_sync(client_link* client);
    void abort_batch(protocol::outgoing& to_server);
    void tell_reported(client_link& client, protocol::outgoing& to_client);
    [[nodiscard]] bool try_again(frame_context& frame);
    void note_tag(std::string_view tag, client_link* client);
    void ask(question which, const client_link& client, protocol::outgoing& to_server);
    void on_answer_row(frame_context& frame);
    [[nodiscard]] next_step end_question(protocol::outgoing& to_server);
    void on_answer_error();
    void on_survey_end();
    void on_answer_end(client_link* client);
    void take_prepared(const session_answer& answer, client_link& client);
    void take_listed(const std::string& name, const std::optional<std::string>& text,
                     client_link& client);
    [[nodiscard]] static statement_ptr portable(const std::string& name, std::string_view text,
                                                const parameters& under, client_link& client);
    void on_bring_error(frame_context& frame);
    void undo_change(const owed_note& note);
    void take_channels(std::vector<std::string> native, client_link* client);
    void on_notification(frame_context& frame);
    [[nodiscard]] bool may_have_notified(const client_link* client) const noexcept;
    void settle_pins(const client_link& client) noexcept;
    void note_changes() noexcept;
    void restore_startup(client_link& client, protocol::outgoing& to_server);
    [[nodiscard]] bool streamable(char type) const noexcept;
    void note_ended(const frame_context& frame, std::uint32_t text, bool failed,
                    std::string_view tag = {});
    [[nodiscard]] bool for_client(const frame_context& frame) noexcept;
    void desync() noexcept { health_ = link_health::desynced; }

    parameter_table& parameters_;
    parameters reported_;  // what the server last reported of its own accord
    parameters defaults_;  // what it reported at login
    parameters applying_;  // sent, not yet confirmed
    metrics::pool_counters* counters_ = nullptr;
    session_knowledge* knowledge_ = nullptr;
    std::uint32_t knowledge_edition_ = 0;                 // when the client got the connection
    std::uint64_t changes_noted_at_ = ~std::uint64_t{0};  // `queries` then
    survey_claim survey_;
    bool tracked_ = false;  // something is kept of the client's session
    session_answer answer_;
    std::uint32_t asked_ = 0;  // questions under way, a bit each
    bool answer_failed_ = false;
    std::vector<std::pair<std::string, parameters>> mentions_;
    bool lists_prepared_ = false;  // as the question of pins was asked
    bool prepare_seen_ = false;    // a PREPARE of the client's has succeeded since the last answer
    bool undone_ = false;          // an error or a ROLLBACK since the last answer
    bool brought_ran_ = false;  // the client's channels have come, in the transaction that is open
    std::string marker_;        // of the handover that is under way
    bool marker_passed_ = false;
    std::uint32_t process_id_ = 0;
    std::array<bool, questions> question_prepared_{};
    std::uint64_t last_client_ = 0;  // serial number
    std::string reset_query_;        // session mode, its client has left
    std::string last_error_;         // the ErrorResponse of failed settings or of the end, whole
    std::uint64_t frame_left_ = 0;
    std::uint32_t settings_owed_ = 0;
    bool frame_passes_ = false;
    bool settings_failed_ = false;
    bool query_failed_ = false;  // the simple query that is under way
    bool reset_seen_ = false;
    bool discard_seen_ = false;
    char status_ = 'I';
    link_health health_ = link_health::fine;
    bool end_is_told_ = false;
};

}  // namespace sluice::pool
