// What comes out must load, so most tests look at the settings that it loads as.
#include "config/pgbouncer_import.hpp"

#include <gtest/gtest.h>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

constexpr const char* verifier =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

struct result {
    imported made;
    config::settings settings;

    [[nodiscard]] const postgres_settings& pg() const { return settings.postgres; }
    [[nodiscard]] const database_settings& db(const std::string& name = "app") const {
        return settings.postgres.databases.at(name);
    }
    [[nodiscard]] bool says(import_kind kind, const std::string& text) const {
        return std::any_of(made.notes.begin(), made.notes.end(), [&](const import_note& note) {
            return note.kind == kind && show_note(note).find(text) != std::string::npos;
        });
    }
    [[nodiscard]] bool loses(const std::string& text) const {
        return says(import_kind::lost, text);
    }
    [[nodiscard]] bool changes(const std::string& text) const {
        return says(import_kind::changed, text);
    }
};

result from(const std::string& ini, const std::string& users = "\"app\" \"pw\"\n",
            const std::string& hba = {}) {
    fake_world world;
    world.files = {{"p.ini", ini}, {"users.txt", users}, {"hba", hba}};
    result out{import_pgbouncer("p.ini", world.env()), {}};
    out.settings = load_text(out.made.yaml, "made.yaml", world.env()).settings;
    return out;
}

// [pgbouncer] with an auth_file and these lines.
result with(const std::string& lines, const std::string& users = "\"app\" \"pw\"\n",
            const std::string& hba = {}) {
    return from("[databases]\napp = host=db\n[pgbouncer]\nauth_file = users.txt\n" + lines, users,
                hba);
}

result with_database(const std::string& words, const std::string& lines = {},
                     const std::string& users = "\"app\" \"pw\"\n") {
    return from("[pgbouncer]\nauth_file = users.txt\n" + lines + "\n[databases]\napp = " + words,
                users);
}

config_error error_with(const std::string& lines, const std::string& hba = {}) {
    try {
        static_cast<void>(with(lines, "\"app\" \"pw\"\n", hba));
    } catch (const config_error& error) {
        return error;
    }
    ADD_FAILURE() << "no error with:\n" << lines;
    return {"", 0, "", "", ""};
}

TEST(pgbouncer_import, empty_file_gives_the_defaults_of_pgbouncer) {
    const auto got = from("");
    EXPECT_EQ(got.pg().pool_mode, pool_mode::session);
    EXPECT_EQ(got.pg().max_client_conn, 100U);
    EXPECT_EQ(got.pg().pool_size, 20U);
    EXPECT_EQ(got.pg().server_idle_timeout, 10min);
    EXPECT_EQ(got.pg().server_connect_timeout, 15s);
    EXPECT_EQ(got.pg().auth_type, auth_type::scram_sha_256);
    ASSERT_EQ(got.pg().listen.size(), 1U);  // no TCP without listen_addr
    EXPECT_EQ(got.pg().listen[0].path, "/tmp");
    EXPECT_TRUE(got.pg().users.has_value());
    EXPECT_TRUE(got.pg().users->empty());
    EXPECT_TRUE(got.settings.kv.listen.empty());
    EXPECT_TRUE(got.loses("nobody can log in"));
    EXPECT_FALSE(got.made.has_passwords);
    // What has the same default stays sluice's own.
    const postgres_settings ours;
    EXPECT_EQ(got.pg().query_wait_timeout, ours.query_wait_timeout);
    EXPECT_EQ(got.pg().server_lifetime, ours.server_lifetime);
    EXPECT_EQ(got.pg().max_prepared_statements, ours.max_prepared_statements);
}

