#include "pool/sql_prepared.hpp"

#include <array>

namespace sluice::pool {

namespace {

constexpr std::array<std::string_view, 2> identity{"session_authorization", "role"};

bool is_identity(std::string_view name) noexcept {
    return same_name(name, identity[0]) || same_name(name, identity[1]);
}

// Only a superuser may touch it, and whoever has set it keeps the connection.
constexpr std::string_view privileged = "session_replication_role";

void append_set(std::string& out, std::string_view name, std::string_view value) {
    out += "SELECT pg_catalog.set_config(";
    append_literal(out, name);
    out += ',';
    append_literal(out, value);
    out += ",true);";
}

}  // namespace

parameters parsing_part(parameter_table& table, const parameters& of) {
    std::vector<parameter_set::entry> kept;
    for (const auto& one : of->entries()) {
        if (is_identity(one.first) || protocol::decides_parsing(one.first)) kept.push_back(one);
    }
    return kept.empty() ? table.none() : table.with(table.none(), kept);
}

std::string parsing_sql(const parameter_set& from, const parameter_set& to, bool unknown) {
    std::string out;
    bool somebody = unknown;
    for (const auto name : identity)
        somebody = somebody || from.find(name) != nullptr || to.find(name) != nullptr;
    if (somebody) out += "SET LOCAL SESSION AUTHORIZATION DEFAULT;SET LOCAL role TO DEFAULT;";
    for (const auto name : protocol::parsing_settings()) {
        if (const auto* value = to.find(name)) {
            append_set(out, name, *value);
        } else if (from.find(name) != nullptr || (unknown && name != privileged)) {
            out.append("SET LOCAL ").append(name).append(" TO DEFAULT;");
        }
    }
    for (const auto name : identity) {
        if (const auto* value = to.find(name)) append_set(out, name, *value);
    }
    if (!out.empty()) out.pop_back();
    return out;
}

bool is_listed_as(const statement& one, std::string_view text) {
    return one.query == text || protocol::prepare_statement_in(text, one.types) == one.query;
}

}  // namespace sluice::pool
