// Bytes for people, as Redis shows them in MONITOR: "in quotes", what cannot be printed as \xNN.
#pragma once

#include <string>
#include <string_view>

namespace sluice::kvstore {

inline void append_quoted(std::string& out, std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    out += '"';
    for (const char c : bytes) {
        switch (c) {
            case '"':
            case '\\':
                out += '\\';
                out += c;
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            case '\a':
                out += "\\a";
                break;
            case '\b':
                out += "\\b";
                break;
            default:
                if (c >= ' ' && c <= '~') {
                    out += c;
                } else {
                    out += "\\x";
                    out += digits[static_cast<unsigned char>(c) >> 4];
                    out += digits[static_cast<unsigned char>(c) & 15];
                }
        }
    }
    out += '"';
}

}  // namespace sluice::kvstore
