#include "config/fields.hpp"

#include <array>
#include <optional>
#include <type_traits>
#include <utility>

namespace sluice::config {

namespace {

template <class Value>
struct is_optional : std::false_type {};
template <class Value>
struct is_optional<std::optional<Value>> : std::true_type {};

// The value behind a chain of member pointers.
template <auto First, auto... Rest>
auto& member_of(auto& owner) {
    if constexpr (sizeof...(Rest) == 0) {
        return owner.*First;
    } else {
        return member_of<Rest...>(owner.*First);
    }
}

template <class Owner, class Codec, auto... Path>
constexpr field<Owner> row(std::string_view key, std::string_view unit, applies change,
                           std::string_view text) {
    using member = std::remove_reference_t<decltype(member_of<Path...>(std::declval<Owner&>()))>;
    field<Owner> out;
    out.key = key;
    out.type = Codec::name;
    out.unit = unit;
    out.change = change;
    out.text = text;
    out.traits = Codec::traits;
    out.expected = [] { return Codec::expected(); };
    out.clear = [](Owner& owner) { member_of<Path...>(owner) = {}; };
    out.same = [](const Owner& one, const Owner& other) {
        return member_of<Path...>(one) == member_of<Path...>(other);
    };
    out.copy = [](Owner& to, const Owner& from) {
        member_of<Path...>(to) = member_of<Path...>(from);
    };
    if constexpr (is_optional<member>::value) {
        out.read = [](Owner& owner, std::string_view value) {
            typename Codec::value parsed{};
            Codec::read(value, parsed);
            member_of<Path...>(owner) = std::move(parsed);
        };
        out.show = [](const Owner& owner) {
            const auto& value = member_of<Path...>(owner);
            return value ? Codec::show(*value) : std::string("inherited");
        };
    } else {
        out.read = [](Owner& owner, std::string_view value) {
            Codec::read(value, member_of<Path...>(owner));
        };
        out.show = [](const Owner& owner) { return Codec::show(member_of<Path...>(owner)); };
    }
    return out;
}

constexpr auto live = applies::live;
constexpr auto restart = applies::restart;

constexpr std::uint32_t most = 1'000'000;
using positive = count<1, most>;
using limit = count<0, most>;

template <class Codec, auto... Path>
constexpr auto top(std::string_view key, std::string_view unit, applies change,
                   std::string_view text) {
    return row<settings, Codec, Path...>(key, unit, change, text);
}

template <class Codec, auto Member>
constexpr auto pg(std::string_view key, std::string_view unit, applies change,
                  std::string_view text) {
    return row<settings, Codec, &settings::postgres, Member>(key, unit, change, text);
}

template <class Codec, auto Member>
constexpr auto tls(std::string_view key, std::string_view unit, applies change,
                   std::string_view text) {
    return row<settings, Codec, &settings::postgres, &postgres_settings::tls, Member>(key, unit,
                                                                                      change, text);
}

template <class Codec, auto Member>
constexpr auto kv(std::string_view key, std::string_view unit, applies change,
                  std::string_view text) {
    return row<settings, Codec, &settings::kv, Member>(key, unit, change, text);
}

template <class Codec, auto Member>
constexpr auto kv_tls(std::string_view key, std::string_view unit, applies change,
                      std::string_view text) {
    return row<settings, Codec, &settings::kv, &kv_settings::tls, Member>(key, unit, change, text);
}

template <class Codec, auto Member>
constexpr auto kv_backup(std::string_view key, std::string_view unit, applies change,
                         std::string_view text) {
    return row<settings, Codec, &settings::kv, &kv_settings::backup, Member>(key, unit, change,
                                                                             text);
}

template <class Codec, auto Member>
constexpr auto mon(std::string_view key, std::string_view unit, applies change,
                   std::string_view text) {
    return row<settings, Codec, &settings::monitoring, Member>(key, unit, change, text);
}

template <class Codec, auto Member>
constexpr auto mon_tls(std::string_view key, std::string_view unit, applies change,
                       std::string_view text) {
    return row<settings, Codec, &settings::monitoring, &monitoring_settings::tls, Member>(
        key, unit, change, text);
}

using p = postgres_settings;
using k = kv_settings;
using m = monitoring_settings;

constexpr std::uint64_t largest_item = std::uint64_t{512} << 20;  // as in Redis
using item_size = byte_size<1, largest_item>;
using size_limit = byte_size<0>;
using key_count = count<0, 4294967295, std::uint64_t>;

constexpr std::array global_rows{
    top<thread_count, &settings::workers>("workers", "threads", restart,
                                          "Threads; `auto` is one for each core."),
    top<choice<log_level>, &settings::log, &log_settings::level>(
        "log.level", "", live, "The least severe lines to log: debug, info, warning or error."),
    top<choice<log_format>, &settings::log, &log_settings::format>(
        "log.format", "", live, "Lines for people (text) or for machines (json)."),

    top<plain_text, &settings::control_socket>("control_socket", "", restart,
                                               "The socket of `sluice upgrade`, `reload` and "
                                               "`status`: a path, `auto` or an empty text for "
                                               "none. See `docs/upgrade.md`."),
    top<duration, &settings::upgrade_timeout>(
        "upgrade_timeout", "seconds", live,
        "How long a new process may take until it serves; then the old one goes on."),

    pg<address_list, &p::listen>("postgres.listen", "", restart,
                                 "Where Postgres clients connect; `unix:/run/sluice` makes the "
                                 "socket `.s.PGSQL.6432` in that directory."),
    pg<count<1, 65535>, &p::listen_backlog>("postgres.listen_backlog", "connections", restart,
                                            "Connections that the kernel holds until accepted."),
    pg<choice<auth_type>, &p::auth_type>(
        "postgres.auth_type", "", live,
        "How clients prove who they are: trust, cleartext (over TLS or loopback only), "
        "scram-sha-256, cert or passthrough (the password is proved by logging in upstream)."),
    pg<duration, &p::passthrough_cache>(
        "postgres.passthrough_cache", "seconds", live,
        "How long a password that `passthrough` has proved is believed; 0 proves each login."),

    pg<choice<pool_mode>, &p::pool_mode>("postgres.pool_mode", "", live,
                                         "When a server connection goes back to the pool: after a "
                                         "session, a transaction or a statement. For new clients."),
    pg<choice<session_state>, &p::session_state>(
        "postgres.session_state", "", live,
        "What of a session follows its client from one transaction to the next: full, "
        "settings_only, or off (as in PgBouncer). For new clients. See `docs/sessions.md`."),
    pg<limit, &p::max_pinned>("postgres.max_pinned", "clients", live,
                              "Clients of one pool that may keep their server connection because "
                              "of what they have made on it (temporary tables, locks, …); 0: any "
                              "number."),
    pg<duration, &p::pin_timeout>("postgres.pin_timeout", "seconds", live,
                                  "A client that keeps a server connection and runs nothing on it "
                                  "is ended after this; 0: never."),
    pg<positive, &p::pool_size>("postgres.pool_size", "connections", live,
                                "Server connections of one pool, that is of one database and "
                                "user; exact over all threads."),
    pg<limit, &p::min_pool_size>(
        "postgres.min_pool_size", "connections", live,
        "Server connections that a pool keeps open; above 0 they can keep a Neon compute awake."),
    pg<limit, &p::reserve_pool_size>(
        "postgres.reserve_pool_size", "connections", live,
        "Connections beyond `pool_size` for clients that waited for `reserve_pool_timeout`."),
    pg<duration, &p::reserve_pool_timeout>("postgres.reserve_pool_timeout", "seconds", live,
                                           "The wait after which the reserve is used; 0 never "
                                           "uses it."),
    pg<positive, &p::max_client_conn>("postgres.max_client_conn", "connections", live,
                                      "Client connections in all."),
    pg<limit, &p::max_db_connections>("postgres.max_db_connections", "connections", live,
                                      "Server connections of one database over all users; 0 is no "
                                      "limit."),
    pg<limit, &p::max_db_client_connections>("postgres.max_db_client_connections", "connections",
                                             live,
                                             "Client connections of one database; 0 is no limit."),
    pg<limit, &p::max_user_connections>("postgres.max_user_connections", "connections", live,
                                        "Server connections of one user over all databases; 0 is "
                                        "no limit."),
    pg<limit, &p::max_user_client_connections>("postgres.max_user_client_connections",
                                               "connections", live,
                                               "Client connections of one user; 0 is no limit."),
    pg<limit, &p::max_prepared_statements>(
        "postgres.max_prepared_statements", "statements", live,
        "Prepared statements kept on one server connection, the least recently used evicted; 0 "
        "passes the clients' names on unchanged. For new clients."),
    pg<count<0, 10000>, &p::track_statements>(
        "postgres.track_statements", "statements", live,
        "Statements, told apart by their texts without constants, whose calls and time are kept; "
        "the rest is summed up as `<other>`. 0 keeps none; a lower number forgets all."),
    pg<count<1, 1000>, &p::max_concurrent_logins>("postgres.max_concurrent_logins", "logins", live,
                                                  "Logins upstream that one pool runs at a time."),

    pg<duration, &p::query_wait_timeout>("postgres.query_wait_timeout", "seconds", live,
                                         "How long a client may wait for a server connection; 0 "
                                         "is for ever."),
    pg<duration, &p::query_wait_notify>(
        "postgres.query_wait_notify", "seconds", live,
        "The wait after which a client gets a notice that says why it waits; 0 sends none."),
    pg<duration, &p::query_timeout>("postgres.query_timeout", "seconds", live,
                                    "The longest a query may run; 0 is off."),
    pg<duration, &p::transaction_timeout>("postgres.transaction_timeout", "seconds", live,
                                          "The longest a transaction may last; 0 is off."),
    pg<duration, &p::idle_transaction_timeout>(
        "postgres.idle_transaction_timeout", "seconds", live,
        "The longest a client may idle inside a transaction; 0 is off."),
    pg<duration, &p::client_idle_timeout>("postgres.client_idle_timeout", "seconds", live,
                                          "The longest a client may idle outside of "
                                          "transactions; 0 is off."),
    pg<duration, &p::client_login_timeout>("postgres.client_login_timeout", "seconds", live,
                                           "The longest a client may take to log in; 0 is off."),
    pg<duration, &p::server_idle_timeout>("postgres.server_idle_timeout", "seconds", live,
                                          "Idle server connections are closed after this; 0 keeps "
                                          "them."),
    pg<duration, &p::server_lifetime>("postgres.server_lifetime", "seconds", live,
                                      "Server connections older than this are closed when free; 0 "
                                      "is no limit."),
    pg<duration, &p::server_connect_timeout>("postgres.server_connect_timeout", "seconds", live,
                                             "The longest a login upstream may take; 0 is off."),
    pg<duration, &p::cancel_wait_timeout>("postgres.cancel_wait_timeout", "seconds", live,
                                          "The longest a cancel request may take; 0 is off."),
    pg<duration, &p::shutdown_timeout>("postgres.shutdown_timeout", "seconds", live,
                                       "How long a stop waits for transactions to end; 0 waits "
                                       "until they do."),
    pg<limit, &p::drain_rate>("postgres.drain_rate", "clients/s", live,
                              "Idle clients that a stop or an upgrade ends in a second; 0 ends all "
                              "at once."),

    pg<plain_text, &p::server_reset_query>("postgres.server_reset_query", "", live,
                                           "Sent in session mode when a client leaves; an empty "
                                           "text sends nothing."),

    pg<on_off, &p::tcp_keepalive>("postgres.tcp_keepalive", "", live,
                                  "Whether the kernel probes idle connections."),
    pg<kernel_seconds, &p::tcp_keepidle>("postgres.tcp_keepidle", "seconds", live,
                                         "Silence before the first probe; 0 leaves it to the "
                                         "kernel."),
    pg<kernel_seconds, &p::tcp_keepintvl>("postgres.tcp_keepintvl", "seconds", live,
                                          "Time between probes; 0 leaves it to the kernel."),
    pg<count<0, 127>, &p::tcp_keepcnt>("postgres.tcp_keepcnt", "probes", live,
                                       "Unanswered probes that end a connection; 0 leaves it to "
                                       "the kernel."),
    pg<duration, &p::tcp_user_timeout>(
        "postgres.tcp_user_timeout", "seconds", live,
        "How long sent bytes may stay unacknowledged; 0 leaves it to the kernel."),

    tls<choice<tls_mode>, &tls_settings::mode>(
        "postgres.tls.mode", "", live,
        "TLS towards clients: disable, allow (they choose), require, verify-ca or verify-full "
        "(clients show a certificate)."),
    tls<file_path, &tls_settings::certificate>("postgres.tls.certificate", "", live,
                                               "PEM file with the certificate and its chain, leaf "
                                               "first."),
    tls<file_path, &tls_settings::key>("postgres.tls.key", "", live,
                                       "PEM file with the private key."),
    tls<file_path, &tls_settings::client_ca>(
        "postgres.tls.client_ca", "", live,
        "PEM file with the authorities that clients' certificates must come from."),

    pg<name_list, &p::admin_users>("postgres.admin_users", "", live,
                                   "Users that may run every command of the admin database."),
    pg<name_list, &p::stats_users>("postgres.stats_users", "", live,
                                   "Users that may read the admin database."),

    kv<tcp_address_list<6380>, &k::listen>(
        "kv.listen", "", restart,
        "Where Redis clients connect to the key-value store; `[]` turns the store off."),
    kv<count<1, 65535>, &k::listen_backlog>("kv.listen_backlog", "connections", restart,
                                            "Connections that the kernel holds until accepted."),
    kv<directory_path, &k::directory>(
        "kv.directory", "", restart,
        "Where the projects' files and the log are; relative to the directory that sluice is "
        "started in."),
    kv<choice<fsync_policy>, &k::fsync>(
        "kv.fsync", "", live,
        "When a write is on the disk: always (before it is answered), everysec (within a second) "
        "or never (when the kernel likes)."),
    kv<interval, &k::checkpoint_interval>(
        "kv.checkpoint_interval", "seconds", live,
        "How far a project's file may lag behind the log, which holds the rest."),
    kv<size_limit, &k::max_project_size>(
        "kv.max_project_size", "", live,
        "Keys and values of one project together; writes beyond it are refused. 0 is no limit."),
    kv<size_limit, &k::project_size_warning>(
        "kv.project_size_warning", "", live,
        "The metric `sluice_kv_large_projects` counts the projects above this size; 0 counts "
        "none."),
    kv<key_count, &k::max_keys>("kv.max_keys", "keys", live, "Keys of one project; 0 is no limit."),
    kv<item_size, &k::max_key_size>("kv.max_key_size", "", live, "The longest key."),
    kv<item_size, &k::max_value_size>("kv.max_value_size", "", live, "The longest value."),
    kv<size_limit, &k::max_memory>(
        "kv.max_memory", "", live,
        "Memory for all projects in use; above it idle ones leave memory first. 0 is no limit."),
    kv<duration, &k::project_idle_timeout>(
        "kv.project_idle_timeout", "seconds", live,
        "A project that nobody used for so long leaves memory; 0 keeps it."),
    kv<positive, &k::maxclients>("kv.maxclients", "connections", live,
                                 "Client connections in all."),
    kv<duration, &k::timeout>("kv.timeout", "seconds", live,
                              "Clients that idle for longer are disconnected; 0 is never."),
    kv<duration, &k::client_login_timeout>(
        "kv.client_login_timeout", "seconds", live,
        "With `kv.users`: the longest a client may take to log in; 0 is off."),
    kv<kernel_seconds, &k::tcp_keepalive>(
        "kv.tcp_keepalive", "seconds", live,
        "Silence after which the kernel probes a connection; 0 does not probe."),
    kv<size_limit, &k::client_output_buffer_limit>(
        "kv.client_output_buffer_limit", "", live,
        "A client that leaves more than this unread is disconnected; 0 is no limit."),
    kv<on_off, &k::protected_mode>(
        "kv.protected_mode", "", live,
        "Without `kv.users`, clients that are not on loopback are refused."),
    kv<command_list, &k::disabled_commands>(
        "kv.disabled_commands", "", live,
        "Commands that are answered as if they did not exist, e.g. flushall."),
    kv<duration, &k::slowlog_log_slower_than>(
        "kv.slowlog_log_slower_than", "seconds", live,
        "Commands that take longer are kept for SLOWLOG GET; 0 is off."),
    kv<limit, &k::slowlog_max_len>("kv.slowlog_max_len", "commands", live,
                                   "How many of them are kept."),

    kv_tls<choice<tls_mode>, &tls_settings::mode>(
        "kv.tls.mode", "", live,
        "TLS towards clients: disable, allow (they choose), require, verify-ca or verify-full "
        "(clients show a certificate)."),
    kv_tls<file_path, &tls_settings::certificate>("kv.tls.certificate", "", live,
                                                  "PEM file with the certificate and its chain, "
                                                  "leaf first."),
    kv_tls<file_path, &tls_settings::key>("kv.tls.key", "", live, "PEM file with the private key."),
    kv_tls<file_path, &tls_settings::client_ca>(
        "kv.tls.client_ca", "", live,
        "PEM file with the authorities that clients' certificates must come from."),

    kv_backup<directory_path, &kv_backup_settings::directory>(
        "kv.backup.directory", "", live, "Where scheduled backups go; without it there are none."),
    kv_backup<duration, &kv_backup_settings::every>("kv.backup.every", "seconds", live,
                                                    "The time from one backup to the next."),
    kv_backup<positive, &kv_backup_settings::keep>(
        "kv.backup.keep", "backups", live,
        "How many of the newest backups stay; older ones are removed."),

    mon<tcp_address_list<9127>, &m::listen>(
        "monitoring.listen", "", restart,
        "Where the dashboard, `/metrics`, `/healthz` and `/readyz` are served; `[]` serves them "
        "nowhere."),
    mon<access_token, &m::token>(
        "monitoring.token", "", live,
        "Whoever sends it as `Authorization: Bearer` may see the dashboard and the metrics."),
    mon<on_off, &m::allow_anonymous>(
        "monitoring.allow_anonymous", "", live,
        "Needed to listen beyond loopback without a token, users or client certificates: everybody "
        "there may see the dashboard and the metrics."),

    mon_tls<choice<tls_mode>, &tls_settings::mode>(
        "monitoring.tls.mode", "", restart,
        "TLS towards browsers and scrapers: disable, allow (they choose), require, verify-ca or "
        "verify-full (they show a certificate)."),
    mon_tls<file_path, &tls_settings::certificate>("monitoring.tls.certificate", "", live,
                                                   "PEM file with the certificate and its chain, "
                                                   "leaf first."),
    mon_tls<file_path, &tls_settings::key>("monitoring.tls.key", "", live,
                                           "PEM file with the private key."),
    mon_tls<file_path, &tls_settings::client_ca>(
        "monitoring.tls.client_ca", "", live,
        "PEM file with the authorities that clients' certificates must come from."),
};

template <class Codec, auto Member>
constexpr auto db(std::string_view key, std::string_view unit, applies change,
                  std::string_view text) {
    return row<database_settings, Codec, Member>(key, unit, change, text);
}

using d = database_settings;

constexpr std::array database_rows{
    db<connection_string, &d::url>(
        "url", "", live,
        "Any libpq connection string. A user in it is the upstream user for everyone; without one "
        "each client's own user and password are used. Without the key, libpq's defaults hold."),
    db<choice<pool_mode>, &d::pool_mode>("pool_mode", "", live, "As in `postgres`."),
    db<choice<session_state>, &d::session_state>("session_state", "", live, "As in `postgres`."),
    db<limit, &d::max_pinned>("max_pinned", "clients", live, "As in `postgres`."),
    db<duration, &d::pin_timeout>("pin_timeout", "seconds", live, "As in `postgres`."),
    db<positive, &d::pool_size>("pool_size", "connections", live, "As in `postgres`."),
    db<limit, &d::min_pool_size>("min_pool_size", "connections", live, "As in `postgres`."),
    db<limit, &d::reserve_pool_size>("reserve_pool_size", "connections", live, "As in `postgres`."),
    db<limit, &d::max_db_connections>("max_db_connections", "connections", live,
                                      "As in `postgres`."),
    db<limit, &d::max_db_client_connections>("max_db_client_connections", "connections", live,
                                             "As in `postgres`."),
    db<duration, &d::server_lifetime>("server_lifetime", "seconds", live, "As in `postgres`."),
};

template <class Codec, auto Member>
constexpr auto us(std::string_view key, std::string_view unit, applies change,
                  std::string_view text) {
    return row<user_settings, Codec, Member>(key, unit, change, text);
}

using u = user_settings;

constexpr std::array user_rows{
    us<password, &u::password>("password", "", live,
                               "A password or a verifier that `sluice hash-password` made. "
                               "Needed by auth_type cleartext and scram-sha-256."),
    us<choice<pool_mode>, &u::pool_mode>("pool_mode", "", live, "As in `postgres`."),
    us<choice<session_state>, &u::session_state>("session_state", "", live, "As in `postgres`."),
    us<duration, &u::pin_timeout>("pin_timeout", "seconds", live, "As in `postgres`."),
    us<positive, &u::pool_size>("pool_size", "connections", live, "As in `postgres`."),
    us<limit, &u::reserve_pool_size>("reserve_pool_size", "connections", live, "As in `postgres`."),
    us<limit, &u::max_user_connections>("max_user_connections", "connections", live,
                                        "As in `postgres`."),
    us<limit, &u::max_user_client_connections>("max_user_client_connections", "connections", live,
                                               "As in `postgres`."),
    us<duration, &u::query_timeout>("query_timeout", "seconds", live, "As in `postgres`."),
    us<duration, &u::transaction_timeout>("transaction_timeout", "seconds", live,
                                          "As in `postgres`."),
    us<duration, &u::idle_transaction_timeout>("idle_transaction_timeout", "seconds", live,
                                               "As in `postgres`."),
    us<duration, &u::client_idle_timeout>("client_idle_timeout", "seconds", live,
                                          "As in `postgres`."),
};

// Two members and one key, so that row() does not fit.
constexpr field<kv_user_settings> projects_row() {
    using owner = kv_user_settings;
    field<owner> out;
    out.key = "projects";
    out.type = project_list::name;
    out.change = live;
    out.text = "The projects that the user may open.";
    out.traits = project_list::traits;
    out.expected = [] { return project_list::expected(); };
    out.read = [](owner& user, std::string_view value) { project_list::read(value, user); };
    out.clear = [](owner& user) {
        user.all_projects = false;
        user.projects.clear();
    };
    out.show = [](const owner& user) { return project_list::show(user); };
    out.same = [](const owner& one, const owner& other) {
        return one.all_projects == other.all_projects && one.projects == other.projects;
    };
    out.copy = [](owner& to, const owner& from) {
        to.all_projects = from.all_projects;
        to.projects = from.projects;
    };
    return out;
}

constexpr std::array kv_user_rows{
    row<kv_user_settings, password, &kv_user_settings::password>(
        "password", "", live,
        "A password or a verifier that `sluice hash-password` made. Every user needs one."),
    projects_row(),
};

constexpr std::array monitoring_user_rows{
    row<monitoring_user_settings, password, &monitoring_user_settings::password>(
        "password", "", live,
        "A password or a verifier that `sluice hash-password` made. Every user needs one."),
};

}  // namespace

std::span<const field<settings>> global_fields() {
    return global_rows;
}
std::span<const field<database_settings>> database_fields() {
    return database_rows;
}
std::span<const field<user_settings>> user_fields() {
    return user_rows;
}
std::span<const field<kv_user_settings>> kv_user_fields() {
    return kv_user_rows;
}
std::span<const field<monitoring_user_settings>> monitoring_user_fields() {
    return monitoring_user_rows;
}

}  // namespace sluice::config
