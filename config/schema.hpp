// The configuration as plain values with their defaults. No I/O and no validation here:
// load.hpp fills it from YAML. Immutable once loaded; workers share it by shared_ptr<const>.
// Durations are milliseconds; zero means "off" wherever a timeout or an interval is meant.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice::config {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

enum class log_level { debug, info, warning, error };
enum class log_format { text, json };
enum class pool_mode { session, transaction, statement };
// What of a session is kept from one transaction to the next: docs/sessions.md.
enum class session_state { full, settings_only, off };
enum class auth_type { trust, cleartext, scram_sha_256, cert, passthrough };
enum class fsync_policy { always, everysec, never };
enum class tls_mode { disable, allow, require, verify_ca, verify_full };

// Where to listen. TCP: host and port. Unix: `path` is a directory, in which the socket file
// .s.PGSQL.<port> is made as PostgreSQL does.
struct listen_address {
    enum class kind { tcp, unix_socket };
    kind type = kind::tcp;
    std::string host;
    std::string path;
    std::uint16_t port = 0;

    bool operator==(const listen_address&) const = default;
};

struct log_settings {
    log_level level = log_level::info;
    log_format format = log_format::text;

    bool operator==(const log_settings&) const = default;
};

struct tls_settings {
    tls_mode mode = tls_mode::disable;
    std::string certificate;  // PEM file, leaf first
    std::string key;          // PEM file
    std::string client_ca;    // PEM file; needed by verify-ca, verify-full and auth_type cert

    bool operator==(const tls_settings&) const = default;
};

// Per database; an unset value falls back to the one of postgres_settings.
struct database_settings {
    std::string url;  // any libpq connection string; empty only if libpq's own defaults are meant
    std::optional<config::pool_mode> pool_mode;
    std::optional<std::uint32_t> pool_size;
    std::optional<std::uint32_t> min_pool_size;
    std::optional<std::uint32_t> reserve_pool_size;
    std::optional<std::uint32_t> max_db_connections;
    std::optional<std::uint32_t> max_db_client_connections;
    std::optional<milliseconds> server_lifetime;
    std::optional<config::session_state> session_state;
    std::optional<std::uint32_t> max_pinned;
    std::optional<milliseconds> pin_timeout;

    bool operator==(const database_settings&) const = default;
};

// Per user; an unset value falls back to the database's and then to postgres_settings.
struct user_settings {
    std::string password;  // a plain password or a SCRAM-SHA-256$... verifier; may be empty
    std::optional<config::pool_mode> pool_mode;
    std::optional<std::uint32_t> pool_size;
    std::optional<std::uint32_t> reserve_pool_size;
    std::optional<std::uint32_t> max_user_connections;
    std::optional<std::uint32_t> max_user_client_connections;
    std::optional<milliseconds> query_timeout;
    std::optional<milliseconds> transaction_timeout;
    std::optional<milliseconds> idle_transaction_timeout;
    std::optional<milliseconds> client_idle_timeout;
    std::optional<config::session_state> session_state;
    std::optional<milliseconds> pin_timeout;

    bool operator==(const user_settings&) const = default;
};

struct postgres_settings {
    std::vector<listen_address> listen{{listen_address::kind::tcp, "127.0.0.1", {}, 6432}};
    std::uint32_t listen_backlog = 1024;
    config::auth_type auth_type = config::auth_type::scram_sha_256;
    milliseconds passthrough_cache = 5min;  // how long a proved passthrough password is believed

    config::pool_mode pool_mode = config::pool_mode::transaction;
    config::session_state session_state = config::session_state::full;
    std::uint32_t max_pinned = 0;    // clients of one pool that may keep their connection; 0: all
    milliseconds pin_timeout = 0ms;  // of a client that keeps one and does nothing; 0: none
    std::uint32_t pool_size = 20;
    std::uint32_t min_pool_size = 0;
    std::uint32_t reserve_pool_size = 0;
    milliseconds reserve_pool_timeout = 5s;
    std::uint32_t max_client_conn = 10000;
    std::uint32_t max_db_connections = 0;  // 0: no limit, here and below
    std::uint32_t max_db_client_connections = 0;
    std::uint32_t max_user_connections = 0;
    std::uint32_t max_user_client_connections = 0;
    std::uint32_t max_prepared_statements = 200;  // per server connection; 0: names pass unchanged
    std::uint32_t track_statements = 1000;        // entries of the top statements; 0: off
    std::uint32_t max_concurrent_logins = 4;      // upstream logins of one pool at a time

