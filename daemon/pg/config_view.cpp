#include "daemon/pg/config_view.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "config/fields.hpp"
#include "config/units.hpp"

namespace sluice::daemon {

namespace {

constexpr std::string_view prefix = "postgres.";

// PgBouncer's settings that have a key of the same name below `postgres`.
constexpr std::array<std::string_view, 31> shared_names{
    "admin_users",
    "auth_type",
    "cancel_wait_timeout",
    "client_idle_timeout",
    "client_login_timeout",
    "idle_transaction_timeout",
    "listen_backlog",
    "max_client_conn",
    "max_db_client_connections",
    "max_db_connections",
    "max_prepared_statements",
    "max_user_client_connections",
    "max_user_connections",
    "min_pool_size",
    "pool_mode",
    "query_timeout",
    "query_wait_notify",
    "query_wait_timeout",
    "reserve_pool_size",
    "reserve_pool_timeout",
    "server_connect_timeout",
    "server_idle_timeout",
    "server_lifetime",
    "server_reset_query",
    "stats_users",
    "tcp_keepalive",
    "tcp_keepcnt",
    "tcp_keepidle",
    "tcp_keepintvl",
    "tcp_user_timeout",
    "transaction_timeout",
};

// PgBouncer's name for a key; empty: it has no such thing.
std::string_view shared_name(std::string_view key) {
    if (!key.starts_with(prefix)) return {};
    key.remove_prefix(prefix.size());
    if (key == "pool_size") return "default_pool_size";
    return std::find(shared_names.begin(), shared_names.end(), key) == shared_names.end()
               ? std::string_view{}
               : key;
}

std::string in_its_units(std::string_view name, std::string_view type, std::string shown) {
    if (type == "switch") return shown == "true" ? "1" : "0";
    if (shown == "none") return {};
    if (type != "duration") return shown;
    const auto ms = config::parse_duration(shown).count();
    if (name == "tcp_user_timeout") return std::to_string(ms);
    auto out = std::to_string(ms / 1000);
    if (ms % 1000 != 0) out += '.' + std::to_string(1000 + ms % 1000).substr(1);
    return out;
}

}  // namespace

std::vector<pool::setting_view> view_of(const config::settings& settings) {
    std::vector<pool::setting_view> out;
    const config::settings defaults;
    for (const auto& row : config::global_fields()) {
        const bool live = row.change == config::applies::live;
        const auto name = shared_name(row.key);
        auto value = row.traits.is_secret ? "***" : row.show(settings);
        auto standard = row.traits.is_secret ? "***" : row.show(defaults);
        if (name.empty()) {
            out.push_back({std::string(row.key), std::move(value), std::move(standard), live});
        } else {
            out.push_back({std::string(name), in_its_units(name, row.type, std::move(value)),
                           in_its_units(name, row.type, std::move(standard)), live});
        }
    }
    return out;
}

std::optional<config::assignment> assignment_of(const std::string& name, const std::string& value) {
    const auto wanted = name == "default_pool_size" ? std::string("pool_size") : name;
    const auto full = std::string(prefix) + wanted;
    const auto rows = config::global_fields();
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& one) {
        return one.key == wanted || one.key == full;
    });
    if (row == rows.end()) return std::nullopt;
    config::assignment out{std::string(row->key), value};
    const bool is_number =
        !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
    if (row->type == "switch" && (value == "0" || value == "1")) {
        out.value = value == "1" ? "true" : "false";
    } else if (name == "tcp_user_timeout" && is_number) {
        out.value += "ms";
    }
    return out;
}

}  // namespace sluice::daemon
