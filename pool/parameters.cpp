#include "pool/parameters.hpp"

#include <algorithm>
#include <array>
#include <functional>

namespace sluice::pool {

void append_literal(std::string& out, std::string_view text) {
    out += "E'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += c;
        out += c;
    }
    out += '\'';
}

namespace {

char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool name_less(std::string_view a, std::string_view b) noexcept {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](char x, char y) { return lower(x) < lower(y); });
}

auto lower_bound(const std::vector<parameter_set::entry>& entries, std::string_view name) noexcept {
    return std::lower_bound(
        entries.begin(), entries.end(), name,
        [](const auto& e, std::string_view n) { return name_less(e.first, n); });
}

std::size_t hash_of(const std::vector<parameter_set::entry>& entries) {
    std::size_t seed = entries.size();
    for (const auto& [name, value] : entries) {
        for (const auto& part : {std::string_view(name), std::string_view(value)}) {
            seed ^= std::hash<std::string_view>{}(part) + 0x9e3779b97f4a7c15ULL + (seed << 6) +
                    (seed >> 2);
        }
    }
    return seed;
}

// app.user_id becomes "app"."user_id".
void append_quoted_name(std::string& out, std::string_view name) {
    out += '"';
    for (const char c : name) {
        if (c == '.') {
            out += "\".\"";
        } else {
            if (c == '"') out += c;
            out += c;
        }
    }
    out += '"';
}

// Who the session is, in the order in which they are to be set.
constexpr std::array<std::string_view, 2> identity_names{"session_authorization", "role"};

bool is_identity(std::string_view name) noexcept {
    return same_name(name, identity_names[0]) || same_name(name, identity_names[1]);
}

bool has_identity(const parameter_set& set) noexcept {
    return set.find(identity_names[0]) != nullptr || set.find(identity_names[1]) != nullptr;
}

bool same_identity(const parameter_set& a, const parameter_set& b) noexcept {
    return std::all_of(identity_names.begin(), identity_names.end(), [&](std::string_view name) {
        const auto* x = a.find(name);
        const auto* y = b.find(name);
        return x == nullptr || y == nullptr ? x == y : *x == *y;
    });
}

constexpr std::size_t longest_identifier = 63;  // what is longer would be cut

// Values of these are lists of names, which SET would take for one name.
bool is_list(std::string_view name) noexcept {
    constexpr std::array<std::string_view, 9> lists{"datestyle",
                                                    "debug_io_direct",
                                                    "local_preload_libraries",
                                                    "log_destination",
                                                    "search_path",
                                                    "session_preload_libraries",
                                                    "temp_tablespaces",
                                                    "unix_socket_directories",
                                                    "wal_consistency_checking"};
    return std::any_of(lists.begin(), lists.end(),
                       [&](std::string_view one) { return same_name(one, name); });
}

void append_set(std::string& out, std::string_view name, std::string_view value) {
    out += out.empty() ? "SELECT pg_catalog.set_config(" : ",pg_catalog.set_config(";
    append_literal(out, name);
    out += ',';
    append_literal(out, value);
    out += ",false)";
}

// Parameters whose check in PostgreSQL depends on the value alone.
constexpr std::array value_checked =
    std::to_array<std::string_view>({"application_name",
                                     "array_nulls",
                                     "backslash_quote",
                                     "bytea_output",
                                     "check_function_bodies",
                                     "client_connection_check_interval",
                                     "client_encoding",
                                     "client_min_messages",
                                     "constraint_exclusion",
                                     "cursor_tuple_fraction",
                                     "datestyle",
                                     "debug_pretty_print",
                                     "default_transaction_deferrable",
                                     "default_transaction_isolation",
                                     "default_transaction_read_only",
                                     "effective_cache_size",
                                     "escape_string_warning",
                                     "extra_float_digits",
                                     "from_collapse_limit",
                                     "gin_fuzzy_search_limit",
                                     "hash_mem_multiplier",
                                     "idle_in_transaction_session_timeout",
                                     "idle_session_timeout",
                                     "intervalstyle",
                                     "join_collapse_limit",
                                     "lock_timeout",
                                     "maintenance_work_mem",
                                     "max_parallel_workers_per_gather",
                                     "parallel_leader_participation",
                                     "plan_cache_mode",
                                     "quote_all_identifiers",
                                     "random_page_cost",
                                     "row_security",
                                     "search_path",
                                     "seq_page_cost",
                                     "standard_conforming_strings",
                                     "statement_timeout",
                                     "synchronize_seqscans",
                                     "synchronous_commit",
                                     "timezone",
                                     "transform_null_equals",
                                     "work_mem",
                                     "xmlbinary",
                                     "xmloption"});
constexpr std::array<std::string_view, 6> value_checked_families{
    "cpu_", "enable_", "geqo", "jit", "lc_", "min_parallel_"};

// A setting of the application's own is any text. Those of a language or an extension are checked
// once that is loaded.
bool is_free(std::string_view name) noexcept {
    const auto dot = name.find('.');
    if (dot == std::string_view::npos) return false;
    const auto prefix = name.substr(0, dot);
    return !prefix.starts_with("pl") && !prefix.starts_with("pg_") && prefix != "auto_explain" &&
           prefix != "postgis";
}

