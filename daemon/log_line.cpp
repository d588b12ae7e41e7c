#include "daemon/log_line.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

#include "metrics/utf8.hpp"

namespace sluice::daemon {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

// Padded to one width, so that messages line up.
constexpr std::string_view text_level(config::log_level level) noexcept {
    switch (level) {
        case config::log_level::debug:
            return "debug";
        case config::log_level::info:
            return "info ";
        case config::log_level::warning:
            return "warn ";
        case config::log_level::error:
            return "error";
    }
    return "?";
}

constexpr std::string_view json_level(config::log_level level) noexcept {
    switch (level) {
        case config::log_level::debug:
            return "debug";
        case config::log_level::info:
            return "info";
        case config::log_level::warning:
            return "warning";
        case config::log_level::error:
            return "error";
    }
    return "?";
}

// UTC with milliseconds, RFC 3339.
void append_time(std::string& out, std::chrono::system_clock::time_point time) {
    using namespace std::chrono;
    const auto since_epoch = floor<milliseconds>(time.time_since_epoch());
    const auto whole = floor<seconds>(since_epoch);
    const auto clock_seconds = static_cast<std::time_t>(whole.count());
    std::tm parts{};
    gmtime_r(&clock_seconds, &parts);
    std::array<char, 40> text{};
    auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    const auto ms = static_cast<unsigned>((since_epoch - whole).count());
    out.append(text.data(), length);
    out += {'.', hex_digits[ms / 100], hex_digits[ms / 10 % 10], hex_digits[ms % 10], 'Z'};
}

template <class Number, class... Format>
void append_number(std::string& out, Number value, Format... format) {
    std::array<char, 400> text{};  // a double in fixed form takes up to 309 digits
    const auto [end, ec] = std::to_chars(text.data(), text.data() + text.size(), value, format...);
    if (ec == std::errc{}) out.append(text.data(), end);
}

double in_seconds(std::chrono::nanoseconds value) {
    return static_cast<double>(value.count()) / 1e9;
}

// The code point of a valid character of two to four bytes.
std::uint32_t code_point(std::string_view character) noexcept {
    const auto lead = static_cast<std::uint8_t>(character.front());
    std::uint32_t point = lead & (0x7FU >> character.size());
    for (const char tail : character.substr(1)) {
        point = (point << 6) | (static_cast<std::uint8_t>(tail) & 0x3FU);
    }
    return point;
}

// Characters beyond ASCII that a terminal obeys or that hide or reorder what is beside them.
constexpr bool is_hidden(std::uint32_t point) noexcept {
    return (point >= 0x80 && point <= 0x9F) || (point >= 0x200B && point <= 0x200F) ||
           (point >= 0x2028 && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069) ||
           point == 0xFEFF;
}

void append_u_escape(std::string& out, std::uint32_t point) {
    out += {'\\',
            'u',
            hex_digits[point >> 12 & 15U],
            hex_digits[point >> 8 & 15U],
            hex_digits[point >> 4 & 15U],
            hex_digits[point & 15U]};
}

void append_ascii(std::string& out, char c, config::log_format format) {
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
        default:
            break;
    }
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte >= 0x20 && byte != 0x7F) {
        out += c;
    } else if (format == config::log_format::json) {
        append_u_escape(out, byte);
    } else {
        out += {'\\', 'x', hex_digits[byte >> 4], hex_digits[byte & 15U]};
    }
}

void append_escaped(std::string& out, std::string_view text, config::log_format format) {
    const bool cut = text.size() > log_value_limit;
    const auto* const limit = text.data() + log_value_limit;
    while (!text.empty() && !(cut && text.data() >= limit)) {
        const auto length = metrics::utf8_length(text);
        if (length == 1) {
            append_ascii(out, text.front(), format);
        } else if (length > 1) {
            const auto character = text.substr(0, length);
            const auto point = code_point(character);
            if (is_hidden(point)) {
                append_u_escape(out, point);
            } else {
                out += character;
            }
        } else if (format == config::log_format::json) {
            append_u_escape(out, 0xFFFD);  // JSON has no bytes; this is "replacement character"
        } else {
            const auto byte = static_cast<std::uint8_t>(text.front());
            out += {'\\', 'x', hex_digits[byte >> 4], hex_digits[byte & 15U]};
        }
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    if (cut) out += "...";
}

void append_quoted(std::string& out, std::string_view text, config::log_format format) {
    out += '"';
    append_escaped(out, text, format);
    out += '"';
}

// Bare where no reader can take it for anything but one value, else quoted.
void append_text_value(std::string& out, std::string_view text) {
    const bool bare = !text.empty() && text.size() <= log_value_limit &&
                      std::all_of(text.begin(), text.end(), [](char c) {
                          return c > ' ' && c < '\x7F' && c != '"' && c != '=' && c != '\\';
                      });
    if (bare) {
        out += text;
    } else {
        append_quoted(out, text, config::log_format::text);
    }
}

struct value_writer {
    std::string& out;
    config::log_format format;

    [[nodiscard]] bool json() const noexcept { return format == config::log_format::json; }

    void operator()(std::string_view text) const {
        if (json()) {
            append_quoted(out, text, format);
        } else {
            append_text_value(out, text);
        }
    }
    void operator()(std::int64_t value) const { append_number(out, value); }
    void operator()(std::uint64_t value) const { append_number(out, value); }
    void operator()(double value) const {
        if (json() && !std::isfinite(value)) {
            out += "null";
        } else {
            append_number(out, value);
        }
    }
    void operator()(bool value) const { out += value ? "true" : "false"; }
    void operator()(std::chrono::nanoseconds value) const {
        append_number(out, in_seconds(value), std::chars_format::fixed);
        if (!json()) out += 's';
    }
};

}  // namespace

std::string format_log_line(config::log_format format, std::chrono::system_clock::time_point time,
                            config::log_level level, std::string_view message, log_fields fields) {
    std::string out;
    out.reserve(160);
    const bool json = format == config::log_format::json;
    if (json) out += R"({"time":")";
    append_time(out, time);
    if (json) {
        out += R"(","level":")";
        out += json_level(level);
        out += R"(","message":)";
        append_quoted(out, message, format);
    } else {
        out += ' ';
        out += text_level(level);
        out += ' ';
        out += message;
    }
    for (const auto& field : fields) {
        out += json ? ",\"" : " ";
        out += field.key.text();
        out += json ? "\":" : "=";
        std::visit(value_writer{out, format}, field.value.get());
    }
    out += json ? "}\n" : "\n";
    return out;
}

}  // namespace sluice::daemon
