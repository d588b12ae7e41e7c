// What the text of a statement may do to its session: one pass over every Query and Parse, without
// understanding the statement. A hint means "may have": it errs on the side of yes, and misses what
// functions and strings do (hint_words names such functions). The list is in docs/sessions.md.
// Pure functions, any thread; hint_words is immutable and shared. No errors: any bytes are a text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::protocol {

enum session_hint : std::uint32_t {
    hint_settings = 1U << 0,         // SET but for LOCAL and alike, RESET, set_config not local
    hint_reset = 1U << 1,            // settings may be back at what the session began with
    hint_temporary = 1U << 2,        // temp, temporary, pg_temp
    hint_cursors = 1U << 3,          // DECLARE with HOLD
    hint_locks = 1U << 4,            // advisory locks of the session
    hint_prepared = 1U << 5,         // PREPARE, DEALLOCATE
    hint_executes = 1U << 6,         // EXECUTE; pg_prepared_statements
    hint_channels = 1U << 7,         // LISTEN, UNLISTEN; pg_listening_channels
    hint_notifies = 1U << 8,         // NOTIFY; pg_notify
    hint_sequences = 1U << 9,        // nextval, setval; what may use a column's default
    hint_reads_sequence = 1U << 10,  // currval, lastval
    hint_library = 1U << 11,         // LOAD
    hint_process_id = 1U << 13,      // writes down pg_backend_pid(): INSERT, UPDATE, MERGE
    hint_seed = 1U << 14,            // setseed
    hint_unknown = 1U << 15,         // DO, CALL: anything may have happened
    hint_release = 1U << 16,         // state may be gone: DROP, CLOSE, DISCARD, COMMIT, ROLLBACK...
    hint_discard = 1U << 17,         // DISCARD of anything
    hint_functions = 1U << 18,       // what functions of the database do may have changed
    hint_named = 1U << 19,           // a word of the database's own hint_words
    hint_dblink = 1U << 20,          // dblink_connect, dblink_disconnect
    hint_local = 1U << 21,           // SET LOCAL, set_config local: to the transaction's end
};

// Words that are hints in one database (functions that leave state, tables that use them): folded
// to lower case as the catalog has them, unqualified.
class hint_words {
  public:
    hint_words() = default;
    explicit hint_words(std::vector<std::string> words);

    [[nodiscard]] bool empty() const noexcept { return words_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return words_.size(); }
    // The exact word, so lower case for one that is not quoted in the text.
    [[nodiscard]] bool contains(std::string_view word) const noexcept;

    // False for nearly every word that is not contained; `key` is sql::word_key.
    [[nodiscard]] bool may_contain(std::uint64_t key) const noexcept {
        const auto at = place(key);
        return (filter_[at / 64] >> (at % 64) & 1U) != 0;
    }

  private:
    static constexpr std::size_t filter_bits = 4096;
    static std::size_t place(std::uint64_t key) noexcept {
        return static_cast<std::size_t>(key * 0x9E3779B97F4A7C15U >> 52);
    }

    std::vector<std::string> words_;  // sorted
    std::array<std::uint64_t, filter_bits / 64> filter_{};
};

// Bits of session_hint. `standard_strings`: standard_conforming_strings is on (a backslash in '...'
// is plain). `names` may be null.
[[nodiscard]] std::uint32_t read_session_hints(std::string_view sql, bool standard_strings,
                                               const hint_words* names) noexcept;

// The slow ones, for statements that have a hint; they allocate.

// Names of the application's own settings (app.user_id) that the text sets, and in the text of DO
// and CALL all that look like one: in lower case, each once, at most 32, those surely set first.
[[nodiscard]] std::vector<std::string> settings_named_in(std::string_view sql);

// Whether a set_config that is followed by `arguments` sets more than its transaction's value: it
// is called, and its third argument is not simply `true`.
[[nodiscard]] bool outlives_transaction(std::string_view arguments, bool standard_strings) noexcept;

// Whether every set_config( of the text has a literal for its first argument.
[[nodiscard]] bool set_config_names_are_literal(std::string_view sql);

struct channel_statement {
    enum class kind { none, listen, unlisten, unlisten_all } what = kind::none;
    std::string channel;  // as the server reads it: folded, unquoted, cut to 63 bytes
};

// Of a text that is exactly one LISTEN or UNLISTEN; none for anything else.
[[nodiscard]] channel_statement read_channel_statement(std::string_view sql);

}  // namespace sluice::protocol
