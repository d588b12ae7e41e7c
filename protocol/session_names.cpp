// The slow part of session_hints.hpp: names in statements that have a hint already.
#include <algorithm>
#include <utility>

#include "protocol/session_hints.hpp"
#include "protocol/sql_words.hpp"

namespace sluice::protocol {

namespace {

using sql::reader;
using sql::token;

constexpr std::size_t most_settings = 32;
constexpr std::size_t longest_part = 63;
constexpr std::size_t longest_setting = 512;  // the server has no bound

// How deep strings are read as text: DO '... EXECUTE ''SET app.x = 1'' ...'.
constexpr int most_levels = 3;

// Of the arguments of set_config; bounds the look ahead, so that nested calls stay linear.
constexpr int most_tokens_ahead = 64;

// A name with a dot that the server takes for a setting nobody has declared.
bool looks_like_setting(std::string_view name) noexcept {
    if (name.size() > longest_setting) return false;
    std::size_t parts = 0;
    for (;;) {
        const auto part = name.substr(0, name.find('.'));
        if (part.empty() || part.size() > longest_part) return false;
        if (sql::kind_of(part.front()) != sql::char_kind::word) return false;
        if (!std::all_of(part.begin(), part.end(), sql::is_word_char)) return false;
        ++parts;
        if (part.size() == name.size()) return parts >= 2;
        name.remove_prefix(part.size() + 1);
    }
}

// An unquoted name counts without case, a quoted one as it is.
bool names_function(const token& one, std::string_view function) noexcept {
    return one.is(function) || (one.what == token::kind::quoted && one.text == function);
}

// a.b.c, `first` being its first word; the reader is left behind it.
std::string read_dotted(const token& first, reader& tokens) {
    std::string out = first.value();
    for (;;) {
        auto ahead = tokens;
        if (!ahead.next().is('.')) return out;
        const auto part = ahead.next();
        if (part.what != token::kind::word && part.what != token::kind::quoted) return out;
        out += '.';
        out += part.value();
        tokens = ahead;
    }
}

class setting_finder {
  public:
    explicit setting_finder(bool standard_strings) noexcept : standard_(standard_strings) {}

    // `of_code`: the text of a DO or CALL, of which everything may be a name.
    void read(std::string_view text, bool of_code, int level);

    void give(std::vector<std::string>& out) const {
        for (const auto* names : {&sure_, &likely_}) {
            for (const auto& name : *names)
                add(out, name);
        }
    }

  private:
    static void add(std::vector<std::string>& to, std::string_view name) {
        if (to.size() >= most_settings || !looks_like_setting(name)) return;
        auto lower_case = sql::folded(name);
        if (std::find(to.begin(), to.end(), lower_case) == to.end())
            to.push_back(std::move(lower_case));
    }

    void read_set(reader tokens);
    void read_set_config(reader tokens);
    void read_string(const token& one, int level);

    std::vector<std::string> sure_;
    std::vector<std::string> likely_;
    bool standard_;
};

void setting_finder::read(std::string_view text, bool of_code, int level) {
    reader tokens(text, standard_);
    bool at_start = true;
    bool everything = of_code;
    for (;;) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return;
        if (one.is(';')) {
            at_start = true;
            everything = of_code;
            continue;
        }
        if (at_start && one.is('(')) continue;
        const bool begins = std::exchange(at_start, false);
        if ((begins || of_code) && (one.is("set") || one.is("reset"))) read_set(tokens);
        if (begins && (one.is("do") || one.is("call"))) everything = true;
        if (names_function(one, "set_config")) read_set_config(tokens);
        if (!everything) continue;
        if (one.what == token::kind::string) {
            read_string(one, level);
        } else if (one.what == token::kind::word || one.what == token::kind::quoted) {
            add(likely_, read_dotted(one, tokens));
        }
    }
}

// Behind SET or RESET.
void setting_finder::read_set(reader tokens) {
    auto first = tokens.next();
    if (first.is("session") || first.is("local")) {
        auto ahead = tokens;
        if (!ahead.next().is('.')) first = tokens.next();
    }
    if (first.what != token::kind::word && first.what != token::kind::quoted) return;
    add(sure_, read_dotted(first, tokens));
}

void setting_finder::read_set_config(reader tokens) {
    if (!tokens.next().is('(')) return;
    const auto name = tokens.next();
    if (name.what == token::kind::string && !name.escaped) add(sure_, name.value());
}

void setting_finder::read_string(const token& one, int level) {
    const auto value = one.value();
    if (looks_like_setting(value)) {
        add(likely_, value);
    } else if (level < most_levels) {
        read(value, true, level + 1);
    }
}

// The first argument: a literal and nothing else, but for a cast.
bool first_argument_is_literal(reader tokens) noexcept {
    const auto name = tokens.next();
    if (name.what != token::kind::string || name.escaped) return false;
    auto next = tokens.next();
    if (next.is(':') && tokens.next().is(':') && tokens.next().what == token::kind::word)
        next = tokens.next();
    return next.is(',');
}

bool names_are_literal(std::string_view text, bool standard_strings, bool of_code, int level) {
    reader tokens(text, standard_strings);
    bool at_start = true;
    bool everything = of_code;
    for (;;) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return true;
        if (one.is(';')) {
            at_start = true;
            everything = of_code;
            continue;
        }
        const bool begins = std::exchange(at_start, at_start && one.is('('));
        if (begins && (one.is("do") || one.is("call"))) everything = true;
        if (names_function(one, "set_config")) {
            auto ahead = tokens;
            if (ahead.next().is('(') && !first_argument_is_literal(ahead)) return false;
        }
        if (everything && one.what == token::kind::string) {
            if (level == most_levels) return false;  // not looked into
            if (!names_are_literal(one.value(), standard_strings, true, level + 1)) return false;
        }
    }
}

