#include "config/reference.hpp"

#include <algorithm>

namespace sluice::config {

namespace {

// What is of Postgres and what is of nobody comes first on the page.
int place(const reference_row& row) {
    if (row.key.starts_with("kv.")) return 1;
    return row.key.starts_with("monitoring.") ? 2 : 0;
}

template <class Owner>
void append(std::vector<reference_row>& out, const std::string& prefix,
            std::span<const field<Owner>> fields) {
    const Owner defaults;
    for (const auto& row : fields) {
        out.push_back({prefix + std::string(row.key), row.type, row.show(defaults), row.unit,
                       row.change, row.text});
    }
}

}  // namespace

std::vector<reference_row> reference() {
    std::vector<reference_row> out;
    append(out, {}, global_fields());
    out.push_back({std::string(databases_key), "mapping", "none", "", applies::live,
                   "The databases that clients may name. `\"*\"` takes every other name."});
    append(out, std::string(databases_key) + ".<name>.", database_fields());
    out.push_back({std::string(users_key), "mapping", "absent", "", applies::live,
                   "The users that clients may log in as. Absent: the users and passwords of the "
                   "databases' URLs. `{}`: nobody."});
    append(out, std::string(users_key) + ".<name>.", user_fields());
    out.push_back(
        {std::string(kv_users_key), "mapping", "none", "", applies::live,
         "The users that clients may log in as. None: nobody is asked for a password, and "
         "every project is open."});
    append(out, std::string(kv_users_key) + ".<name>.", kv_user_fields());
    out.push_back({std::string(monitoring_users_key), "mapping", "none", "", applies::live,
                   "Whoever logs in as one of them (`Authorization: Basic`, which browsers ask "
                   "for) may see the dashboard and the metrics."});
    append(out, std::string(monitoring_users_key) + ".<name>.", monitoring_user_fields());
    std::stable_sort(out.begin(), out.end(),
                     [](const auto& one, const auto& other) { return place(one) < place(other); });
    return out;
}

std::string markdown_line(const reference_row& row) {
    std::string out = "| `" + row.key + "` | ";
    out += row.type;
    out += " | `" + row.default_value + "` | ";
    out += row.unit;
    out += row.change == applies::live ? " | live | " : " | restart | ";
    out += row.text;
    return out + " |";
}

}  // namespace sluice::config
