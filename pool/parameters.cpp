#include "pool/parameters.hpp"

#include <algorithm>
#include <array>
#include <functional>

namespace sluice::pool {

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

// E'' reads backslashes whatever standard_conforming_strings says.
void append_literal(std::string& out, std::string_view text) {
    out += "E'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += c;
        out += c;
    }
    out += '\'';
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

// Parameters whose check in PostgreSQL depends on the value alone.
constexpr std::array<std::string_view, 22> value_checked{"application_name",
                                                         "bytea_output",
                                                         "client_encoding",
                                                         "client_min_messages",
                                                         "datestyle",
                                                         "default_transaction_deferrable",
                                                         "default_transaction_isolation",
                                                         "default_transaction_read_only",
                                                         "escape_string_warning",
                                                         "extra_float_digits",
                                                         "idle_in_transaction_session_timeout",
                                                         "intervalstyle",
                                                         "jit",
                                                         "lock_timeout",
                                                         "search_path",
                                                         "standard_conforming_strings",
                                                         "statement_timeout",
                                                         "synchronous_commit",
                                                         "timezone",
                                                         "work_mem",
                                                         "xmloption",
                                                         "plan_cache_mode"};

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

std::string settings_sql(const parameter_set& from, const parameter_set& to) {
    std::string changes;
    std::string resets;
    each_difference(
        from, to,
        [&](const std::string& name, const std::string& value) {
            changes +=
                changes.empty() ? "SELECT pg_catalog.set_config(" : ",pg_catalog.set_config(";
            append_literal(changes, name);
            changes += ',';
            append_literal(changes, value);
            changes += ",false)";
        },
        [&](const std::string& name) {
            resets += resets.empty() && changes.empty() ? "RESET " : ";RESET ";
            append_quoted_name(resets, name);
        });
    return changes + resets;
}

bool change_cannot_fail(const parameter_set& from, const parameter_set& to) {
    bool safe = true;
    const auto check = [&](const std::string& name) {
        safe = safe && std::any_of(value_checked.begin(), value_checked.end(),
                                   [&](std::string_view known) { return same_name(known, name); });
    };
    each_difference(
        from, to, [&](const std::string& name, const std::string&) { check(name); }, check);
    return safe;
}

}  // namespace sluice::pool
