#include "pool/console_command.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace sluice::pool {

namespace {

struct token {
    enum class kind { word, name, literal, sign };  // name: in double quotes
    kind what = kind::word;
    std::string text;
};

using tokens = std::vector<token>;

constexpr std::size_t most_quoted_back = 60;

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Database names are often written without quotes, so '-', '.' and '*' belong to words.
bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || c == '-' || c == '.' || c == '*' || static_cast<unsigned char>(c) >= 0x80;
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (auto& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

class scanner {
  public:
    explicit scanner(std::string_view text) : rest_(text) {}

    // The tokens of the next statement; nullopt at the end. `unfinished`: a quote or comment is.
    std::optional<tokens> next(bool& unfinished, std::string_view& whole) {
        tokens out;
        skip(unfinished);
        const auto start = rest_;
        while (!rest_.empty() && rest_.front() != ';' && !unfinished) {
            out.push_back(take(unfinished));
            skip(unfinished);
        }
        whole = start.substr(0, start.size() - rest_.size());
        if (rest_.empty() && out.empty()) return std::nullopt;
        if (!rest_.empty()) rest_.remove_prefix(1);
        return out;
    }

  private:
    void skip(bool& unfinished) {
        for (;;) {
            while (!rest_.empty() && is_space(rest_.front()))
                rest_.remove_prefix(1);
            if (rest_.starts_with("--")) {
                rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
            } else if (rest_.starts_with("/*")) {
                const auto end = rest_.find("*/", 2);
                if (end == std::string_view::npos) unfinished = true;
                rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 2);
            } else {
                return;
            }
        }
    }

    token take(bool& unfinished) {
        const char first = rest_.front();
        if (first == '"') return {token::kind::name, quoted('"', unfinished)};
        if (first == '\'') return {token::kind::literal, quoted('\'', unfinished)};
        std::size_t length = 0;
        while (length < rest_.size() && is_word(rest_[length]) &&
               !rest_.substr(length).starts_with("--")) {
            ++length;
        }
        const auto what = length == 0 ? token::kind::sign : token::kind::word;
        length = std::max<std::size_t>(length, 1);
        token out{what, std::string(rest_.substr(0, length))};
        rest_.remove_prefix(length);
        return out;
    }

    std::string quoted(char quote, bool& unfinished) {
        std::string out;
        rest_.remove_prefix(1);
        for (;;) {
            const auto end = rest_.find(quote);
            if (end == std::string_view::npos) {
                unfinished = true;
                rest_ = {};
                return out;
            }
            out += rest_.substr(0, end);
            rest_.remove_prefix(end + 1);
            if (!rest_.starts_with(quote)) return out;
            out += quote;  // doubled
            rest_.remove_prefix(1);
        }
    }

    std::string_view rest_;
};

struct named_show {
    std::string_view name;
    show_kind what;
};

constexpr std::array shows{
    named_show{"active_sockets", show_kind::active_sockets},
    named_show{"clients", show_kind::clients},
    named_show{"config", show_kind::config},
    named_show{"databases", show_kind::databases},
    named_show{"dns_hosts", show_kind::dns_hosts},
    named_show{"dns_zones", show_kind::dns_zones},
    named_show{"fds", show_kind::fds},
    named_show{"help", show_kind::help},
    named_show{"lists", show_kind::lists},
    named_show{"mem", show_kind::mem},
    named_show{"peer_pools", show_kind::peer_pools},
    named_show{"peers", show_kind::peers},
    named_show{"pins", show_kind::pins},
    named_show{"pools", show_kind::pools},
    named_show{"queries", show_kind::queries},
    named_show{"servers", show_kind::servers},
    named_show{"sockets", show_kind::sockets},
    named_show{"state", show_kind::state},
    named_show{"stats", show_kind::stats},
    named_show{"stats_averages", show_kind::stats_averages},
    named_show{"stats_totals", show_kind::stats_totals},
    named_show{"totals", show_kind::totals},
    named_show{"users", show_kind::users},
    named_show{"version", show_kind::version},
    named_show{"waiters", show_kind::waiters},
};

struct constant {
    std::string_view name;  // as asked for
    console_column column;
    std::string_view value;
    constant_of source = constant_of::text;
};

// SHOW of settings that drivers look at.
constexpr std::array settings{
    constant{"application_name", {"application_name"}, ""},
    constant{"client_encoding", {"client_encoding"}, "UTF8"},
    constant{"datestyle", {"DateStyle"}, "ISO, MDY"},
    constant{"default_transaction_isolation", {"default_transaction_isolation"}, "read committed"},
    constant{"default_transaction_read_only", {"default_transaction_read_only"}, "off"},
    constant{"in_hot_standby", {"in_hot_standby"}, "off"},
    constant{"integer_datetimes", {"integer_datetimes"}, "on"},
    constant{"intervalstyle", {"IntervalStyle"}, "postgres"},
    constant{"is_superuser", {"is_superuser"}, "off"},
    constant{"max_identifier_length", {"max_identifier_length"}, "63"},
    constant{"search_path", {"search_path"}, ""},
    constant{"server_encoding", {"server_encoding"}, "UTF8"},
    constant{"server_version", {"server_version"}, console_server_version},
    constant{"server_version_num", {"server_version_num"}, "150000"},
    constant{"session_authorization", {"session_authorization"}, "", constant_of::user},
    constant{"standard_conforming_strings", {"standard_conforming_strings"}, "on"},
    constant{"timezone", {"TimeZone"}, "UTC"},
    constant{"time zone", {"TimeZone"}, "UTC"},
    constant{"transaction isolation level", {"transaction_isolation"}, "read committed"},
    constant{"transaction_isolation", {"transaction_isolation"}, "read committed"},
    constant{"transaction_read_only", {"transaction_read_only"}, "off"},
};

// SELECT of what drivers ask.
constexpr std::array functions{
    constant{"version()", {"version"}, "PostgreSQL 15.0 (the admin console of sluice)"},
    constant{"pg_is_in_recovery()", {"pg_is_in_recovery"}, "f"},
    constant{"current_user", {"current_user"}, "", constant_of::user},
    constant{"session_user", {"session_user"}, "", constant_of::user},
    constant{"current_database()", {"current_database"}, "", constant_of::database},
    constant{"current_catalog", {"current_catalog"}, "", constant_of::database},
    constant{"current_schema()", {"current_schema"}, "public"},
    constant{"1", {"?column?", column_type::int4}, "1"},
};

template <class Table>
const typename Table::value_type* find(const Table& table, std::string_view name) {
    const auto at =
        std::find_if(table.begin(), table.end(), [&](const auto& one) { return one.name == name; });
    return at == table.end() ? nullptr : &*at;
}

console_command of_constant(const constant& from, std::string_view tag) {
    console_command out;
    out.verb = console_verb::constant;
    out.column = from.column;
    out.source = from.source;
    out.argument = from.value;
    out.tag = tag;
    return out;
}

console_command invalid(std::string_view sqlstate, std::string problem, std::string_view hint) {
    console_command out;
    out.verb = console_verb::invalid;
    out.sqlstate = sqlstate;
    out.problem = std::move(problem);
    out.hint = hint;
    return out;
}

console_command unknown(std::string_view whole) {
    std::string shown;
    for (const char c : whole.substr(0, most_quoted_back))
        shown += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    // Not within a character.
    if (whole.size() > most_quoted_back) {
        while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0xc0U) == 0x80U)
            shown.pop_back();
        if (!shown.empty() && static_cast<unsigned char>(shown.back()) >= 0xc0U) shown.pop_back();
        shown += "...";
    }
    while (shown.ends_with(' '))
        shown.pop_back();
    return invalid("42601", "invalid command '" + shown + "', use SHOW HELP;",
                   "This is the admin console, not a database. SHOW HELP lists its commands.");
}

