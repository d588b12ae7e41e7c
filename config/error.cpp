#include "config/error.hpp"

#include <utility>

namespace sluice::config {

namespace {

std::string describe(const std::string& file, int line, const std::string& key,
                     const std::string& found, const std::string& expected) {
    std::string out = file;
    if (line > 0) out += ":" + std::to_string(line);
    if (!key.empty()) out += ": " + key;
    return out + ": found " + found + ", expected " + expected;
}

}  // namespace

config_error::config_error(std::string file_name, int line_number, std::string key_path,
                           std::string found_text, std::string expected_text)
    : std::runtime_error(describe(file_name, line_number, key_path, found_text, expected_text)),
      file(std::move(file_name)),
      line(line_number),
      key(std::move(key_path)),
      found(std::move(found_text)),
      expected(std::move(expected_text)) {}

std::string quoted(std::string_view text) {
    constexpr std::size_t longest = 60;
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f) {
            out += "\\x";
            out += digits[byte >> 4];
            out += digits[byte & 0x0f];
        } else {
            out += c;
        }
    }
    out += text.size() > longest ? "...\"" : "\"";
    return out;
}

}  // namespace sluice::config