TEST(pgbouncer_import, settings_come_over_by_name) {
    const auto got = with(
        "default_pool_size=7\nmin_pool_size=2\nreserve_pool_size=3\nreserve_pool_timeout=1.5\n"
        "max_client_conn=500\nmax_db_connections=40\nmax_db_client_connections=41\n"
        "max_user_connections=42\nmax_user_client_connections=43\nmax_prepared_statements=0\n"
        "query_wait_timeout=0.25\nquery_wait_notify=1\nquery_timeout=30\ntransaction_timeout=60\n"
        "idle_transaction_timeout=90\nclient_idle_timeout=3600\nclient_login_timeout=5\n"
        "server_idle_timeout=0\nserver_lifetime=86400\nserver_connect_timeout=3\n"
        "cancel_wait_timeout=4\nserver_reset_query=\nlisten_backlog=64\npool_mode=transaction\n"
        "tcp_keepalive=0\ntcp_keepidle=30\ntcp_keepintvl=5\ntcp_keepcnt=3\ntcp_user_timeout="
        "1500\n");
    const auto& pg = got.pg();
    EXPECT_EQ(pg.pool_size, 7U);
    EXPECT_EQ(pg.min_pool_size, 2U);
    EXPECT_EQ(pg.reserve_pool_size, 3U);
    EXPECT_EQ(pg.reserve_pool_timeout, 1500ms);
    EXPECT_EQ(pg.max_client_conn, 500U);
    EXPECT_EQ(pg.max_db_connections, 40U);
    EXPECT_EQ(pg.max_db_client_connections, 41U);
    EXPECT_EQ(pg.max_user_connections, 42U);
    EXPECT_EQ(pg.max_user_client_connections, 43U);
    EXPECT_EQ(pg.max_prepared_statements, 0U);
    EXPECT_EQ(pg.query_wait_timeout, 250ms);
    EXPECT_EQ(pg.query_wait_notify, 1s);
    EXPECT_EQ(pg.query_timeout, 30s);
    EXPECT_EQ(pg.transaction_timeout, 60s);
    EXPECT_EQ(pg.idle_transaction_timeout, 90s);
    EXPECT_EQ(pg.client_idle_timeout, 1h);
    EXPECT_EQ(pg.client_login_timeout, 5s);
    EXPECT_EQ(pg.server_idle_timeout, 0ms);
    EXPECT_EQ(pg.server_lifetime, 24h);
    EXPECT_EQ(pg.server_connect_timeout, 3s);
    EXPECT_EQ(pg.cancel_wait_timeout, 4s);
    EXPECT_EQ(pg.server_reset_query, "");
    EXPECT_EQ(pg.listen_backlog, 64U);
    EXPECT_EQ(pg.pool_mode, pool_mode::transaction);
    EXPECT_FALSE(pg.tcp_keepalive);
    EXPECT_EQ(pg.tcp_keepidle, 30s);
    EXPECT_EQ(pg.tcp_keepintvl, 5s);
    EXPECT_EQ(pg.tcp_keepcnt, 3U);
    EXPECT_EQ(pg.tcp_user_timeout, 1500ms);  // milliseconds, alone of all
}

TEST(pgbouncer_import, values_without_a_counterpart_are_told) {
    EXPECT_EQ(with("default_pool_size=0\nmax_client_conn=30").pg().pool_size, 30U);
    EXPECT_TRUE(with("default_pool_size=0").changes("max_client_conn bounds it"));
    EXPECT_EQ(with("server_lifetime=0").pg().server_lifetime, 1s);
    EXPECT_TRUE(with("server_lifetime=0").changes("p.ini:5: server_lifetime"));
    EXPECT_EQ(with("min_pool_size=30").pg().min_pool_size, 20U);
    EXPECT_EQ(with("client_idle_timeout=999999999").pg().client_idle_timeout, 24h * 365);
}

TEST(pgbouncer_import, mistakes_have_file_and_line) {
    EXPECT_STREQ(error_with("pool_mode=sessions").what(),
                 "p.ini:5: pool_mode: found \"sessions\", expected session, transaction or "
                 "statement");
    for (const auto* const line :
         {"max_client_conn=many", "max_client_conn=0", "query_timeout=5min",
          "query_timeout=", "query_timeout=1.2.3", "tcp_keepalive=maybe", "listen_port=0",
          "listen_addr=a b", "auth_type=kerberos", "auth_type=hba", "client_tls_sslmode=yes",
          "client_tls_sslmode=require", "server_tls_sslmode=yes",
          "server_tls_sslmode=require\nserver_tls_protocols=sslv3"}) {
        EXPECT_EQ(error_with(line).file, "p.ini") << line;
        EXPECT_GE(error_with(line).line, 5) << line;
    }
    EXPECT_THROW(with_database("port=x"), config_error);
    EXPECT_THROW(from("[databases]\npgbouncer = host=db"), config_error);
}