// The words of a statement from `first` on, in lower case, with one space between words and none
// around signs.
std::string joined(const tokens& all, std::size_t first) {
    std::string out;
    bool word_before = false;
    for (std::size_t i = first; i < all.size(); ++i) {
        const bool word = all[i].what != token::kind::sign;
        if (word && word_before) out += ' ';
        out += all[i].what == token::kind::literal ? "'" + all[i].text + "'" : lower(all[i].text);
        word_before = word;
    }
    return out;
}

std::optional<console_command> parse_show(const tokens& all, std::string_view tag) {
    const auto name = joined(all, 1);
    if (name.empty()) {
        console_command out;
        out.verb = console_verb::show;
        out.show = show_kind::help;
        out.tag = tag;
        return out;
    }
    if (const auto* known = find(shows, name)) {
        console_command out;
        out.verb = console_verb::show;
        out.show = known->what;
        out.tag = tag;
        return out;
    }
    if (const auto* known = find(settings, name)) return of_constant(*known, tag);
    return std::nullopt;
}

std::optional<console_command> parse_select(const tokens& all) {
    auto what = joined(all, 1);
    if (what.starts_with("pg_catalog.")) what.erase(0, 11);
    constexpr std::string_view setting = "current_setting('";
    if (what.starts_with(setting) && what.ends_with("')")) {
        const auto name = lower(what.substr(setting.size(), what.size() - setting.size() - 2));
        const auto* known = find(settings, name);
        if (known == nullptr) return std::nullopt;
        auto out = of_constant(*known, "SELECT 1");
        out.column.name = "current_setting";
        return out;
    }
    if (const auto* known = find(functions, what)) return of_constant(*known, "SELECT 1");
    if (what.empty()) return std::nullopt;
    return parse_show(all, "SHOW");
}

