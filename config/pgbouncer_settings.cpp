#include "config/pgbouncer_settings.hpp"

#include <algorithm>
#include <iterator>

namespace sluice::config {

namespace {

using enum setting_type;
using enum import_kind;

constexpr same_setting same_rows[] = {
    {"listen_backlog", "listen_backlog", number, "", ""},
    {"max_client_conn", "max_client_conn", number, "100",
     "PgBouncer's default; sluice's is 10000, which costs next to nothing"},
    {"default_pool_size", "pool_size", number, "20", "PgBouncer's default, and sluice's"},
    {"min_pool_size", "min_pool_size", number, "", ""},
    {"reserve_pool_size", "reserve_pool_size", number, "", ""},
    {"reserve_pool_timeout", "reserve_pool_timeout", time, "", ""},
    {"max_db_connections", "max_db_connections", number, "", ""},
    {"max_db_client_connections", "max_db_client_connections", number, "", ""},
    {"max_user_connections", "max_user_connections", number, "", ""},
    {"max_user_client_connections", "max_user_client_connections", number, "", ""},
    {"max_prepared_statements", "max_prepared_statements", number, "", ""},
    {"query_wait_timeout", "query_wait_timeout", time, "", ""},
    {"query_wait_notify", "query_wait_notify", time, "", ""},
    {"query_timeout", "query_timeout", time, "", ""},
    {"transaction_timeout", "transaction_timeout", time, "", ""},
    {"idle_transaction_timeout", "idle_transaction_timeout", time, "", ""},
    {"client_idle_timeout", "client_idle_timeout", time, "", ""},
    {"client_login_timeout", "client_login_timeout", time, "", ""},
    {"server_idle_timeout", "server_idle_timeout", time, "600",
     "PgBouncer's default; sluice's is 60s, so that a Neon compute can fall asleep"},
    {"server_lifetime", "server_lifetime", time, "", ""},
    {"server_connect_timeout", "server_connect_timeout", time, "15",
     "PgBouncer's default; sluice's is 10s"},
    {"cancel_wait_timeout", "cancel_wait_timeout", time, "", ""},
    {"server_reset_query", "server_reset_query", text, "", ""},
    {"tcp_keepalive", "tcp_keepalive", on_off, "", ""},
    {"tcp_keepidle", "tcp_keepidle", time, "", ""},
    {"tcp_keepintvl", "tcp_keepintvl", time, "", ""},
    {"tcp_keepcnt", "tcp_keepcnt", number, "", ""},
    {"tcp_user_timeout", "tcp_user_timeout", time_ms, "", ""},
};

constexpr std::string_view by_journal = "sluice logs to standard error, which the journal keeps";
constexpr std::string_view by_unit = "belongs into the unit file";
constexpr std::string_view by_metrics = "the monitoring port has the numbers all the time";
constexpr std::string_view by_level = "log.level governs what is logged";
constexpr std::string_view by_itself = "sluice sizes its buffers itself";
constexpr std::string_view by_lookup =
    "names are looked up by the system at each login upstream, and not kept";
constexpr std::string_view fixed_tls =
    "sluice takes TLS 1.2 and 1.3 with OpenSSL's choice of ciphers";

constexpr unmapped_setting unmapped_rows[] = {
    {"logfile", needless, "", by_journal},
    {"syslog", needless, "0", by_journal},
    {"syslog_ident", needless, "", by_journal},
    {"syslog_facility", needless, "", by_journal},
    {"pidfile", needless, "", "systemd knows the process"},
    {"user", needless, "", by_unit},
    {"conffile", needless, "", "a reload reads the file that sluice was started with"},
    {"service_name", needless, "", by_unit},
    {"job_name", needless, "", by_unit},
    {"stats_period", needless, "60", by_metrics},
    {"log_stats", needless, "1", by_metrics},
    {"log_connections", needless, "1", by_level},
    {"log_disconnections", needless, "1", by_level},
    {"log_pooler_errors", needless, "1", by_level},
    {"so_reuseport", needless, "0", "one sluice uses all cores, and its threads share the pools"},
    {"peer_id", changed, "0",
     "one sluice needs no peers on its machine; cancel requests that reach another machine are not "
     "passed on"},
    {"unix_socket_mode", lost, "0777",
     "sluice's sockets may be opened by everybody; what protects them is their directory's mode"},
    {"unix_socket_group", lost, "",
     "sluice's sockets may be opened by everybody; what protects them is their directory's mode"},
    {"server_check_query", needless, "",
     "an idle connection is looked at before it is handed out, without a query"},
    {"server_check_delay", needless, "30",
     "an idle connection is looked at each time before it is handed out"},
    {"server_reset_query_always", needless, "0",
     "in transaction mode sluice clears what a client leaves behind (docs/sessions.md)"},
    {"server_login_retry", needless, "15",
     "a login that may work later is tried again as long as clients may wait"},
    {"server_fast_close", lost, "0", "connections close when their transaction or session ends"},
    {"server_round_robin", lost, "0", "the connection that was used last is used first"},
    {"ignore_startup_parameters", changed, "",
     "nothing is ignored: each parameter that the server takes is set for its client"},
    {"track_extra_parameters", needless, "IntervalStyle", "every setting follows its client"},
    {"application_name_add_host", lost, "0", "application_name stays what the client said"},
    {"disable_pqexec", lost, "0", "simple queries cannot be forbidden"},
    {"login_notify_message", lost, "", "there is no such message"},
    {"scram_iterations", changed, "4096", "sluice derives its own verifiers with 4096 iterations"},
    {"suspend_timeout", needless, "10", "nothing is suspended for an upgrade"},
    {"autodb_idle_timeout", needless, "3600", "a pool without connections costs next to nothing"},
    {"pool_idle_timeout", needless, "0", "a pool without connections costs next to nothing"},
    {"dns_max_ttl", needless, "15", by_lookup},
    {"dns_nxdomain_ttl", needless, "15", by_lookup},
    {"dns_zone_check_period", lost, "0",
     "a changed name is seen at the next login; server_lifetime bounds how long that takes"},
    {"resolv_conf", lost, "", "names are looked up by the system, with its own resolv.conf"},
    {"pkt_buf", needless, "4096", by_itself},
    {"sbuf_loopcnt", needless, "5", by_itself},
    {"max_packet_size", needless, "2147483647", "long messages pass in pieces"},
    {"tcp_defer_accept", needless, "", by_itself},
    {"tcp_socket_buffer", needless, "0", by_itself},
    {"client_tls_protocols", lost, "secure", fixed_tls},
    {"client_tls_ciphers", lost, "", fixed_tls},
    {"client_tls13_ciphers", lost, "", fixed_tls},
    {"client_tls_dheparams", needless, "auto", fixed_tls},
    {"client_tls_ecdhcurve", needless, "auto", fixed_tls},
    {"server_tls_ciphers", lost, "", "libpq, which logs in upstream, has no such setting"},
    {"server_tls13_ciphers", lost, "", "libpq, which logs in upstream, has no such setting"},
    {"auth_ident_file", lost, "", "a certificate's common name must be the user's name"},
    {"auth_ldap_options", lost, "", "there is no LDAP"},
    {"auth_ldap_parameter", lost, "", "there is no LDAP"},
    {"auth_query", lost, "", "see auth_user"},
    {"auth_dbname", lost, "", "see auth_user"},
};

}  // namespace

std::span<const same_setting> same_settings() noexcept {
    return same_rows;
}

const unmapped_setting* find_unmapped(std::string_view name) noexcept {
    const auto* const at = std::find_if(std::begin(unmapped_rows), std::end(unmapped_rows),
                                        [&](const auto& one) { return one.name == name; });
    return at == std::end(unmapped_rows) ? nullptr : at;
}

}  // namespace sluice::config
