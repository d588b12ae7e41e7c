#include "protocol/pg_options.hpp"

#include <algorithm>
#include <cstdlib>

namespace sluice::protocol {

namespace {

constexpr bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

login_error invalid_argument(std::string_view word) {
    return {sqlstate::syntax_error,
            "invalid command-line argument for server process: " + std::string{word},
            {}};
}

// "name=value" of -c and --. In the name '-' stands for '_'.
std::optional<login_error> add_named(char flag, std::string_view argument,
                                     std::vector<setting>& settings) {
    const auto equals = argument.find('=');
    if (equals == std::string_view::npos) {
        return login_error{
            sqlstate::syntax_error,
            (flag == '-' ? "--" : "-c ") + std::string{argument} + " requires a value",
            {}};
    }
    std::string name{argument.substr(0, equals)};
    std::replace(name.begin(), name.end(), '-', '_');
    settings.emplace_back(std::move(name), std::string{argument.substr(equals + 1)});
    return std::nullopt;
}

// -d <level>
void add_debug_level(std::string_view argument, std::vector<setting>& settings) {
    const auto level = std::strtol(std::string{argument}.c_str(), nullptr, 10);
    settings.emplace_back("log_min_messages",
                          level > 0 ? "debug" + std::to_string(level) : std::string{"notice"});
    if (level >= 2) settings.emplace_back("log_statement", "all");
    if (level >= 3) settings.emplace_back("debug_print_parse", "true");
    if (level >= 4) settings.emplace_back("debug_print_plan", "true");
    if (level >= 5) settings.emplace_back("debug_print_rewritten", "true");
}

// -f <letter>: a kind of plan that is not to be used.
const char* forbidden_plan(std::string_view argument) {
    switch (argument.empty() ? '\0' : argument[0]) {
        case 's':
            return "enable_seqscan";
        case 'i':
            return "enable_indexscan";
        case 'o':
            return "enable_indexonlyscan";
        case 'b':
            return "enable_bitmapscan";
        case 't':
            return "enable_tidscan";
        case 'n':
            return "enable_nestloop";
        case 'm':
            return "enable_mergejoin";
        case 'h':
            return "enable_hashjoin";
        default:
            return nullptr;
    }
}

// -t <kind>: statistics to log.
const char* logged_statistics(std::string_view argument) {
    if (argument.starts_with("pa")) return "log_parser_stats";
    if (argument.starts_with("pl")) return "log_planner_stats";
    if (argument.starts_with("e")) return "log_executor_stats";
    return nullptr;
}

struct plain_switch {
    char flag;
    bool takes_argument;
    const char* name;   // of the setting; nullptr: the switch does nothing
    const char* value;  // nullptr: the argument
};

constexpr plain_switch plain_switches[] = {
    {'B', true, "shared_buffers", nullptr},
    {'F', false, "fsync", "false"},
    {'N', true, "max_connections", nullptr},
    {'O', false, "allow_system_table_mods", "true"},
    {'P', false, "ignore_system_indexes", "true"},
    {'S', true, "work_mem", nullptr},
    {'W', true, "post_auth_delay", nullptr},
    {'e', false, "datestyle", "euro"},
    {'h', true, "listen_addresses", nullptr},
    {'i', false, "listen_addresses", "*"},
    {'k', true, "unix_socket_directories", nullptr},
    {'l', false, "ssl", "true"},
    {'p', true, "port", nullptr},
    {'s', false, "log_statement_stats", "true"},
    {'b', false, nullptr, nullptr},
    {'C', true, nullptr, nullptr},
    {'D', true, nullptr, nullptr},
    {'E', false, nullptr, nullptr},
    {'T', false, nullptr, nullptr},
    {'j', false, nullptr, nullptr},
    {'n', false, nullptr, nullptr},
    {'r', true, nullptr, nullptr},
    {'v', true, nullptr, nullptr},
};

const plain_switch* find_plain(char flag) noexcept {
    const auto* const at = std::find_if(std::begin(plain_switches), std::end(plain_switches),
                                        [flag](const plain_switch& s) { return s.flag == flag; });
    return at == std::end(plain_switches) ? nullptr : at;
}

constexpr bool is_special(char flag) {
    return flag == 'c' || flag == '-' || flag == 'd' || flag == 'f' || flag == 't';
}

// One of the switches with an argument of their own kind.
std::optional<login_error> add_special(char flag, std::string_view argument, std::string_view word,
                                       std::vector<setting>& settings) {
    if (flag == 'c' || flag == '-') return add_named(flag, argument, settings);
    if (flag == 'd') {
        add_debug_level(argument, settings);
        return std::nullopt;
    }
    const auto* const name = flag == 'f' ? forbidden_plan(argument) : logged_statistics(argument);
    if (name == nullptr) return invalid_argument(word);
    settings.emplace_back(name, flag == 'f' ? "false" : "true");
    return std::nullopt;
}

}  // namespace

std::vector<std::string> split_options(std::string_view options) {
    std::vector<std::string> words;
    std::size_t at = 0;
    for (;;) {
        while (at < options.size() && is_space(options[at]))
            ++at;
        if (at == options.size()) return words;
        std::string word;
        for (; at < options.size() && !is_space(options[at]); ++at) {
            if (options[at] == '\\' && ++at == options.size()) break;  // nothing to escape
            word += options[at];
        }
        words.push_back(std::move(word));
    }
}

// The rules of getopt(3): switches may be joined ("-sc name=value"); an argument is the rest of the
// word or else the next word; a word "--" ends the switches.
std::optional<login_error> parse_options(std::string_view options, std::vector<setting>& settings) {
    const auto words = split_options(options);
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word == "--") {
            if (i + 1 < words.size()) return invalid_argument(words[i + 1]);
            break;
        }
        if (word.size() < 2 || word[0] != '-') return invalid_argument(word);
        for (std::size_t at = 1; at < word.size(); ++at) {
            const char flag = word[at];
            const auto* const plain = find_plain(flag);
            if (plain == nullptr && !is_special(flag)) return invalid_argument(word);
            std::string_view argument;
            const bool takes_argument = plain == nullptr || plain->takes_argument;
            if (takes_argument) {
                argument = word.substr(at + 1);
                at = word.size() - 1;  // the word is used up
                if (argument.empty()) {
                    if (++i == words.size()) return invalid_argument(word);
                    argument = words[i];
                }
            }
            if (plain == nullptr) {
                if (auto error = add_special(flag, argument, word, settings)) return error;
            } else if (plain->name != nullptr) {
                settings.emplace_back(plain->name, plain->value != nullptr
                                                       ? std::string{plain->value}
                                                       : std::string{argument});
            }
        }
    }
    return std::nullopt;
}

}  // namespace sluice::protocol
