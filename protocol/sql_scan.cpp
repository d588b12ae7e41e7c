#include "protocol/sql_scan.hpp"

namespace sluice::protocol {

namespace {

constexpr bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

constexpr char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

void skip_space(std::string_view& text) noexcept {
    while (!text.empty() && is_space(text.front()))
        text.remove_prefix(1);
}

// Takes a word, or a quoted name as it is meant, from the front.
std::string take_name(std::string_view& text) {
    std::string out;
    skip_space(text);
    if (!text.empty() && text.front() == '"') {
        text.remove_prefix(1);
        while (!text.empty()) {
            const char c = text.front();
            text.remove_prefix(1);
            if (c == '"') {
                if (text.empty() || text.front() != '"') break;
                text.remove_prefix(1);
            }
            out += c;
        }
        return out;
    }
    while (!text.empty() && !is_space(text.front()) && text.front() != ';') {
        out += lower(text.front());
        text.remove_prefix(1);
    }
    return out;
}

}  // namespace

deallocate_text read_deallocate(std::string_view sql) {
    skip_space(sql);
    // Nearly every statement ends here.
    if (sql.size() < 7 || lower(sql[0]) != 'd' || (lower(sql[1]) != 'e' && lower(sql[1]) != 'i')) {
        return {};
    }
    const auto verb = take_name(sql);
    if (verb == "discard") return {deallocation::all, {}};
    if (verb != "deallocate") return {};
    skip_space(sql);
    const bool quoted = !sql.empty() && sql.front() == '"';
    auto name = take_name(sql);
    if (!quoted && name == "prepare") {
        skip_space(sql);
        const bool quoted_too = !sql.empty() && sql.front() == '"';
        name = take_name(sql);
        if (!quoted_too && name == "all") return {deallocation::all, {}};
    } else if (!quoted && name == "all") {
        return {deallocation::all, {}};
    }
    skip_space(sql);
    if (!sql.empty() && sql.front() == ';') sql.remove_prefix(1);
    skip_space(sql);
    if (!sql.empty()) return {deallocation::all, {}};  // more statements behind it: names unknown
    return {deallocation::one, std::move(name)};
}

}  // namespace sluice::protocol
