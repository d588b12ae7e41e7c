// The protocol state of one client after login, without its socket: the settings and statement
// names that travel with it, and the translation of its messages for whatever server connection
// serves it. Bytes from the client go in; bytes for the server and for the client come out.
// Confined to the client's worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.hpp"
#include "pool/parameters.hpp"
#include "pool/server_link.hpp"
#include "pool/statement_counts.hpp"
#include "pool/statements.hpp"
#include "protocol/outgoing.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"
#include "protocol/prepared_names.hpp"
#include "protocol/sql_scan.hpp"

namespace sluice::pool {

enum class client_want : std::uint8_t {
    bytes,      // everything whole was taken: read on
    server,     // the next message needs a server connection
    patience,   // the next message must wait for replies that are owed
    goodbye,    // Terminate
    rejection,  // broken: send rejection() and close
};

// A reason to end a client's connection, as an ErrorResponse's parts.
struct client_rejection {
    std::string_view sqlstate;
    std::string message;
};

class client_link {
  public:
    client_link(parameter_table& parameters, statement_table& statements, std::uint64_t serial);

    // Takes messages from the front of `in`; returns how many bytes were taken. `server` is null
    // while the client has none. `max_statements` 0: statement names pass unchanged.
    std::size_t receive(protocol::byte_span in, server_link* server, protocol::outgoing& to_server,
                        protocol::outgoing& to_client);

    [[nodiscard]] client_want want() const noexcept { return want_; }
    [[nodiscard]] const client_rejection& rejection() const noexcept { return rejection_; }
    // Bytes from the front of the buffer that the next receive() needs to get anywhere.
    [[nodiscard]] std::size_t needed() const noexcept { return needed_; }
    // A message was passed on in part: its rest must follow on the same connection.
    [[nodiscard]] bool in_message() const noexcept { return message_left_ > 0 && message_passes_; }

    // The client waited for a server connection and is not to get one: answers its batch with the
    // error and skips the rest of it, as PostgreSQL would.
    void refuse_batch(const protocol::error_report& error, protocol::outgoing& to_client);

    // No message goes to a server until the next hold(false): a cancel is under way.
    void hold(bool on) noexcept { held_ = on; }
    void set_max_statements(std::uint32_t limit) noexcept { max_statements_ = limit; }
    // What is kept of the session between transactions; off in session mode.
    void set_tracking(config::session_state what) noexcept { tracking_ = what; }
    [[nodiscard]] config::session_state tracking() const noexcept { return tracking_; }
    // Session mode: a SET may have been one TO DEFAULT.
    [[nodiscard]] bool sets_defaults() const noexcept { return sets_defaults_; }
    // Where its statements are counted (none: they are not), and whose they are.
    void set_statement_counts(statement_counts* counts, std::uint32_t scope) noexcept {
        counts_ = counts;
        scope_ = scope;
    }
    [[nodiscard]] bool counts_statements() const noexcept {
        return counts_ != nullptr && counts_->on();
    }
    // The statements that have ended took this long together.
    void count_statements(ended_statements& ended, std::chrono::nanoseconds took);
    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
    // Statements that the client has prepared by name.
    [[nodiscard]] std::size_t statement_count() const noexcept { return names_.size(); }
    // Names of the application's own settings that the client has mentioned.
    [[nodiscard]] const std::vector<std::string>& own_settings() const noexcept {
        return own_settings_;
    }
    // Channels, sorted: those that the client listens to, as the server said, and those of them
    // that the pool's shared connection listens to for it.
    std::vector<std::string> channels;
    std::vector<std::string> heard;
    void set_process_id(std::uint32_t told) noexcept { process_id_ = told; }
    [[nodiscard]] std::uint32_t process_id() const noexcept { return process_id_; }
    // It has set something whose name is not known.
    [[nodiscard]] bool has_unknown_names() const noexcept { return has_unknown_names_; }
    // The server has said what is set.
    void settings_are(const parameters& now, bool may_be_reset);

    // What the server link has learnt on this client's behalf.
    void server_reported(std::string_view name, std::string_view value, bool is_own_change);
    void restore_name(const owed_note& note);
    void restore_unnamed(owed_note& note) noexcept { unnamed_ = std::move(note.unnamed_before); }
    void forget_statements();
    // The last Parse of the unnamed statement failed, or was skipped.
    void forget_unnamed() noexcept { unnamed_.reset(); }
    void discard_all();
    // SQL-level prepared statements: those that it has, as the server said.
    own_statements own;
    [[nodiscard]] bool may_carry_statements() const noexcept { return max_statements_ != 0; }
    [[nodiscard]] statement_ptr carried_statement(std::string_view name, std::string_view text,
                                                  const parameters& parsed_under);

    parameters startup;   // settings of the startup packet: what RESET goes back to
    parameters wanted;    // settings that its server connection must have
    parameters reported;  // parameter values that the client was told

