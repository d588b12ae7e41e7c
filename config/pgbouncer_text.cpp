#include "config/pgbouncer_text.hpp"

#include <algorithm>
#include <array>

#include "config/pgbouncer_ini.hpp"

namespace sluice::config {

namespace {

constexpr std::size_t widest = 100;
constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view digits = "0123456789";

bool only(std::string_view text, const std::string& allowed) {
    return text.find_first_not_of(allowed) == std::string_view::npos;
}

// Reads as itself without quotes, whatever the reader takes for a number or a truth value.
bool is_plain(std::string_view text) {
    constexpr std::array<std::string_view, 9> words{"true", "false", "yes", "no", "on",
                                                    "off",  "null",  "y",   "n"};
    std::string lower(text);
    for (auto& c : lower) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return !text.empty() && letters.find(text.front()) != std::string_view::npos &&
           only(text, std::string(letters) + std::string(digits) + "_.-") &&
           std::find(words.begin(), words.end(), lower) == words.end();
}

}  // namespace

std::string yaml_word(std::string_view text) {
    if (is_plain(text)) return std::string(text);
    constexpr std::string_view hex = "0123456789ABCDEF";
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7F) {
            out += "\\x";
            out += hex[byte >> 4];
            out += hex[byte & 15];
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string yaml_value(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        out += text[i];
        const char next = i + 1 < text.size() ? text[i + 1] : '\0';
        if (text[i] == '$' && (next == '{' || next == '$')) out += '$';
    }
    return yaml_word(out);
}

std::string conninfo(const std::vector<std::pair<std::string, std::string>>& words) {
    std::string out;
    for (const auto& [key, value] : words) {
        if (!out.empty()) out += ' ';
        out += key + "=";
        const auto plain = std::string(letters) + std::string(digits) + "_.-/:,@%+";
        if (!value.empty() && only(value, plain)) {
            out += value;
            continue;
        }
        out += '\'';
        for (const char c : value) {
            if (c == '\'' || c == '\\') out += '\\';
            out += c;
        }
        out += '\'';
    }
    return out;
}

std::vector<std::string> comma_list(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto end = std::min(text.find(','), text.size());
        if (const auto item = trimmed(text.substr(0, end)); !item.empty()) out.emplace_back(item);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

void yaml_writer::comment(int indent, std::string_view text) {
    const std::string front = std::string(static_cast<std::size_t>(indent), ' ') + "#";
    std::string now = front;
    const auto flush = [&] {
        out_ += now + '\n';
        now = front + "  ";
    };
    while (!text.empty()) {
        const auto end = std::min(text.find(' '), text.size());
        if (now.size() + 1 + end > widest && now.size() > front.size() + 2) flush();
        now += ' ';
        now += text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    flush();
}

void yaml_writer::line(int indent, std::string_view text, std::string_view behind) {
    const std::string whole =
        std::string(static_cast<std::size_t>(indent), ' ') + std::string(text);
    if (behind.empty()) {
        out_ += whole + '\n';
    } else if (whole.size() + 4 + behind.size() <= widest) {
        out_ += whole + "  # " + std::string(behind) + '\n';
    } else {
        comment(indent, behind);
        out_ += whole + '\n';
    }
}

}  // namespace sluice::config