// Nothing but semicolons is left.
bool is_at_end(reader& tokens) noexcept {
    for (;;) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return true;
        if (!one.is(';')) return false;
    }
}

token first_of_statement(reader& tokens) noexcept {
    auto one = tokens.next();
    while (one.is(';'))
        one = tokens.next();
    return one;
}

// Without a backslash both readings are the same; with one, what either finds counts.
bool reads_either_way(std::string_view sql) noexcept {
    return sql.find('\\') == std::string_view::npos;
}

}  // namespace

hint_words::hint_words(std::vector<std::string> words) : words_(std::move(words)) {
    std::sort(words_.begin(), words_.end());
    words_.erase(std::unique(words_.begin(), words_.end()), words_.end());
    for (const auto& word : words_) {
        const auto at = place(sql::word_key(word));
        filter_[at / 64] |= std::uint64_t{1} << (at % 64);
    }
}

bool hint_words::contains(std::string_view word) const noexcept {
    return std::binary_search(words_.begin(), words_.end(), word, std::less<>{});
}

std::vector<std::string> settings_named_in(std::string_view sql) {
    std::vector<std::string> out;
    for (const bool standard_strings : {true, false}) {
        setting_finder finder(standard_strings);
        finder.read(sql, false, 0);
        finder.give(out);
        if (reads_either_way(sql)) break;
    }
    return out;
}

bool outlives_transaction(std::string_view arguments, bool standard_strings) noexcept {
    reader tokens(arguments, standard_strings);
    if (!tokens.next().is('(')) return false;
    int depth = 1;
    int argument = 1;
    int of_argument = 0;
    bool is_true = false;
    for (int i = 0; i < most_tokens_ahead; ++i) {
        const auto one = tokens.next();
        if (one.what == token::kind::end) return true;
        if (one.is('(') || one.is('[')) ++depth;
        if ((one.is(')') || one.is(']')) && --depth == 0)
            return argument != 3 || of_argument != 1 || !is_true;
        if (one.is(',') && depth == 1) {
            ++argument;
            of_argument = 0;
            continue;
        }
        ++of_argument;
        is_true = one.is("true");
    }
    return true;
}

bool set_config_names_are_literal(std::string_view sql) {
    return names_are_literal(sql, true, false, 0) &&
           (reads_either_way(sql) || names_are_literal(sql, false, false, 0));
}

channel_statement read_channel_statement(std::string_view sql) {
    reader tokens(sql, true);
    const auto verb = first_of_statement(tokens);
    channel_statement out;
    if (verb.is("listen")) {
        out.what = channel_statement::kind::listen;
    } else if (verb.is("unlisten")) {
        out.what = channel_statement::kind::unlisten;
    } else {
        return {};
    }
    const auto name = tokens.next();
    if (name.is('*') && out.what == channel_statement::kind::unlisten) {
        out.what = channel_statement::kind::unlisten_all;
    } else {
        const bool is_name = name.what == token::kind::word || name.what == token::kind::quoted;
        if (!is_name || name.escaped || name.text.empty()) return {};
        out.channel = std::string{sql::cut_name(name.value())};
    }
    return is_at_end(tokens) ? out : channel_statement{};
}

}  // namespace sluice::protocol