TEST(pgbouncer_import, settings_without_a_place_are_listed_unless_default) {
    const auto got = with(
        "logfile=/x\nso_reuseport=1\nserver_fast_close=1\ndisable_pqexec=0\nnew_thing=1\n"
        "peer_id=2\nignore_startup_parameters=extra_float_digits\n[peers]\n1=host=x\n");
    EXPECT_TRUE(got.says(import_kind::needless, "p.ini:5: logfile"));
    EXPECT_TRUE(got.says(import_kind::needless, "so_reuseport"));
    EXPECT_TRUE(got.loses("server_fast_close"));
    EXPECT_TRUE(got.loses("new_thing"));
    EXPECT_TRUE(got.changes("peer_id"));
    EXPECT_TRUE(got.changes("[peers] 1"));
    EXPECT_TRUE(got.changes("ignore_startup_parameters"));
    for (const auto& note : got.made.notes)
        EXPECT_NE(note.what, "disable_pqexec");
    // The list is in the file, too.
    EXPECT_NE(got.made.yaml.find("# Does not come over:"), std::string::npos);
    EXPECT_NE(got.made.yaml.find("server_fast_close"), std::string::npos);
}

TEST(pgbouncer_import, addresses_and_sockets_become_listen) {
    const auto got = with("listen_addr=127.0.0.1, ::1\nlisten_port=7000\nunix_socket_dir=/run/x\n");
    ASSERT_EQ(got.pg().listen.size(), 3U);
    EXPECT_EQ(got.pg().listen[0].port, 7000);
    EXPECT_EQ(got.pg().listen[1].host, "::1");
    EXPECT_EQ(got.pg().listen[2].path, "/run/x");
    EXPECT_EQ(got.pg().listen[2].port, 7000);
    const auto any = with("listen_addr=*,127.0.0.1\nunix_socket_dir=\n");
    ASSERT_EQ(any.pg().listen.size(), 1U);
    EXPECT_EQ(any.pg().listen[0].host, "*");
    EXPECT_TRUE(with("unix_socket_dir=@x").loses("abstract"));
}

TEST(pgbouncer_import, verbose_logs_more) {
    EXPECT_EQ(with("verbose=1").settings.log.level, log_level::debug);
    EXPECT_EQ(with("verbose=0").settings.log.level, log_level::info);
}

TEST(pgbouncer_import, database_words_become_a_url_and_settings) {
    const auto got = with_database(
        "host=db.x port=5433 dbname='a b' user=u password='p''\\q' pool_size=3 min_pool_size=1 "
        "reserve_pool=2 max_db_connections=9 max_db_client_connections=8 server_lifetime=60 "
        "pool_mode=statement client_encoding=UTF8 datestyle='ISO, DMY' timezone=UTC");
    const auto& db = got.db();
    EXPECT_EQ(db.url,
              "host=db.x port=5433 dbname='a b' user=u password='p\\'\\\\q' client_encoding=UTF8 "
              "options='-c datestyle=ISO,\\\\ DMY -c timezone=UTC'");
    EXPECT_EQ(db.pool_size, 3U);
    EXPECT_EQ(db.min_pool_size, 1U);
    EXPECT_EQ(db.reserve_pool_size, 2U);
    EXPECT_EQ(db.max_db_connections, 9U);
    EXPECT_EQ(db.max_db_client_connections, 8U);
    EXPECT_EQ(db.server_lifetime, 60s);
    EXPECT_EQ(db.pool_mode, pool_mode::statement);
    EXPECT_TRUE(got.made.has_passwords);
}