    milliseconds query_wait_timeout = 120s;
    milliseconds query_wait_notify = 5s;
    milliseconds query_timeout = 0ms;
    milliseconds transaction_timeout = 0ms;
    milliseconds idle_transaction_timeout = 0ms;
    milliseconds client_idle_timeout = 0ms;
    milliseconds client_login_timeout = 60s;
    milliseconds server_idle_timeout = 60s;
    milliseconds server_lifetime = 1h;
    milliseconds server_connect_timeout = 10s;
    milliseconds cancel_wait_timeout = 10s;
    milliseconds shutdown_timeout = 30s;
    std::uint32_t drain_rate = 1000;  // clients a second; 0: all at once

    std::string server_reset_query = "DISCARD ALL";  // session mode, when a client leaves

    bool tcp_keepalive = true;
    milliseconds tcp_keepidle = 60s;
    milliseconds tcp_keepintvl = 10s;
    std::uint32_t tcp_keepcnt = 6;
    milliseconds tcp_user_timeout = 60s;

    tls_settings tls;
    std::map<std::string, database_settings> databases;  // "*" takes every other name
    // Absent (not merely empty): the users and passwords of the databases' URLs are the users.
    std::optional<std::map<std::string, user_settings>> users;
    std::vector<std::string> admin_users;
    std::vector<std::string> stats_users;

    bool operator==(const postgres_settings&) const = default;
};

// A user of the key-value port.
struct kv_user_settings {
    std::string password;                 // plain, or a SCRAM-SHA-256$... verifier
    bool all_projects = false;            // projects: all
    std::vector<std::uint32_t> projects;  // otherwise these

    bool operator==(const kv_user_settings&) const = default;
};

struct kv_backup_settings {
    std::string directory;  // empty: no scheduled backups
    milliseconds every = 24h;
    std::uint32_t keep = 7;  // how many of the newest stay

    bool operator==(const kv_backup_settings&) const = default;
};

// The key-value port and its store. Redis's names where Redis has the setting.
struct kv_settings {
    std::vector<listen_address> listen{{listen_address::kind::tcp, "127.0.0.1", {}, 6380}};
    std::uint32_t listen_backlog = 511;
    std::string directory = ".replitdb";
    fsync_policy fsync = fsync_policy::everysec;
    milliseconds checkpoint_interval = 10s;  // how far a project's file may lag behind

    std::uint64_t max_project_size = std::uint64_t{50} << 20;     // keys and values; 0: no limit
    std::uint64_t project_size_warning = std::uint64_t{1} << 20;  // a metric counts those above
    std::uint64_t max_keys = 0;                                   // of one project; 0: no limit
    std::uint64_t max_key_size = std::uint64_t{512} << 20;
    std::uint64_t max_value_size = std::uint64_t{512} << 20;
    std::uint64_t max_memory = std::uint64_t{1} << 30;  // all projects in memory; 0: no limit
    milliseconds project_idle_timeout = 10min;          // then it leaves memory; 0: stays

    std::uint32_t maxclients = 10000;
    milliseconds timeout = 0ms;  // idle clients; 0: never
    milliseconds client_login_timeout = 60s;
    milliseconds tcp_keepalive = 300s;
    std::uint64_t client_output_buffer_limit = std::uint64_t{32} << 20;  // 0: no limit
    bool protected_mode = true;
    std::vector<std::string> disabled_commands;
    milliseconds slowlog_log_slower_than = 10ms;  // 0: off
    std::uint32_t slowlog_max_len = 128;

    tls_settings tls;
    std::map<std::string, kv_user_settings> users;  // none: everybody on loopback
    kv_backup_settings backup;

    bool operator==(const kv_settings&) const = default;
};

struct monitoring_user_settings {
    std::string password;  // plain, or a SCRAM-SHA-256$... verifier

    bool operator==(const monitoring_user_settings&) const = default;
};

// With neither a token nor users nobody is asked who they are.
struct monitoring_settings {
    std::vector<listen_address> listen{{listen_address::kind::tcp, "127.0.0.1", {}, 9127}};
    std::string token;  // Authorization: Bearer; empty: none
    bool allow_anonymous = false;
    tls_settings tls;
    std::map<std::string, monitoring_user_settings> users;

    bool operator==(const monitoring_settings&) const = default;
};

struct settings {
    std::uint32_t workers = 0;            // 0: auto, one per core
    std::string control_socket = "auto";  // a path; empty: none
    milliseconds upgrade_timeout = 30s;   // for a successor to say that it serves
    log_settings log;
    postgres_settings postgres;
    kv_settings kv;
    monitoring_settings monitoring;

    bool operator==(const settings&) const = default;
};

}  // namespace sluice::config
