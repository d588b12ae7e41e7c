#include "pool/function_survey.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "protocol/sql_words.hpp"

namespace sluice::pool {

namespace {

namespace sql = protocol::sql;
using sql::reader;
using sql::token;

// How deep strings are read as text: EXECUTE 'DO ''... EXECUTE ''''SET app.x = 1'''' ...'''.
constexpr int most_levels = 3;
constexpr std::size_t most_settings = 500;
constexpr std::size_t longest_setting = 127;

// What an event trigger's function is reached through.
constexpr std::array<std::string_view, 12> ddl_words{"alter",   "comment", "create",   "drop",
                                                     "grant",   "import",  "into",     "refresh",
                                                     "reindex", "revoke",  "security", "cluster"};

constexpr std::array<std::string_view, 7> statement_words{
    "deallocate", "discard", "listen", "load", "prepare", "reset", "unlisten"};
constexpr std::array<std::string_view, 5> name_prefixes{"pg_advisory_lock", "pg_advisory_unlock",
                                                        "pg_try_advisory_lock", "pg_temp",
                                                        "pg_prepared_statement"};
constexpr std::array<std::string_view, 5> before_temp{"create", "global", "into", "local",
                                                      "replace"};

template <std::size_t N>
bool is_one_of(std::string_view lower_case, const std::array<std::string_view, N>& words) noexcept {
    return std::find(words.begin(), words.end(), lower_case) != words.end();
}

bool is_known_prefix(std::string_view lower_case) noexcept {
    return std::any_of(name_prefixes.begin(), name_prefixes.end(),
                       [&](auto prefix) { return lower_case.substr(0, prefix.size()) == prefix; });
}

bool is_name(const token& one) noexcept {
    return one.what == token::kind::word || one.what == token::kind::quoted;
}

// What stands behind a name in the text that it was read from.
std::string_view rest_behind(std::string_view text, const token& name) noexcept {
    auto at = static_cast<std::size_t>(name.text.data() - text.data()) + name.text.size();
    if (name.what == token::kind::quoted) ++at;
    return text.substr(std::min(at, text.size()));
}

bool reads_either_way(std::string_view text) noexcept {
    return text.find('\\') == std::string_view::npos;
}

// What a statement of SQL or PL/pgSQL follows.
bool begins_statement(const token& before) noexcept {
    return before.is(';') || before.is("begin") || before.is("then") || before.is("else") ||
           before.is("loop") || before.is("atomic");
}

// Behind a variable: NAME := ..., NAME = ... and, at the start, NAME TYPE := ... as it is declared.
bool is_assigned(reader next, bool at_start) noexcept {
    auto one = next.next();
    if (one.is('=')) return at_start;
    while (at_start && one.what != token::kind::end && !one.is(';') && !one.is(':'))
        one = next.next();
    return one.is(':') && next.next().is('=');
}

// A body in SQL or PL/pgSQL, or a string in it that may be run.
class body {
  public:
    body(std::string_view source, bool standard_strings) noexcept
        : source_(source), standard_(standard_strings) {}

    [[nodiscard]] bool leaves_something() const { return read(source_, 0); }

  private:
    [[nodiscard]] bool read(std::string_view text, int level) const;
    [[nodiscard]] bool at_start(const token& one, reader next) const noexcept;
    [[nodiscard]] bool at_any_place(const token& one, const token& before,
                                    std::string_view rest) const;
    [[nodiscard]] bool executes_what_it_was_given(reader next) const;
    [[nodiscard]] bool assigns(std::string_view name) const;