TEST(pgbouncer_import, database_without_words_is_on_the_socket_under_its_name) {
    EXPECT_EQ(with_database("").db().url, "host=/tmp port=5432 dbname=app");
    EXPECT_EQ(with_database("", "unix_socket_dir=/run/pg").db().url,
              "host=/run/pg port=5432 dbname=app");
    EXPECT_EQ(from("[databases]\n* = host=db").db("*").url, "host=db port=5432");
}

TEST(pgbouncer_import, last_database_of_a_name_holds) {
    EXPECT_EQ(with_database("host=one\napp = host=two").db().url, "host=two port=5432 dbname=app");
}

TEST(pgbouncer_import, dollars_stay_dollars) {
    EXPECT_EQ(with_database("host=db user=u password='${HOME}$$x$'").db().url,
              "host=db port=5432 dbname=app user=u password='${HOME}$$x$'");
    EXPECT_EQ(with("", "\"app\" \"a${b}$$$\"\n").pg().users->at("app").password, "a${b}$$$");
}

TEST(pgbouncer_import, forced_user_gets_its_password_of_auth_file) {
    EXPECT_EQ(with_database("host=db user=app").db().url,
              "host=db port=5432 dbname=app user=app password=pw");
    const auto hash =
        with_database("host=db user=app", "", "\"app\" \"md500112233445566778899aabbccddeeff\"\n");
    EXPECT_EQ(hash.db().url, "host=db port=5432 dbname=app user=app");
    EXPECT_TRUE(hash.loses("put the password itself into the url"));
}

TEST(pgbouncer_import, words_without_a_place_are_listed) {
    const auto got = with_database(
        "host=a,b connect_query='select 1' auth_query='x' auth_dbname=y load_balance_hosts=disable "
        "what=1");
    EXPECT_TRUE(got.loses("app: connect_query"));
    EXPECT_TRUE(got.loses("app: auth_query"));
    EXPECT_TRUE(got.loses("app: auth_dbname"));
    EXPECT_TRUE(got.loses("app: what"));
    EXPECT_TRUE(got.changes("app: host"));
    EXPECT_FALSE(got.changes("load_balance_hosts"));
}

TEST(pgbouncer_import, minimum_is_never_above_the_size) {
    EXPECT_EQ(with_database("pool_size=2 min_pool_size=5").db().min_pool_size, 2U);
    EXPECT_EQ(with_database("pool_size=2", "min_pool_size=5").db().min_pool_size, 2U);
}

TEST(pgbouncer_import, tls_towards_servers_goes_into_the_url) {
    const auto url = [](const std::string& lines) {
        return with_database("host=db", lines).db().url;
    };
    const std::string base = "host=db port=5432 dbname=app";
    EXPECT_EQ(url(""), base);  // prefer is everybody's default
    EXPECT_EQ(url("server_tls_sslmode=disable\nserver_tls_ca_file=/ca"), base + " sslmode=disable");
    EXPECT_EQ(url("server_tls_sslmode=require\nserver_tls_ca_file=/ca"), base + " sslmode=require");
    EXPECT_EQ(url("server_tls_sslmode=verify-full\nserver_tls_ca_file=/ca\n"
                  "server_tls_cert_file=/crt\nserver_tls_key_file=/key"),
              base + " sslmode=verify-full sslrootcert=/ca sslcert=/crt sslkey=/key");
    EXPECT_EQ(url("server_tls_sslmode=verify-ca"),
              base + " sslmode=verify-ca sslrootcert=/etc/ssl/certs/ca-certificates.crt");
    EXPECT_EQ(url("server_tls_sslmode=require\nserver_tls_protocols=tlsv1.2"),
              base +
                  " sslmode=require ssl_min_protocol_version=TLSv1.2 "
                  "ssl_max_protocol_version=TLSv1.2");
    EXPECT_EQ(url("server_tls_sslmode=require\nserver_tls_protocols=all"),
              base + " sslmode=require ssl_min_protocol_version=TLSv1");
    EXPECT_EQ(with_database("host=/run/pg", "server_tls_sslmode=require").db().url,
              "host=/run/pg port=5432 dbname=app");
}