  private:
    struct message;
    void on_message(message& m);
    void on_query(message& m);
    void on_parse(message& m);
    [[nodiscard]] static bool is_refused_in_failed_transaction(const message& m,
                                                               std::string_view sql);
    [[nodiscard]] bool defer_for(message& m, std::uint64_t statement);
    [[nodiscard]] bool defer_name(const message& m);
    [[nodiscard]] bool defer_unnamed(const message& m);
    [[nodiscard]] bool read_text(message& m, std::string_view sql);
    static void stand_in(message& m);
    void parse_deallocate(message& m, statement_names::iterator at);
    void on_bind(message& m);
    void on_describe(message& m);
    void on_execute(message& m);
    void on_close(message& m);
    void on_sync(message& m);
    void on_copy_data(message& m);
    void pass(message& m, owed_kind kind, std::unique_ptr<owed_note> note = nullptr);
    [[nodiscard]] std::unique_ptr<owed_note> note_unnamed(const message& m);
    [[nodiscard]] bool is_unnamed_again(std::string_view query,
                                        std::string_view types) const noexcept;
    [[nodiscard]] bool is_plain_as_before(const message& m) noexcept;
    void pass_renamed(message& m, std::size_t name_at, std::string_view name,
                      std::string_view new_name, owed_kind kind, std::uint64_t statement);
    void bring_statement(message& m, const statement_ptr& wanted_statement);
    void bring_unnamed(message& m);
    void make_room(message& m) const;
    // client_hints.cpp
    [[nodiscard]] std::uint32_t hints_of(const message& m, std::string_view sql);
    // Of a text that was read before the database's words became others.
    template <class Statement>
    void read_again(const message& m, std::string_view sql, Statement& known);
    [[nodiscard]] std::uint32_t unread_hints() const noexcept;
    void note_hints(message& m, std::uint32_t bits);
    void note_bind(message& m, std::uint32_t bits) {
        if (bits == 0) return;
        note_bound_names(m, bits);
        note_hints(m, bits);
    }
    void note_default(const message& m, std::string_view sql) noexcept;
    void note_bound_names(const message& m, std::uint32_t bits);
    void guard_sequences(message& m, std::uint32_t bits);
    void bring_channels(message& m, bool marks);
    static void run_before(message& m, std::string_view sql);
    // client_prepared.cpp
    enum class brought : std::uint8_t {
        ready,    // the message may go
        wait,     // not yet
        refused,  // it was answered with an error
    };
    enum class name_use : std::uint8_t { executes, changes, any };
    struct name_change;
    [[nodiscard]] brought bring_prepared(message& m, std::uint32_t bits, std::string_view sql,
                                         bool read, bool runs);
    [[nodiscard]] brought bring_for_parse(message& m, std::uint32_t hints, std::string_view sql);
    [[nodiscard]] brought bring_for_describe(message& m, std::uint32_t hints, std::string_view sql);
    void plan(const server_link& server, const std::string& name, name_use use,
              std::vector<name_change>& out) const;
    [[nodiscard]] std::vector<name_change> plan_all(const server_link& server,
                                                    const protocol::prepared_names& names,
                                                    bool any) const;
    [[nodiscard]] bool drop_failed(message& m, const protocol::prepared_names& names,
                                   std::vector<name_change>& changes);
    [[nodiscard]] brought send_ahead(message& m, std::vector<name_change>& changes, bool needed,
                                     std::uint32_t bits);
    void send_change(message& m, const name_change& one);
    [[nodiscard]] brought ride(message& m, const protocol::prepared_names& names,
                               std::vector<name_change>& changes);
    [[nodiscard]] static std::unique_ptr<owed_note> note_deallocate(server_link& server,
                                                                    const name_change& one);
    [[nodiscard]] static std::unique_ptr<owed_note> note_prepare(server_link& server,
                                                                 const name_change& one);
    [[nodiscard]] bool parses_otherwise(const server_link& server, const statement& what);
    void note_changes(message& m, std::uint32_t bits, std::string_view sql, bool read,
                      const protocol::prepared_names& names);
    void refuse(message& m, std::string error);
    // client_counts.cpp
    void look_at_strings();
    [[nodiscard]] std::uint32_t text_of(const message& m, std::string_view sql);
    void note_bound(std::string_view portal, std::uint32_t text) noexcept;
    void renew_text(std::string_view sql, std::uint32_t& text);
    void note_passed(std::string_view name, std::uint32_t text);
    [[nodiscard]] std::uint32_t passed_text(std::string_view name) const;
    void fail_in_turn(message& m, std::string_view sqlstate, const std::string& text);
    [[nodiscard]] bool needs_server(char type, protocol::byte_span frame) const noexcept;
    [[nodiscard]] std::size_t needed_for(const protocol::frame_header& header) const noexcept;
    void reject(std::string_view sqlstate, std::string message);
    [[nodiscard]] parameters parse_settings(std::uint32_t hints);
    static void record(message& m, protocol::byte_span bytes);

    parameter_table& parameters_;
    statement_table& statements_;
    statement_names names_;
    std::unique_ptr<unnamed_statement> unnamed_;
    std::vector<std::string> own_settings_;
    statement_counts* counts_ = nullptr;
    std::uint32_t scope_ = 0;
    std::uint32_t bound_text_ = 0;  // of the last Bind ...
    std::size_t bound_portal_ = 0;  // ... and the hash of its portal's name
    boost::unordered_flat_map<std::string, std::uint32_t, text_hash, std::equal_to<>>
        passed_texts_;                                   // while names pass unchanged
    std::shared_ptr<const protocol::hint_words> words_;  // of edition words_edition_
    std::uint32_t words_edition_ = 0;
    std::uint32_t prepared_hints_ = 0;  // of what EXECUTE may run
    const parameter_set* strings_seen_ = nullptr;
    bool standard_strings_ = true;
    bool has_unknown_names_ = false;
    bool makes_temporary_ = false;  // its search_path begins in the temporary schema
    config::session_state tracking_ = config::session_state::full;
    bool sets_defaults_ = false;
    std::uint64_t unnamed_count_ = 0;
    std::uint64_t serial_;
    std::uint32_t process_id_ = 0;
    std::uint64_t message_left_ = 0;
    std::size_t needed_ = 0;
    client_rejection rejection_;
    std::uint32_t max_statements_ = 0;
    client_want want_ = client_want::bytes;
    bool message_passes_ = false;
    bool skip_to_sync_ = false;
    bool refuse_one_ = false;  // ... or only the simple query that comes next
    bool held_ = false;
    bool barrier_ = false;  // what is under way may change what the next messages mean
};

}  // namespace sluice::pool
