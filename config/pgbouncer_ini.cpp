#include "config/pgbouncer_ini.hpp"

#include <array>
#include <cstdint>
#include <optional>

#include "config/error.hpp"

namespace sluice::config {

namespace {

constexpr int deepest_include = 10;
constexpr std::string_view blanks = " \t\r\n\v\f";

[[noreturn]] void fail(const text_place& at, std::string key, std::string found,
                       std::string expected) {
    throw config_error(at.file, at.line, std::move(key), std::move(found), std::move(expected));
}

// Bytes of the character at the front; 0 when they are none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    const auto first = byte(0);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xC2 && first < 0xE0 ? 2
                               : (first & 0xF0) == 0xE0        ? 3
                               : first >= 0xF0 && first < 0xF5 ? 4
                                                               : 0;
    if (length == 0 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    if (first == 0xE0 && byte(1) < 0xA0) return 0;
    if (first == 0xED && byte(1) >= 0xA0) return 0;
    if (first == 0xF0 && byte(1) < 0x90) return 0;
    if (first == 0xF4 && byte(1) >= 0x90) return 0;
    return length;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const auto length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::vector<text_line> split(const std::string& file, std::string_view text) {
    std::vector<text_line> out;
    for (int line = 1; !text.empty(); ++line) {
        const auto end = text.find('\n');
        out.push_back({std::string(text.substr(0, end)), {file, line}});
        const text_line& made = out.back();
        if (!is_utf8(made.text)) fail(made.at, "", "bytes that are not UTF-8", "text in UTF-8");
        if (made.text.find('\0') != std::string::npos) {
            fail(made.at, "", "a zero byte", "text without one");
        }
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return out;
}

// "a ""name""" from its first quote on; what is behind it stays in `text`.
std::optional<std::string> take_quoted(std::string_view& text) {
    std::string out;
    text.remove_prefix(1);
    for (;;) {
        const auto quote = text.find('"');
        if (quote == std::string_view::npos) return std::nullopt;
        out += text.substr(0, quote);
        text.remove_prefix(quote + 1);
        if (!text.starts_with('"')) return out;
        out += '"';
        text.remove_prefix(1);
    }
}

class ini_reader {
  public:
    explicit ini_reader(const environment& env) : env_(env) {}

    void read(const ini_entry& named, int depth) {
        if (depth > deepest_include) {
            fail(named.at, "%include", "files that include files more than ten deep",
                 "no file that includes itself");
        }
        for (const auto& line : read_lines(named, env_))
            take(line, depth);
    }

    pgbouncer_ini out;

  private:
    void take(const text_line& line, int depth) {
        const auto text = trimmed(line.text);
        if (text.empty() || text.front() == ';' || text.front() == '#') return;
        if (text.front() == '%') return include(text, line.at, depth);
        if (text.front() == '[') return open(text, line.at);
        if (section_ == nullptr) {
            fail(line.at, "", "a line before the first section",
                 "[databases], [users], [peers] or [pgbouncer]");
        }
        section_->push_back(entry_of(text, line.at));
    }

    void include(std::string_view text, const text_place& at, int depth) {
        constexpr std::string_view word = "%include";
        const auto rest = text.starts_with(word) ? text.substr(word.size()) : std::string_view();
        const auto name = trimmed(rest);
        if (name.empty() || blanks.find(rest.front()) == std::string_view::npos) {
            fail(at, "", "a line with %", "%include and the name of a file");
        }
        read({std::string(word), std::string(name), at}, depth + 1);
    }

    void open(std::string_view text, const text_place& at) {
        const std::array<std::pair<std::string_view, std::vector<ini_entry>*>, 4> known{
            {{"[databases]", &out.databases},
             {"[users]", &out.users},
             {"[peers]", &out.peers},
             {"[pgbouncer]", &out.settings}}};
        for (const auto& [name, list] : known) {
            if (text != name) continue;
            section_ = list;
            return;
        }
        fail(at, "", quoted(text), "[databases], [users], [peers] or [pgbouncer]");
    }

    static ini_entry entry_of(std::string_view text, const text_place& at) {
        ini_entry out{{}, {}, at};
        if (text.front() == '"') {
            auto name = take_quoted(text);
            if (!name) fail(at, "", "a name without a closing quote", "\"name\" = value");
            out.key = *std::move(name);
            text = trimmed(text);
        } else {
            constexpr std::string_view letters =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-*";
            const auto end = std::min(text.find_first_not_of(letters), text.size());
            out.key = text.substr(0, end);
            text = trimmed(text.substr(end));
        }
        if (out.key.empty() || !text.starts_with('=')) {
            fail(at, "", "a line that is no setting",
                 "key = value (names with other characters in double quotes)");
        }
        out.value = trimmed(text.substr(1));
        return out;
    }

    const environment& env_;
    std::vector<ini_entry>* section_ = nullptr;
};

std::string directory_of(const std::string& file) {
    const auto slash = file.rfind('/');
    return slash == std::string::npos ? "" : file.substr(0, slash + 1);
}

}  // namespace

std::string_view trimmed(std::string_view text) noexcept {
    const auto begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::vector<text_line> read_lines(const ini_entry& named, const environment& env) {
    auto path = named.value;
    auto content = env.read_file(path);
    // PgBouncer's working directory is seldom this command's; its files mostly lie together.
    const auto beside = directory_of(named.at.file) + path;
    if (content.error && !path.starts_with('/') && beside != path) {
        if (auto other = env.read_file(beside); !other.error) {
            path = beside;
            content = std::move(other);
        }
    }
    if (content.error) {
        fail(named.at, named.key, quoted(path) + " (" + content.error.message() + ")",
             "a readable file");
    }
    return split(path, content.text);
}

pgbouncer_ini read_pgbouncer_ini(const std::string& path, const environment& env) {
    ini_reader reader(env);
    reader.read({"", path, {path, 0}}, 0);
    return std::move(reader.out);
}

word_pairs parse_words(const ini_entry& entry) {
    word_pairs out;
    auto text = trimmed(entry.value);
    while (!text.empty()) {
        const auto end = std::min(text.find_first_of(" \t="), text.size());
        const std::string key(text.substr(0, end));
        text = trimmed(text.substr(end));
        if (key.empty() || !text.starts_with('=')) {
            fail(entry.at, entry.key, "a word without a value", "key=value, separated by spaces");
        }
        text = trimmed(text.substr(1));
        std::string value;
        if (text.starts_with('\'')) {
            for (;;) {
                text.remove_prefix(1);
                const auto quote = text.find('\'');
                if (quote == std::string_view::npos) {
                    fail(entry.at, entry.key + ": " + key, "a value without a closing quote",
                         "'value', with '' for a quote in it");
                }
                value += text.substr(0, quote);
                text.remove_prefix(quote + 1);
                if (!text.starts_with('\'')) break;
                value += '\'';
            }
        } else {
            const auto stop = std::min(text.find_first_of(" \t"), text.size());
            value = text.substr(0, stop);
            text.remove_prefix(stop);
        }
        text = trimmed(text);
        out.emplace_back(key, std::move(value));
    }
    return out;
}

std::vector<auth_entry> read_auth_file(const ini_entry& named, const environment& env) {
    std::vector<auth_entry> out;
    for (const auto& line : read_lines(named, env)) {
        auto text = trimmed(line.text);
        if (text.empty() || text.front() == ';' || text.front() == '#') continue;
        std::optional<std::string> user;
        std::optional<std::string> password;
        if (text.starts_with('"')) user = take_quoted(text);
        if (user) {
            text = trimmed(text);
            if (text.starts_with('"')) password = take_quoted(text);
        }
        if (!password) {
            fail(line.at, "", "a line that names no user and password", "\"user\" \"password\"");
        }
        out.push_back({*std::move(user), *std::move(password), line.at});
    }
    return out;
}

}  // namespace sluice::config