TEST(pgbouncer_import, tls_towards_clients_becomes_postgres_tls) {
    const std::string files = "client_tls_key_file=/k\nclient_tls_cert_file=/c\n";
    const auto mode = [&](const std::string& theirs) {
        return with(files + "client_tls_ca_file=/ca\nclient_tls_sslmode=" + theirs).pg().tls.mode;
    };
    EXPECT_EQ(mode("disable"), tls_mode::disable);
    EXPECT_EQ(mode("allow"), tls_mode::allow);
    EXPECT_EQ(mode("prefer"), tls_mode::allow);
    EXPECT_EQ(mode("require"), tls_mode::require);
    EXPECT_EQ(mode("verify-ca"), tls_mode::verify_ca);
    EXPECT_EQ(mode("verify-full"), tls_mode::verify_ca);  // sluice's verify-full is stricter
    const auto got = with(files + "client_tls_sslmode=require\nclient_tls_protocols=all");
    EXPECT_EQ(got.pg().tls.certificate, "/c");
    EXPECT_EQ(got.pg().tls.key, "/k");
    EXPECT_TRUE(got.loses("client_tls_protocols"));
}

TEST(pgbouncer_import, auth_types_map_to_the_nearest) {
    const auto type = [](const std::string& theirs) {
        return with("auth_type=" + theirs).pg().auth_type;
    };
    EXPECT_EQ(type("md5"), auth_type::scram_sha_256);
    EXPECT_EQ(type("scram-sha-256"), auth_type::scram_sha_256);
    EXPECT_EQ(type("plain"), auth_type::cleartext);
    EXPECT_EQ(type("trust"), auth_type::trust);
    EXPECT_EQ(type("any"), auth_type::trust);
    EXPECT_EQ(type("pam"), auth_type::scram_sha_256);
    EXPECT_EQ(type("cert"), auth_type::scram_sha_256);  // without TLS there are no certificates
    EXPECT_TRUE(with("auth_type=pam").loses("pam is not there"));
    EXPECT_TRUE(with("auth_type=cert").loses("cert needs"));
    EXPECT_EQ(with("auth_type=cert\nclient_tls_key_file=/k\nclient_tls_cert_file=/c\n"
                   "client_tls_ca_file=/ca\nclient_tls_sslmode=verify-full")
                  .pg()
                  .auth_type,
              auth_type::cert);
}

TEST(pgbouncer_import, users_come_with_what_can_be_used) {
    const auto got = with(
        "[users]\napp = pool_mode=transaction max_user_connections=5 query_timeout=2\n"
        "ghost = pool_size=3\n",
        "\"app\" \"pw\"\n\"hash\" \"md500112233445566778899aabbccddeeff\"\n"
        "\"empty\" \"\"\n\"scram\" \"" +
            std::string(verifier) +
            "\"\n"
            "\"torn\" \"SCRAM-SHA-256$1:x\"\n");
    const auto& users = *got.pg().users;
    ASSERT_EQ(users.size(), 2U);
    EXPECT_EQ(users.at("app").password, "pw");
    EXPECT_EQ(users.at("app").pool_mode, pool_mode::transaction);
    EXPECT_EQ(users.at("app").max_user_connections, 5U);
    EXPECT_EQ(users.at("app").query_timeout, 2s);
    EXPECT_EQ(users.at("scram").password, verifier);
    EXPECT_TRUE(got.loses("users.txt:2: user \"hash\": has an MD5 hash"));
    EXPECT_TRUE(got.loses("users.txt:3: user \"empty\""));
    EXPECT_TRUE(got.loses("users.txt:4: user \"scram\""));  // cannot log in upstream
    EXPECT_TRUE(got.loses("users.txt:5: user \"torn\""));
    EXPECT_TRUE(got.loses("user \"ghost\": is not in auth_file"));
    EXPECT_NE(got.made.yaml.find("# ghost:"), std::string::npos);
}

TEST(pgbouncer_import, verifier_is_enough_where_the_url_logs_in) {
    EXPECT_FALSE(with_database("host=db user=app password=x", "",
                               "\"scram\" \"" + std::string(verifier) + "\"\n")
                     .loses("scram"));
}