    std::string_view source_;
    bool standard_;
};

bool body::read(std::string_view text, int level) const {
    reader tokens(text, standard_);
    token before;
    bool starts = true;
    for (;;) {
        const auto one = tokens.next();
        switch (one.what) {
            case token::kind::end:
                return false;
            case token::kind::string:
                if (level == most_levels || read(one.value(), level + 1)) return true;
                break;
            case token::kind::word:
                if (starts && at_start(one, tokens)) return true;
                if (starts && level > 0 && (one.is("temp") || one.is("temporary"))) return true;
                if (starts && level > 0 && one.is("execute")) return true;  // of a name
                if (level == 0 && one.is("execute") && executes_what_it_was_given(tokens))
                    return true;
                [[fallthrough]];
            case token::kind::quoted:
                if (at_any_place(one, before, rest_behind(text, one))) return true;
                break;
            case token::kind::number:
            case token::kind::other:
                break;
        }
        starts = begins_statement(one) || (one.is('>') && before.is('>'));  // a <<label>>
        before = one;
    }
}

// A word that begins a statement, unless it is a variable that is assigned to.
bool body::at_start(const token& one, reader next) const noexcept {
    if (one.is("set")) {
        const auto what = next.next();
        const bool local = what.is("local") || what.is("transaction") || what.is("constraints");
        return !local || next.next().is('.');
    }
    if (!is_one_of(one.value(), statement_words)) return false;
    const auto behind = next.next();
    return !behind.is(':') && !behind.is('=') && !behind.is('.') && !behind.is('[');
}

bool body::at_any_place(const token& one, const token& before, std::string_view rest) const {
    const auto name = one.value();
    if (name == "set_config") return protocol::outlives_transaction(rest, standard_);
    if (name == "setseed") return true;
    if (is_known_prefix(name)) return true;
    if (one.what == token::kind::quoted) return false;
    if (name == "hold") return before.is("with");
    if (name != "temp" && name != "temporary") return false;
    return before.what == token::kind::word && is_one_of(before.value(), before_temp);
}

// EXECUTE of what is neither put together nor read in the body: a parameter, which is the caller's.
bool body::executes_what_it_was_given(reader next) const {
    const auto what = next.next();
    if (what.is('$')) return true;
    if (!is_name(what) || what.is("function") || what.is("procedure") || what.is("on"))
        return false;
    if (next.next().is('(')) return false;
    return !assigns(what.value());
}

bool body::assigns(std::string_view name) const {
    reader tokens(source_, standard_);
    token before;
    for (;;) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return false;
        if (is_name(one) && one.value() == name) {
            if (before.is("into") || before.is("strict") || before.is("for")) return true;
            if (is_assigned(tokens, begins_statement(before) || before.is("declare"))) return true;
        }
        before = one;
    }
}

// Calls `each` with every word of a text in whatever language, in lower case, the last character
// before it that is no space, and what follows it.
template <class Each>
void for_each_word(std::string_view text, Each each) {
    const char* p = text.data();
    const char* const end = p + text.size();
    char before = '"';
    while (p != end) {
        if (sql::kind_of(*p) != sql::char_kind::word) {
            if (sql::kind_of(*p) != sql::char_kind::space) before = *p;
            ++p;
            continue;
        }
        const char* const begin = p;
        p = sql::word_end(p, end);
        each(sql::folded({begin, static_cast<std::size_t>(p - begin)}), before,
             std::string_view{p, static_cast<std::size_t>(end - p)});
        before = p[-1];
    }
}

// Another language, whose strings look as they like: a statement begins behind some kind of quote.
bool foreign_body_leaves_something(std::string_view source) {
    constexpr std::string_view openers = "\"'`;({[|$";
    bool found = false;
    std::string last;
    for_each_word(source, [&](std::string word, char before, std::string_view rest) {
        const bool starts = openers.find(before) != std::string_view::npos;
        if (word == "set_config") {
            found = found || protocol::outlives_transaction(rest, true);
        } else if (is_known_prefix(word) || word == "setseed") {
            found = true;
        } else if (word == "temp" || word == "temporary") {
            found = found || is_one_of(last, before_temp);
        } else if (word == "hold") {
            found = found || last == "with";
        } else if (starts && is_one_of(word, statement_words)) {
            found = found || rest.empty() || rest.front() != '(';
        } else if (starts && word == "set") {
            const auto next = reader(rest, true).next();
            found = found || (!next.is("local") && !next.is("transaction") &&
                              !next.is("constraints") && !next.is('('));
        }
        last = std::move(word);
    });
    return found;
}

// Like app.user_id.
bool looks_like_setting(std::string_view name) noexcept {
    if (name.size() > longest_setting) return false;
    bool dotted = false;
    bool begins = true;
    for (const char c : name) {
        if (begins ? sql::kind_of(c) != sql::char_kind::word : !sql::is_word_char(c) && c != '.')
            return false;
        begins = c == '.';
        dotted = dotted || begins;
    }
    return dotted && !begins;
}

// Bytes that are not ASCII are \ooo, and a backslash is two.
std::string unescaped(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    const auto digit = [&](std::size_t at) { return static_cast<unsigned>(text[at] - '0') & 7U; };
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            out += text[i];
        } else if (i + 3 < text.size() && text[i + 1] != '\\') {
            out += static_cast<char>(digit(i + 1) << 6 | digit(i + 2) << 3 | digit(i + 3));
            i += 3;
        } else {
            out += '\\';
            ++i;
        }
    }
    return out;
}

bool read_column(protocol::reader& in, std::string_view& out) {
    const auto length = static_cast<std::int32_t>(in.u32());
    if (!in.ok()) return false;
    out = {};
    if (length > 0) out = protocol::as_text(in.take(static_cast<std::size_t>(length)));
    return in.ok();
}

}  // namespace

bool leaves_something(std::string_view source, bool is_sql) {
    if (!is_sql) return foreign_body_leaves_something(source);
    if (body(source, true).leaves_something()) return true;
    return !reads_either_way(source) && body(source, false).leaves_something();
}

