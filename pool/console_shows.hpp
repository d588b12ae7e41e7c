// The SHOW commands of the admin console: the columns of each, known before it runs, and its rows
// from an overview. PgBouncer's columns come first, with its names, order and types; ours follow.
// A file for each family: show_pools, show_sockets, show_stats, show_queues, show_settings.
#pragma once

#include "pool/console_command.hpp"
#include "pool/console_table.hpp"
#include "pool/overview.hpp"

namespace sluice::pool {

// Empty: it answers without rows (SHOW HELP, SHOW FDS).
[[nodiscard]] console_columns columns_of(show_kind what);
[[nodiscard]] console_table render(show_kind what, const overview& from);
// The list of commands, for SHOW HELP.
[[nodiscard]] std::string console_help();

// By family.
[[nodiscard]] console_columns pool_columns(show_kind what);
[[nodiscard]] console_columns socket_columns(show_kind what);
[[nodiscard]] console_columns stats_columns(show_kind what);
[[nodiscard]] console_columns queue_columns(show_kind what);
[[nodiscard]] console_columns settings_columns(show_kind what);
void render_pools(show_kind what, const overview& from, console_table& out);
void render_sockets(show_kind what, const overview& from, console_table& out);
void render_stats(show_kind what, const overview& from, console_table& out);
void render_queues(show_kind what, const overview& from, console_table& out);
void render_settings(show_kind what, const overview& from, console_table& out);

// What the clients that wait for the pool wait for.
[[nodiscard]] std::string_view wait_reason_of(const pool_view& pool);

// "2026-11-22 20:46:39 UTC", as PgBouncer writes times.
[[nodiscard]] std::string time_text(wall_time when);

}  // namespace sluice::pool