TEST(pgbouncer_import, trust_keeps_passwords_for_the_server) {
    const auto got = with("auth_type=trust", "\"app\" \"pw\"\n\"empty\" \"\"\n");
    ASSERT_EQ(got.pg().users->size(), 1U);
    EXPECT_EQ(got.pg().users->at("app").password, "pw");
}

TEST(pgbouncer_import, auth_query_becomes_passthrough_where_passwords_are_safe) {
    EXPECT_EQ(with("auth_user=look\nlisten_addr=127.0.0.1").pg().auth_type, auth_type::passthrough);
    EXPECT_EQ(with_database("auth_user=look").pg().auth_type, auth_type::passthrough);
    const auto open = with("auth_user=look\nlisten_addr=*");
    EXPECT_EQ(open.pg().auth_type, auth_type::scram_sha_256);
    EXPECT_TRUE(open.loses("auth_user, auth_query"));
    const auto tls = with(
        "auth_user=look\nlisten_addr=*\nclient_tls_sslmode=require\n"
        "client_tls_key_file=/k\nclient_tls_cert_file=/c");
    EXPECT_EQ(tls.pg().auth_type, auth_type::passthrough);
    EXPECT_TRUE(tls.changes("passthrough"));
    EXPECT_TRUE(tls.pg().users->empty());
    EXPECT_FALSE(tls.made.has_passwords);
}

TEST(pgbouncer_import, admins_without_a_password_are_noted) {
    const auto got = with("admin_users = app, boss\nstats_users=app");
    EXPECT_EQ(got.pg().admin_users, (std::vector<std::string>{"app", "boss"}));
    EXPECT_EQ(got.pg().stats_users, (std::vector<std::string>{"app"}));
    EXPECT_TRUE(got.loses("admin_users: \"boss\""));
    EXPECT_FALSE(got.loses("admin_users: \"app\""));
}

TEST(pgbouncer_import, hba_decides_where_and_how) {
    const std::string lines =
        "auth_type=hba\nauth_hba_file=hba\nlisten_addr=*\nunix_socket_dir=/run/x\n";
    const std::string users = "\"app\" \"pw\"\n";
    const auto local = with(lines, users, "local all all trust");
    EXPECT_EQ(local.pg().auth_type, auth_type::trust);
    ASSERT_EQ(local.pg().listen.size(), 1U);  // no TCP: nobody was let in there
    EXPECT_EQ(local.pg().listen[0].path, "/run/x");
    const auto here = with(lines, users, "host all all 127.0.0.1/32 md5");
    ASSERT_EQ(here.pg().listen.size(), 1U);
    EXPECT_EQ(here.pg().listen[0].host, "127.0.0.1");
    EXPECT_TRUE(here.changes("no unix socket"));
    const auto tls = with(lines +
                              "client_tls_sslmode=allow\nclient_tls_key_file=/k\n"
                              "client_tls_cert_file=/c\n",
                          users, "hostssl all all 0.0.0.0/0 md5");
    EXPECT_EQ(tls.pg().tls.mode, tls_mode::require);
    // Without TLS nobody got in by a hostssl line.
    const auto never = with(lines, users, "hostssl all all 0.0.0.0/0 md5\nlocal all all md5");
    ASSERT_EQ(never.pg().listen.size(), 1U);
    EXPECT_EQ(never.pg().listen[0].path, "/run/x");
}

TEST(pgbouncer_import, strange_names_survive) {
    const auto got = from(
        "[databases]\n\"a: \"\"b\"\" #x\" = host=db\nyes = host=db\n007 = host=db\n"
        "[pgbouncer]\nauth_file=users.txt\n",
        "\"tr\xC3\xA9s: #1\" \"a\\\"\"b\t'\"\n\"null\" \"true\"\n");
    EXPECT_EQ(got.pg().databases.size(), 3U);
    EXPECT_EQ(got.db("a: \"b\" #x").url, "host=db port=5432 dbname='a: \"b\" #x'");
    EXPECT_EQ(got.pg().users->at("tr\xC3\xA9s: #1").password, "a\\\"b\t'");
    EXPECT_EQ(got.pg().users->at("null").password, "true");
}

}  // namespace
}  // namespace sluice::config
