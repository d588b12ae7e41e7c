// The ordered queue of replies that a server connection owes. Every message sent to a server that
// it will answer has one entry; the entry at the head says what the next reply means and who gets
// it.
//
//   kind           ends with                        an ErrorResponse instead
//   parse          ParseComplete                    ends it and all up to the next sync
//   bind           BindComplete                     as above
//   describe       RowDescription or NoData         as above
//   execute        CommandComplete, EmptyQuery-     as above
//                  Response or PortalSuspended
//   close          CloseComplete                    as above
//   sync           ReadyForQuery                    -
//   query          ReadyForQuery                    stays: ReadyForQuery follows
//   function_call  ReadyForQuery                    stays: ReadyForQuery follows
//   copy_end       nothing: it marks where the client's CopyDone or CopyFail went
//
// In copy-in mode the server reads and ignores Sync: entries for those syncs are dropped when the
// CopyInResponse arrives. Source: PostgreSQL documentation, chapter "Message Flow".
#pragma once

#include <boost/circular_buffer.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "pool/statements.hpp"

namespace sluice::pool {

enum class owed_kind : std::uint8_t {
    parse,
    bind,
    describe,
    execute,
    close,
    sync,
    query,
    function_call,
    copy_end
};

// client: forwarded. nobody: swallowed. faked: the server was not asked; we answer when it is its
// turn.
enum class reply_for : std::uint8_t { client, nobody, faked };

// Whose message it was: the client's (or part of carrying it out), or one of our own between the
// client's, whose failure means something else. question: what the session has become.
// handover: its channels go to the shared connection. bring: SQL-level prepared statements that its
// next message needs, or must not see.
enum class errand : std::uint8_t { of_client, settings, question, clean_up, handover, bring };

// A client's unnamed statement, so that another connection can be given it.
struct unnamed_statement {
    std::string query;
    std::string types;
    std::uint32_t hints = 0;
    std::uint32_t words_edition = 0;
    std::uint32_t text = 0;  // statement_counts::handle
    bool standard_strings = true;
};

// What a message that may still fail has changed here already.
struct owed_note {
    std::string name;              // the client's name for a statement ...
    named_statement named_before;  // ... and what it stood for before (null: nothing)
    bool restores_name = false;
    std::unique_ptr<unnamed_statement> unnamed_before;
    bool restores_unnamed = false;  // if this message is skipped; if it fails, there is none
    statement_ptr evicted;          // closed on the server to make room
    std::string own_error;          // a whole ErrorResponse to send in place of the server's
    // A command of ours about an SQL-level name: what the name stood for before, if it changes it.
    std::string sql_name;
    std::optional<held_statement> held_before;
    enum class held_change : std::uint8_t {
        none,
        deallocates,
        prepares
    } change = held_change::none;
};

struct owed_reply {
    owed_kind kind = owed_kind::query;
    reply_for dest = reply_for::client;
    errand why = errand::of_client;
    std::uint64_t statement = 0;  // id: parse and bind of a named one; the batch's: what ends it
    std::unique_ptr<owed_note> note;
    std::uint32_t text = 0;  // statement_counts::handle of what a query or execute runs

    [[nodiscard]] bool is_unnamed() const noexcept {
        return kind == owed_kind::parse && statement == 0;
    }
};

class owed_replies {
  public:
    [[nodiscard]] bool empty() const noexcept { return queue_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return queue_.size(); }
    [[nodiscard]] owed_reply& head() noexcept { return queue_.front(); }
    [[nodiscard]] owed_reply& last() noexcept { return queue_.back(); }
    [[nodiscard]] owed_reply& at(std::size_t i) noexcept { return queue_[i]; }

    void push(owed_reply reply) {
        grow();
        queue_.push_back(std::move(reply));
    }
    void push_front(owed_reply reply) {
        grow();
        queue_.push_front(std::move(reply));
    }
    void pop() noexcept { queue_.pop_front(); }
    void erase(std::size_t i) { queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i)); }

    // Gives back what a long pipeline took; to grow for each of the usual ones would cost more.
    void shrink() {
        if (queue_.empty() && queue_.capacity() > 256) queue_.set_capacity(8);
    }

  private:
    void grow() {
        if (queue_.full()) queue_.set_capacity(queue_.empty() ? 8 : queue_.capacity() * 2);
    }
    boost::circular_buffer<owed_reply> queue_;
};

}  // namespace sluice::pool