std::optional<console_command> parse_set(const tokens& all) {
    console_command out;
    out.verb = console_verb::set;
    out.tag = "SET";
    std::size_t at = 1;
    const auto is = [&](std::string_view word) {
        return at < all.size() && all[at].what == token::kind::word && lower(all[at].text) == word;
    };
    if (is("session") || is("local")) ++at;
    if (is("transaction") || is("characteristics")) {
        out.verb = console_verb::acknowledge;
        return out;
    }
    if (is("time") || is("names")) {  // SET TIME ZONE, SET NAMES
        out.argument = is("time") ? "timezone" : "client_encoding";
        for (++at; at < all.size(); ++at)
            out.value = all[at].text;
        return out;
    }
    if (at >= all.size() || all[at].what == token::kind::sign) return std::nullopt;
    out.argument = all[at].what == token::kind::word ? lower(all[at].text) : all[at].text;
    ++at;
    if (!is("to") && (at >= all.size() || all[at].text != "=")) return std::nullopt;
    for (++at; at < all.size(); ++at)
        out.value += all[at].text;
    return out;
}

struct named_verb {
    std::string_view name;
    console_verb what;
    std::string_view tag;
    enum class wants { nothing, maybe_one, one, anything } argument;
};

constexpr std::array verbs{
    named_verb{"reload", console_verb::reload, "RELOAD", named_verb::wants::nothing},
    named_verb{"pause", console_verb::pause, "PAUSE", named_verb::wants::maybe_one},
    named_verb{"resume", console_verb::resume, "RESUME", named_verb::wants::maybe_one},
    named_verb{"disable", console_verb::disable, "DISABLE", named_verb::wants::one},
    named_verb{"enable", console_verb::enable, "ENABLE", named_verb::wants::one},
    named_verb{"reconnect", console_verb::reconnect, "RECONNECT", named_verb::wants::maybe_one},
    named_verb{"kill", console_verb::kill, "KILL", named_verb::wants::maybe_one},
    named_verb{"kill_client", console_verb::kill_client, "KILL_CLIENT", named_verb::wants::one},
    named_verb{"wait_close", console_verb::wait_close, "WAIT_CLOSE", named_verb::wants::maybe_one},
    named_verb{"shutdown", console_verb::shutdown, "SHUTDOWN", named_verb::wants::maybe_one},
    named_verb{"suspend", console_verb::suspend, "SUSPEND", named_verb::wants::nothing},
    named_verb{"begin", console_verb::begin, "BEGIN", named_verb::wants::anything},
    named_verb{"start", console_verb::begin, "START TRANSACTION", named_verb::wants::anything},
    named_verb{"commit", console_verb::commit, "COMMIT", named_verb::wants::anything},
    named_verb{"end", console_verb::commit, "COMMIT", named_verb::wants::anything},
    named_verb{"rollback", console_verb::rollback, "ROLLBACK", named_verb::wants::anything},
    named_verb{"abort", console_verb::rollback, "ROLLBACK", named_verb::wants::anything},
    named_verb{"reset", console_verb::acknowledge, "RESET", named_verb::wants::anything},
    named_verb{"discard", console_verb::acknowledge, "DISCARD ALL", named_verb::wants::anything},
    named_verb{"deallocate", console_verb::acknowledge, "DEALLOCATE", named_verb::wants::anything},
    named_verb{"unlisten", console_verb::acknowledge, "UNLISTEN", named_verb::wants::anything},
};

