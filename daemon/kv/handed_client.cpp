#include "daemon/kv/handed_client.hpp"

#include <charconv>
#include <vector>

namespace sluice::daemon {

namespace {

constexpr std::size_t fields = 14;

// Names and addresses hold no tab, but nothing else keeps them from it.
void add_text(std::string& out, std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    for (const char c : text) {
        if (c > ' ' && c < 0x7f && c != '%') {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += digits[byte >> 4U];
        out += digits[byte & 15U];
    }
    out += '\t';
}

template <class Number>
bool read_number(std::string_view text, Number& out, int base = 10) {
    const auto* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, out, base);
    return error == std::errc() && at == end;
}

bool read_text(std::string_view text, std::string& out) {
    out.clear();
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        unsigned byte = 0;
        if (i + 3 > text.size()) return false;
        if (!read_number(text.substr(i + 1, 2), byte, 16)) return false;
        out += static_cast<char>(byte);
        i += 2;
    }
    return true;
}

bool read_flag(std::string_view text, bool& out) {
    out = text == "1";
    return out || text == "0";
}

}  // namespace

std::string text_of(const handed_client& client) {
    std::string out;
    for (const bool flag : {client.is_unix, client.is_loopback, client.tls_settled, client.is_known,
                            client.is_silenced}) {
        add_text(out, flag ? "1" : "0");
    }
    add_text(out, std::to_string(client.id));
    add_text(out, std::to_string(client.connected_ms));
    add_text(out, std::to_string(client.selected));
    add_text(out, std::to_string(client.version));
    for (const auto* text : {&client.peer, &client.user, &client.name, &client.library_name,
                             &client.library_version}) {
        add_text(out, *text);
    }
    return out;
}

bool read_client(std::string_view text, handed_client& out) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const auto end = text.find('\t');
        if (end == std::string_view::npos) return false;
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    if (parts.size() != fields) return false;
    return read_flag(parts[0], out.is_unix) && read_flag(parts[1], out.is_loopback) &&
           read_flag(parts[2], out.tls_settled) && read_flag(parts[3], out.is_known) &&
           read_flag(parts[4], out.is_silenced) && read_number(parts[5], out.id) &&
           read_number(parts[6], out.connected_ms) && read_number(parts[7], out.selected) &&
           read_number(parts[8], out.version) && read_text(parts[9], out.peer) &&
           read_text(parts[10], out.user) && read_text(parts[11], out.name) &&
           read_text(parts[12], out.library_name) && read_text(parts[13], out.library_version);
}

}  // namespace sluice::daemon
