#include "config/assign.hpp"

#include <algorithm>
#include <string_view>

#include "config/error.hpp"
#include "config/fields.hpp"
#include "config/validate.hpp"

namespace sluice::config {

namespace {

[[noreturn]] void refuse(const std::string& key, std::string found, std::string expected) {
    throw config_error("SET", 0, key, std::move(found), std::move(expected));
}

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(' ');
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

void read(const field<settings>& row, std::string_view text, settings& out) {
    row.clear(out);
    if (!row.traits.is_list) return row.read(out, text);
    while (!trimmed(text).empty()) {
        const auto end = std::min(text.find(','), text.size());
        row.read(out, trimmed(text.substr(0, end)));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

}  // namespace

settings with(settings running, const assignment& what) {
    const auto rows = global_fields();
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&](const auto& one) { return one.key == what.key; });
    if (row == rows.end()) refuse(what.key, "an unknown key", "one that SHOW CONFIG lists");
    if (row->change == applies::restart) {
        refuse(what.key, "a setting that waits for a restart",
               "one that changes while sluice runs");
    }
    try {
        read(*row, what.value, running);
    } catch (const bad_value& error) {
        refuse(what.key, row->traits.is_secret ? "a value that is not shown" : quoted(what.value),
               error.what());
    }
    if (auto mistake = find_mistake(running)) {
        refuse(mistake->key, std::move(mistake->found), std::move(mistake->expected));
    }
    return running;
}

}  // namespace sluice::config
