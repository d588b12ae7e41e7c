#include "protocol/prepared_names.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "protocol/sql_words.hpp"

namespace sluice::protocol {

namespace {

using sql::reader;
using sql::token;

bool is_name(const token& one) noexcept {
    return one.what == token::kind::word || one.what == token::kind::quoted;
}

// The server folds such letters by its locale, and escapes are for its lexer.
bool is_clear(const token& one) noexcept {
    const bool ascii = std::all_of(one.text.begin(), one.text.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    return !one.escaped && (ascii || one.what == token::kind::quoted);
}

std::string name_of(const token& one) {
    return std::string{sql::cut_name(one.value())};
}

void add(std::vector<std::string>& to, std::string name) {
    if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(std::move(name));
}

bool has_backslash(std::string_view text) noexcept {
    return text.find('\\') != std::string_view::npos;
}

// Whether the verb PREPARE, which has just been read, prepares a transaction.
bool prepares_transaction(reader tokens) noexcept {
    return tokens.next().is("transaction") && tokens.next().what == token::kind::string;
}

// The name behind DEALLOCATE [PREPARE]; nothing for ALL.
std::optional<token> deallocated(reader tokens) noexcept {
    auto name = tokens.next();
    if (name.is("prepare")) {
        const auto next = tokens.next();
        if (is_name(next)) name = next;
    }
    if (!is_name(name) || name.is("all")) return std::nullopt;
    return name;
}

class name_reader {
  public:
    void read(std::string_view text, bool standard_strings) {
        reader tokens(text, standard_strings);
        bool at_start = true;
        for (;;) {
            const auto one = tokens.next();
            if (one.what == token::kind::end) return;
            const bool begins = std::exchange(at_start, one.is(';') || (at_start && one.is('(')));
            if (is_name(one)) word(one, begins, tokens);
        }
    }
    prepared_names found;

  private:
    void take(std::vector<std::string>& to, const token& name) {
        if (!is_name(name)) return;
        if (!is_clear(name)) found.any = true;
        add(to, name_of(name));
    }
    void word(const token& one, bool begins, reader tokens) {
        if (one.is("execute")) return take(found.executed, tokens.next());
        if (begins && one.is("prepare")) {
            if (!prepares_transaction(tokens)) take(found.changed, tokens.next());
        } else if (begins && one.is("deallocate")) {
            if (const auto name = deallocated(tokens)) take(found.changed, *name);
        } else if (one.value().starts_with("pg_prepared_statement")) {
            found.any = true;
        }
    }
};

std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && sql::kind_of(text.back()) == sql::char_kind::space)
        text.remove_suffix(1);
    return text;
}

// One way to read the source.
std::string_view prepare_in(std::string_view source, std::string_view name, bool standard) {
    reader tokens(source, standard);
    std::string_view found;
    int statements = 0;
    int matches = 0;
    const char* begin = nullptr;  // of the statement, if it is a match
    bool at_start = true;
    for (;;) {
        const auto one = tokens.next();
        const bool ends = one.what == token::kind::end;
        if (ends || one.is(';')) {
            const char* end = ends ? source.data() + source.size() : one.text.data();
            if (begin != nullptr) found = {begin, static_cast<std::size_t>(end - begin)};
            begin = nullptr;
            at_start = true;
            if (ends) break;
            continue;
        }
        if (!std::exchange(at_start, false)) continue;
        ++statements;
        if (!one.is("prepare") || prepares_transaction(tokens)) continue;
        auto ahead = tokens;
        const auto its_name = ahead.next();
        if (!is_name(its_name) || !is_clear(its_name) || name_of(its_name) != name) continue;
        begin = one.text.data();
        ++matches;
    }
    if (matches != 1) return {};
    return statements == 1 ? source : trimmed(found);
}

}  // namespace

prepared_names prepared_names_in(std::string_view text, bool standard_strings) {
    name_reader names;
    names.read(text, standard_strings);
    if (has_backslash(text)) names.read(text, !standard_strings);
    return std::move(names.found);
}

std::string_view prepare_statement_in(std::string_view source, std::string_view name) {
    const auto found = prepare_in(source, name, true);
    if (has_backslash(source) && prepare_in(source, name, false) != found) return {};
    return found;
}

const std::vector<std::string_view>& parsing_settings() {
    static const std::vector<std::string_view> names{"array_nulls",
                                                     "backslash_quote",
                                                     "client_encoding",
                                                     "datestyle",
                                                     "intervalstyle",
                                                     "lc_monetary",
                                                     "lc_numeric",
                                                     "lc_time",
                                                     "search_path",
                                                     "session_replication_role",
                                                     "standard_conforming_strings",
                                                     "timezone",
                                                     "timezone_abbreviations",
                                                     "transform_null_equals",
                                                     "xmlbinary",
                                                     "xmloption"};
    return names;
}

bool decides_parsing(std::string_view setting) noexcept {
    const auto& names = parsing_settings();
    return std::any_of(names.begin(), names.end(),
                       [&](std::string_view one) { return sql::equals_folded(setting, one); });
}

bool may_change_parsing(std::string_view text, bool standard_strings) {
    // Words of SET with a syntax of its own: SET NAMES, TIME ZONE, SCHEMA, XML OPTION, ROLE...
    constexpr std::string_view others[] = {
        "all",    "authorization",         "discard", "names", "role",
        "schema", "session_authorization", "xml",     "zone"};
    reader tokens(text, standard_strings);
    for (;;) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return false;
        if (one.what == token::kind::number || one.what == token::kind::other) continue;
        if (one.escaped) return true;
        const auto value = one.value();
        if (decides_parsing(value)) return true;
        for (const auto other : others) {
            if (sql::equals_folded(value, other)) return true;
        }
    }
}

}  // namespace sluice::protocol