bool cannot_fail(std::string_view name) noexcept {
    const auto known = [&](std::string_view one) { return same_name(one, name); };
    const auto starts = [&](std::string_view one) {
        return name.size() > one.size() && same_name(name.substr(0, one.size()), one);
    };
    return is_free(name) || std::any_of(value_checked.begin(), value_checked.end(), known) ||
           std::any_of(value_checked_families.begin(), value_checked_families.end(), starts);
}

template <class OnChange, class OnReset>
void each_difference(const parameter_set& from, const parameter_set& to, OnChange change,
                     OnReset reset) {
    for (const auto& [name, value] : to.entries()) {
        const auto* old = from.find(name);
        if (old == nullptr || *old != value) change(name, value);
    }
    for (const auto& [name, value] : from.entries()) {
        if (to.find(name) == nullptr) reset(name);
    }
}

}  // namespace

bool same_name(std::string_view a, std::string_view b) noexcept {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                              [](char x, char y) { return lower(x) == lower(y); });
}

const std::string* parameter_set::find(std::string_view name) const noexcept {
    const auto at = lower_bound(entries_, name);
    return at != entries_.end() && same_name(at->first, name) ? &at->second : nullptr;
}

parameter_table::parameter_table() {
    none_ = intern({});
}

parameters parameter_table::with(const parameters& base,
                                 const std::vector<parameter_set::entry>& changes) {
    auto entries = base->entries();
    for (const auto& change : changes) {
        const auto at = entries.begin() + (lower_bound(entries, change.first) - entries.cbegin());
        if (at != entries.end() && same_name(at->first, change.first)) {
            at->second = change.second;
        } else {
            entries.insert(at, change);
        }
    }
    return intern(std::move(entries));
}

parameters parameter_table::with(const parameters& base, std::string_view name,
                                 std::string_view value) {
    const auto* now = base->find(name);
    if (now != nullptr && *now == value) return base;
    return with(base, {{std::string(name), std::string(value)}});
}

parameters parameter_table::without(const parameters& base, std::string_view name) {
    if (base->find(name) == nullptr) return base;
    auto entries = base->entries();
    entries.erase(entries.begin() + (lower_bound(entries, name) - entries.cbegin()));
    return intern(std::move(entries));
}

parameters parameter_table::intern(std::vector<parameter_set::entry> sorted) {
    const auto hash = hash_of(sorted);
    const std::lock_guard lock(mutex_);
    const auto [first, last] = sets_.equal_range(hash);
    for (auto it = first; it != last; ++it) {
        if (auto known = it->second.lock(); known && known->entries() == sorted) return known;
    }
    if (sets_.size() >= purge_at_) {
        std::erase_if(sets_, [](const auto& item) { return item.second.expired(); });
        purge_at_ = std::max<std::size_t>(64, sets_.size() * 2);
    }
    auto made = std::make_shared<parameter_set>();
    made->entries_ = std::move(sorted);
    sets_.emplace(hash, made);
    return made;
}

// Settings are changed as the user that logged in; then authorization, and last the role, which is
// checked against it.
std::string settings_sql(const parameter_set& from, const parameter_set& to) {
    std::vector<std::string> commands;
    std::string changes;
    std::vector<std::string> others;
    each_difference(
        from, to,
        [&](const std::string& name, const std::string& value) {
            if (is_identity(name)) return;
            if (is_list(name) || name.size() > longest_identifier) {
                return append_set(changes, name, value);
            }
            others.emplace_back("SET ");  // cheaper for the server than set_config
            append_quoted_name(others.back(), name);
            others.back() += '=';
            append_literal(others.back(), value);
        },
        [&](const std::string& name) {
            if (is_identity(name)) return;
            others.emplace_back("RESET ");
            append_quoted_name(others.back(), name);
        });
    const bool differs = !changes.empty() || !others.empty() || !same_identity(from, to);
    const bool was_somebody = has_identity(from) && differs;
    if (was_somebody) commands.emplace_back("RESET SESSION AUTHORIZATION;RESET ROLE");
    if (!changes.empty()) commands.push_back(changes);
    commands.insert(commands.end(), others.begin(), others.end());
    if (was_somebody || !same_identity(from, to)) {
        for (const auto name : identity_names) {
            const auto* value = to.find(name);
            if (value == nullptr) continue;
            commands.emplace_back();
            append_set(commands.back(), name, *value);
        }
    }
    std::string out;
    for (const auto& command : commands) {
        if (!out.empty()) out += ';';
        out += command;
    }
    return out;
}

bool change_cannot_fail(const parameter_set& from, const parameter_set& to) {
    bool safe = true;
    const auto check = [&](const std::string& name) { safe = safe && cannot_fail(name); };
    each_difference(
        from, to, [&](const std::string& name, const std::string&) { check(name); }, check);
    return safe;
}

}  // namespace sluice::pool
