// Which functions of a database may leave something in a session, and everything through which they
// are reached: a query that lists sources and who uses what, and the reading of its rows into words
// that are hints (docs/sessions.md, "Functions"). Errs on the side of yes. Confined to its user; no
// errors but rows that were not asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/session_hints.hpp"
#include "protocol/sql_words.hpp"

namespace sluice::pool {

// One statement without parameters; rows of three columns of text. It changes nothing, looks the
// same under any settings of the session, and returns no row when no source mentions anything.
[[nodiscard]] std::string_view survey_sql() noexcept;

// What a survey has found.
struct survey_result {
    std::shared_ptr<const protocol::hint_words> words;
    std::vector<std::string> settings;  // of the application's own, named in sources and policies
};

class function_survey {
  public:
    // A row: what it is about, the name, and the value, both as the query encodes them. False: not
    // a row of the query.
    [[nodiscard]] bool add_row(std::string_view kind, std::string_view name,
                               std::string_view value);
    // The body of a DataRow.
    [[nodiscard]] bool add_row(protocol::byte_span body);

    // After the last row.
    [[nodiscard]] survey_result finish();

  private:
    // Words are numbered; a number here, or nobody.
    using word = std::uint32_t;
    static constexpr word no_word = ~word{0};

    struct text_hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept {
            return std::hash<std::string_view>{}(text);
        }
    };

    [[nodiscard]] word number(std::string_view text);
    void add_edge(word who, word uses) { users_[uses].push_back(who); }
    void use(word who, std::string_view name);
    void add_source(std::string_view name, std::string_view source, bool is_sql);
    void add_names(word who, std::string_view text, bool standard_strings, int level);
    void add_setting_behind(std::string_view text, const protocol::sql::token& first);
    void add_setting(word who, std::string_view name);

    std::unordered_map<std::string, word, text_hash, std::equal_to<>> numbers_;
    std::vector<std::vector<word>> users_;  // by word: names that are reached when it is
    std::vector<word> found_;
    std::vector<std::string> settings_;
    std::vector<std::pair<word, std::string>> likely_;  // settings, if the function is reached
};

// Whether the body of a function may leave something in the session. Exposed for its tests.
[[nodiscard]] bool leaves_something(std::string_view source, bool is_sql);

}  // namespace sluice::pool
