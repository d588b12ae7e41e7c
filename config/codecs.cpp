#include "config/codecs.hpp"

#include <algorithm>

namespace sluice::config {

void command_list::read(std::string_view text, value& out) {
    std::string lower(text);
    for (auto& c : lower) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    if (lower.empty() || lower.find_first_not_of(letters) != std::string::npos) {
        throw bad_value(expected());
    }
    if (std::find(out.begin(), out.end(), lower) == out.end()) out.push_back(std::move(lower));
}

void access_token::read(std::string_view text, value& out) {
    const bool is_visible =
        std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
    if (text.empty() || !is_visible) throw bad_value(expected());
    out = text;
}

void project_list::read(std::string_view text, kv_user_settings& out) {
    if (text == "all" && out.projects.empty()) {
        out.all_projects = true;
        return;
    }
    if (out.all_projects) throw bad_value("all alone, or numbers alone");
    std::uint32_t project = 0;
    try {
        project = parse_count(text, 0, most);
    } catch (const bad_value&) {
        throw bad_value(expected());
    }
    if (std::find(out.projects.begin(), out.projects.end(), project) == out.projects.end()) {
        out.projects.push_back(project);
    }
}

}  // namespace sluice::config