bool function_survey::add_row(protocol::byte_span row) {
    protocol::reader in(row);
    std::string_view kind;
    std::string_view name;
    std::string_view value;
    return in.u16() == 3 && read_column(in, kind) && read_column(in, name) &&
           read_column(in, value) && add_row(kind, name, value);
}

bool function_survey::add_row(std::string_view kind, std::string_view name,
                              std::string_view value) {
    if (kind.size() != 1) return false;
    const auto who = unescaped(name);
    const auto text = unescaped(value);
    switch (kind[0]) {
        case 'x':
        case 'w':
            found_.push_back(number(who));
            [[fallthrough]];
        case 'f':
        case 'g':
            add_source(who, text, kind[0] != 'g');
            return true;
        case 'e':
            add_edge(number(who), number(text));
            return true;
        case 'v':
            for (const auto ddl : ddl_words)
                add_edge(number(ddl), number(who));
            return true;
        case 'p':
            add_names(no_word, text, true, 0);
            return true;
        default:
            return false;
    }
}

function_survey::word function_survey::number(std::string_view text) {
    const auto at = numbers_.find(text);
    if (at != numbers_.end()) return at->second;
    const auto next = static_cast<word>(users_.size());
    numbers_.emplace(text, next);
    users_.emplace_back();
    return next;
}

void function_survey::add_source(std::string_view name, std::string_view source, bool is_sql) {
    const auto who = number(name);
    if (leaves_something(source, is_sql)) found_.push_back(who);
    if (!is_sql) {
        for_each_word(source, [&](const std::string& text, char, std::string_view) {
            add_edge(who, number(sql::cut_name(text)));
        });
    }
    add_names(who, source, true, 0);
    if (!reads_either_way(source)) add_names(who, source, false, 0);
}

// Names of functions, of relations and of settings.
void function_survey::add_names(word who, std::string_view text, bool standard_strings, int level) {
    reader tokens(text, standard_strings);
    bool of_setting = false;  // behind "set_config(" and the like
    bool sets = false;
    for (;;) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return;
        if (one.what == token::kind::string) {
            const auto value = one.value();
            if (looks_like_setting(value)) {
                add_setting(of_setting ? no_word : who, value);
            } else if (level < most_levels && who != no_word) {
                add_names(who, value, standard_strings, level + 1);
            }
        }
        if (is_name(one)) {
            const auto name = one.value();
            if (who != no_word) use(who, sql::cut_name(name));
            if (sets) add_setting_behind(text, one);
            const bool scope = one.is("session") || one.is("local");
            sets = one.is("set") || one.is("reset") || (sets && scope);
            auto ahead = tokens;
            of_setting =
                (name == "set_config" || name == "current_setting") && ahead.next().is('(');
            continue;
        }
        of_setting = of_setting && one.is('(');
        sets = false;
    }
}

// SET app.user_id: `first` is its first part.
void function_survey::add_setting_behind(std::string_view text, const protocol::sql::token& first) {
    auto name = first.value();
    reader tokens(rest_behind(text, first), true);
    for (;;) {
        if (!tokens.next().is('.')) break;
        const auto part = tokens.next();
        if (!is_name(part)) return;
        name += '.' + part.value();
    }
    if (looks_like_setting(name)) add_setting(no_word, name);
}

void function_survey::use(word who, std::string_view name) {
    auto& users = users_[number(name)];
    if (users.empty() || users.back() != who) users.push_back(who);
}

void function_survey::add_setting(word who, std::string_view name) {
    auto lower_case = sql::folded(name);
    if (who != no_word) {
        likely_.emplace_back(who, std::move(lower_case));
    } else if (std::find(settings_.begin(), settings_.end(), lower_case) == settings_.end() &&
               settings_.size() < most_settings) {
        settings_.push_back(std::move(lower_case));
    }
}

survey_result function_survey::finish() {
    std::vector<bool> reached(users_.size());
    std::vector<word> todo;
    const auto reach = [&](word one) {
        if (reached[one]) return;
        reached[one] = true;
        todo.push_back(one);
    };
    for (const auto one : found_)
        reach(one);
    while (!todo.empty()) {
        const auto one = todo.back();
        todo.pop_back();
        for (const auto user : users_[one])
            reach(user);
    }
    survey_result out;
    std::vector<std::string> words;
    for (const auto& [text, one] : numbers_) {
        if (reached[one]) words.push_back(text);
    }
    for (auto& [who, name] : likely_) {
        if (reached[who]) add_setting(no_word, name);
    }
    if (!words.empty()) {
        out.words = std::make_shared<const protocol::hint_words>(std::move(words));
        out.settings = std::move(settings_);
    }
    *this = {};
    return out;
}

}  // namespace sluice::pool
