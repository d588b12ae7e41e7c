// What a client has made of its session on a server connection, as the server tells when it is
// asked: docs/sessions.md. The questions, their answers, and what a pool knows about its database.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "metrics/counters.hpp"
#include "pool/function_survey.hpp"
#include "pool/parameters.hpp"
#include "protocol/bytes.hpp"
#include "protocol/session_hints.hpp"

namespace sluice::pool {

// Why a client keeps its server connection between transactions.
enum class pin_reason : std::uint8_t {
    prepared,    // SQL-level PREPARE that cannot travel
    temporary,   // something in its temporary schema
    cursor,      // a cursor WITH HOLD
    lock,        // session-level advisory locks
    listening,   // channels
    setting,     // one that its login could not set again
    sequence,    // currval, lastval; to DISCARD or the end
    library,     // LOAD, dblink; to the end of the session
    seed,        // setseed; to the end
    process_id,  // pg_backend_pid() was written down; to DISCARD ALL or the end
    unknown,     // the server could not be asked
};
inline constexpr auto pin_reason_names = metrics::pin_reason_names;
inline constexpr std::size_t pin_reasons = pin_reason_names.size();

// A set of reasons, one bit each.
using pin_set = std::uint32_t;
[[nodiscard]] constexpr pin_set pin(pin_reason why) noexcept {
    return pin_set{1} << static_cast<unsigned>(why);
}
// The names in a set: "temporary, lock".
[[nodiscard]] std::string describe(pin_set pins);

// Reasons that the server is asked about again.
inline constexpr pin_set passing_pins = pin(pin_reason::prepared) | pin(pin_reason::temporary) |
                                        pin(pin_reason::cursor) | pin(pin_reason::lock) |
                                        pin(pin_reason::listening) | pin(pin_reason::unknown);

// Hints of what another client would see.
inline constexpr std::uint32_t cleaned_hints =
    protocol::hint_settings | protocol::hint_reset | protocol::hint_temporary |
    protocol::hint_cursors | protocol::hint_locks | protocol::hint_prepared |
    protocol::hint_channels | protocol::hint_library | protocol::hint_unknown |
    protocol::hint_named | protocol::hint_dblink | protocol::hint_discard;

// The channel on which a pooled connection tells the shared one where it stops listening.
inline constexpr std::string_view listen_marker = "sluice_marker";
[[nodiscard]] std::string listen_sql(std::string_view channel);

// The questions; a prepared statement each. The rows of `functions` are for a function_survey.
enum class question : std::uint8_t { settings, pins, functions };
inline constexpr std::size_t questions = 3;
[[nodiscard]] std::string_view question_name(question which) noexcept;  // on the server
[[nodiscard]] std::string_view question_sql(question which) noexcept;
// The one parameter of question::settings: names of settings that pg_settings does not list. That
// of question::pins: whether SQL-level prepared statements are listed.
[[nodiscard]] std::string names_array(const std::vector<std::string>& names);

// What stands in for a prepared statement whose name only has to be taken.
[[nodiscard]] std::string stand_in_sql(std::string_view name);
[[nodiscard]] std::string deallocate_sql(std::string_view name);

// Collects the rows that answer a question.
class session_answer {
  public:
    // The body of a DataRow. False: not what was asked for.
    [[nodiscard]] bool add_row(protocol::byte_span body);

    std::vector<parameter_set::entry> settings;  // above the login's, "role" and
                                                 // "session_authorization" among them
    pin_set pins = 0;
    bool has_privileged = false;  // a setting that takes a superuser to set
    std::vector<std::string> channels;
    std::string session_user;
    // SQL-level prepared statements: name, and the text they came in (null: too long).
    std::vector<std::pair<std::string, std::optional<std::string>>> prepared;
};

// What is known about a database by all clients of a pool, until the pool goes over to another
// server. Any thread.
class session_knowledge {
  public:
    // Somebody reads currval or lastval here: what INSERT leaves behind counts.
    std::atomic<bool> sequences_matter{false};

    [[nodiscard]] std::shared_ptr<const protocol::hint_words> words() const;
    [[nodiscard]] std::vector<std::string> function_settings() const;
    // Changes with changed() and learn(), so that a cached words() can be told to be old; 0 while
    // there are none.
    [[nodiscard]] std::uint32_t edition() const noexcept {
        return edition_.load(std::memory_order_acquire);
    }

    // Which client, by the process id that it was given, has last sent notifications over the
    // connection of that process: what listeners are to see as the sender.
    void note_notifier(std::uint32_t process, std::uint32_t client);
    [[nodiscard]] std::uint32_t notifier(std::uint32_t process) const;  // 0: not known

    // Somebody uses it: a login need not look for nobody.
    std::atomic<bool> wanted{false};
    // How often what functions do may have changed; a survey is told by what this was at its start.
    [[nodiscard]] std::uint64_t changes() const noexcept {
        return changes_.load(std::memory_order_acquire);
    }
    void changed() noexcept;
    // No survey has seen the last change: any statement may do anything.
    [[nodiscard]] bool in_doubt() const noexcept {
        return surveyed_.load(std::memory_order_acquire) != changes();
    }
    // Whether the caller is to survey the last change; `changes` says which one that is.
    [[nodiscard]] bool claim_survey(std::uint64_t& changes) noexcept;
    void give_up_survey(std::uint64_t changes) noexcept;
    // An older survey than the last is not listened to.
    void learn(std::uint64_t changes, survey_result found);
    // It cannot be had: what was known remains, and is no longer in doubt.
    void survey_failed(std::uint64_t changes, std::string_view sqlstate);
    // The SQLSTATE of a failure, for the first time that there is one.
    [[nodiscard]] std::string take_failure();

  private:
    [[nodiscard]] static std::uint32_t next_edition() noexcept;

    mutable std::mutex mutex_;
    std::unordered_map<std::uint32_t, std::uint32_t> notifiers_;
    std::atomic<std::uint32_t> edition_{0};
    std::atomic<std::uint64_t> changes_{1};
    std::atomic<std::uint64_t> surveyed_{0};
    std::atomic<std::uint64_t> claimed_{0};
    std::shared_ptr<const protocol::hint_words> words_;
    std::vector<std::string> function_settings_;
    std::string failure_;
    bool has_failed_ = false;
};

// A survey that is under way on a connection; given up if it is destroyed before its end.
class survey_claim {
  public:
    survey_claim() = default;
    survey_claim(const survey_claim&) = delete;
    survey_claim& operator=(const survey_claim&) = delete;
    ~survey_claim() { give_up(); }

    [[nodiscard]] bool take(session_knowledge& from) {
        give_up();
        if (!from.claim_survey(changes_)) return false;
        of_ = &from;
        rows_ = std::make_unique<function_survey>();
        return true;
    }
    void give_up() noexcept {
        if (of_ != nullptr) of_->give_up_survey(changes_);
        of_ = nullptr;
        rows_.reset();
    }
    [[nodiscard]] bool add_row(protocol::byte_span body) {
        return rows_ != nullptr && rows_->add_row(body);
    }
    void learn() {
        if (of_ != nullptr) of_->learn(changes_, rows_->finish());
        give_up();
    }
    void fail(std::string_view sqlstate) {
        if (of_ != nullptr) of_->survey_failed(changes_, sqlstate);
        give_up();
    }

  private:
    session_knowledge* of_ = nullptr;
    std::uint64_t changes_ = 0;
    std::unique_ptr<function_survey> rows_;
};

}  // namespace sluice::pool