std::optional<console_command> parse_verb(const named_verb& known, const tokens& all) {
    using wants = named_verb::wants;
    console_command out;
    out.verb = known.what;
    out.tag = known.tag;
    if (known.argument == wants::anything) return out;
    if (all.size() > 2 || (all.size() == 2 && known.argument == wants::nothing)) {
        return std::nullopt;
    }
    if (all.size() == 2) {
        if (all[1].what == token::kind::sign) return std::nullopt;
        out.argument = all[1].text;
    } else if (known.argument == wants::one) {
        return invalid("42601",
                       known.what == console_verb::kill_client ? "a client is required"
                                                               : "a database is required",
                       known.what == console_verb::kill_client
                           ? "KILL_CLIENT wants the id that SHOW CLIENTS shows."
                           : "SHOW DATABASES lists them.");
    }
    return out;
}

console_command parse_one(const tokens& all, std::string_view whole) {
    for (const auto& one : all) {
        if (one.what == token::kind::word && one.text.size() > 1 && one.text[0] == '$' &&
            one.text[1] >= '0' && one.text[1] <= '9') {
            return invalid("0A000", "the admin console takes no parameters",
                           "Write the value into the command.");
        }
    }
    std::optional<console_command> out;
    if (all.front().what == token::kind::word) {
        const auto first = lower(all.front().text);
        if (first == "show") {
            out = parse_show(all, "SHOW");
        } else if (first == "select") {
            out = parse_select(all);
        } else if (first == "set") {
            out = parse_set(all);
        } else if (joined(all, 0) == "reset queries") {  // PostgreSQL's RESET is for drivers
            out.emplace();
            out->verb = console_verb::reset_queries;
            out->tag = "RESET";
        } else if (const auto* known = find(verbs, first)) {
            out = parse_verb(*known, all);
        }
    }
    return out.has_value() ? std::move(*out) : unknown(whole);
}

}  // namespace

std::vector<console_command> parse_console(std::string_view text) {
    std::vector<console_command> out;
    scanner in(text);
    bool unfinished = false;
    std::string_view whole;
    while (auto statement = in.next(unfinished, whole)) {
        if (unfinished) break;
        if (!statement->empty()) out.push_back(parse_one(*statement, whole));
    }
    if (unfinished) {
        out.push_back(
            invalid("42601", "unterminated quote or comment", "SHOW HELP lists the commands."));
    }
    if (out.empty()) out.emplace_back();
    return out;
}

}  // namespace sluice::pool
