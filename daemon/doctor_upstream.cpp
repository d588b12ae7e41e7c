// The databases: each is logged in to, step by step, and each server's limits are held against what
// the pools may ask of it.
#include <netdb.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <vector>

#include "daemon/doctor.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr auto patience_for_query = std::chrono::seconds(10);
constexpr double tolerated_clock_seconds = 2;
constexpr long oldest_maintained = 130000;  // server_version_num

bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> ends) {
    return std::any_of(ends.begin(), ends.end(), [&](auto end) { return text.ends_with(end); });
}

bool is_neon(std::string_view host) {
    return ends_with_any(host, {".neon.tech", ".neon.build"});
}

bool is_pooler(std::string_view host) {
    return host.substr(0, host.find('.')).ends_with("-pooler");
}

bool is_socket(std::string_view host) {
    return host.empty() || host.front() == '/' || host.front() == '@';
}

// What is asked of a server that answers.
constexpr const char* facts_sql =
    "select current_setting('server_version'), current_setting('server_version_num'),"
    " current_setting('max_connections'), current_setting('superuser_reserved_connections'),"
    " coalesce(current_setting('reserved_connections', true), '0'),"
    " (select count(*) from pg_catalog.pg_stat_activity"
    "  where pid <> pg_catalog.pg_backend_pid() and backend_type = 'client backend'),"
    " (select rolsuper from pg_catalog.pg_roles where rolname = current_user)";

struct server_facts {
    std::string version;
    long version_number = 0;
    long max_connections = 0;
    long reserved = 0;
    long in_use = 0;
    bool superuser = false;
};

// One server, whatever the databases of the configuration on it are.
struct server {
    std::vector<const database_target*> databases;
    std::optional<server_facts> facts;
    std::uint64_t demand = 0;
    bool is_bounded = true;
};

long number_of(const std::string& text) {
    long out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

struct examination {
    const directory& from;
    doctor_report& report;
    const database_target& target;
    std::string what;
    std::string place;  // host:port, or the socket's directory

    bool resolve();
    std::optional<pool::upstream_connection> log_in();
    void explain(const pool::login_failure& failure);
    std::optional<server_facts> ask_facts(const pool::upstream_connection& connection);
    void compare_clocks(const pool::upstream_connection& connection);
    void examine_certificate(const pool::upstream_connection& connection);
    void name_host();
};

std::string place_of(const pool::upstream_address& address) {
    const auto port = address.port.empty() ? "5432" : address.port;
    if (is_socket(address.host)) {
        return "socket " + (address.host.empty() ? "of libpq's default" : address.host) + " port " +
               port;
    }
    return address.host + ":" + port;
}

bool examination::resolve() {
    const auto& host = target.address.host;
    if (is_socket(host) || host.find(',') != std::string::npos) return true;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    hints.ai_flags = AI_NUMERICHOST;  // an address needs no DNS
    if (getaddrinfo(host.c_str(), nullptr, &hints, &found) == 0) {
        freeaddrinfo(found);
        return true;
    }
    hints.ai_flags = 0;
    const auto began = steady_clock::now();
    const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
    const auto took = steady_clock::now() - began;
    std::size_t count = 0;
    for (const auto* one = found; one != nullptr; one = one->ai_next)
        ++count;
    if (found != nullptr) freeaddrinfo(found);
    if (error != 0) {
        report.fail(what, "the name " + host + " is not resolved: " + gai_strerror(error),
                    "Check the host in the database's url, and /etc/resolv.conf");
        return false;
    }
    report.ok(what, "DNS: " + host + " is " + std::to_string(count) +
                        (count == 1 ? " address, " : " addresses, ") + milliseconds_text(took));
    return true;
}

void examination::name_host() {
    const auto& host = target.address.host;
    if (is_pooler(host)) {
        report.warn(
            what,
            std::string("the host is a pooler's") +
                (is_neon(host) ? " (Neon's -pooler endpoint)" : ""),
            "Use the direct host, without -pooler: one pooler is enough, and what a session "
            "holds works");
    } else if (is_neon(host)) {
        report.ok(what, "the host is a direct Neon endpoint");
    }
}

void examination::explain(const pool::login_failure& failure) {
    const auto found = failure.sqlstate + " " + failure.message;
    const auto& code = failure.sqlstate;
    std::string advice;
    if (code == "28P01" || code == "28000") {
        advice = "Check user and password of the database's url, and the server's pg_hba.conf";
    } else if (code == "3D000") {
        advice = "Check the database's name at the end of its url, or create it";
    } else if (code == "53300") {
        advice =
            "The server's connections are all taken: lower pool_size, or raise its "
            "max_connections";
    } else if (code == "57P03") {
        advice = "The server is starting or stopping: try again in a moment";
    } else if (code == "08006" || code == "08001") {
        advice =
            "Check that the server runs there, listens on that address, and that no firewall "
            "is between";
        if (failure.message.find("SSL") != std::string::npos ||
            failure.message.find("certificate") != std::string::npos) {
            advice = "Check sslmode and sslrootcert of the database's url";
        }
    } else {
        advice = "Try the same with psql";
    }
    report.fail(what, "login at " + place + " failed: " + found, advice);
}

std::optional<pool::upstream_connection> examination::log_in() {
    pool::login_times times;
    pool::login_order order;
    order.conninfo = target.settings.url;
    order.under = {{"application_name", "sluice doctor"}};
    if (target.address.database.empty()) order.over.emplace_back("dbname", target.name);
    const auto& users = from.postgres().users;
    if (target.address.user.empty() && users.has_value()) {
        // Any user whose password is known in plain.
        for (const auto& [name, user] : *users) {
            const auto* account = from.find_user(name);
            if (account == nullptr || account->password.empty()) continue;
            order.over.emplace_back("user", name);
            order.over.emplace_back("password", account->password);
            break;
        }
    }
    if (target.address.user.empty() && order.over.size() < 2) {
        report.warn(what, "its url names no user, and no user's password is known",
                    "Nothing more is looked at; try `psql` through sluice");
        return std::nullopt;
    }
    order.times = &times;
    const auto timeout = from.postgres().server_connect_timeout;
    const auto began = steady_clock::now();
    order.deadline = began + (timeout.count() == 0 ? config::milliseconds(60000) : timeout);
    auto result = pool::log_in(order);
    if (!result.connection.has_value()) {
        explain(result.failure);
        return std::nullopt;
    }
    std::string steps = is_socket(target.address.host) ? "socket " : "TCP ";
    steps += milliseconds_text(times.connected - times.resolved);
    auto last = times.connected;
    if (times.encrypted != steady_clock::time_point{}) {
        steps += std::string(", TLS ") + milliseconds_text(times.encrypted - last) + " (" +
                 SSL_get_version(static_cast<SSL*>(result.connection->ssl)) + ")";
        last = times.encrypted;
    } else if (!is_socket(target.address.host)) {
        steps += ", no TLS";
    }
    steps += ", login " + milliseconds_text(times.done - last);
    report.ok(what, place + ": " + steps);
    return std::move(result.connection);
}

std::optional<server_facts> examination::ask_facts(const pool::upstream_connection& connection) {
    const auto began = steady_clock::now();
    const auto row = pool::ask(connection, facts_sql, began + patience_for_query);
    const auto took = steady_clock::now() - began;
    if (!row.sqlstate.empty() || row.values.size() != 7) {
        report.warn(what,
                    "the server's settings cannot be read: " + row.sqlstate + " " + row.message,
                    "Its max_connections was not compared");
        return std::nullopt;
    }
    server_facts out;
    out.version = row.values[0];
    out.version_number = number_of(row.values[1]);
    out.max_connections = number_of(row.values[2]);
    out.reserved = number_of(row.values[3]) + number_of(row.values[4]);
    out.in_use = number_of(row.values[5]);
    out.superuser = row.values[6] == "t";
    const auto text = "PostgreSQL " + out.version + ", first query " + milliseconds_text(took);
    if (out.version_number < oldest_maintained) {
        report.warn(what, text,
                    "PostgreSQL " + out.version + " is no longer maintained: upgrade it");
    } else {
        report.ok(what, text);
    }
    return out;
}

void examination::compare_clocks(const pool::upstream_connection& connection) {
    const auto before = system_clock::now();
    const auto began = steady_clock::now();
    const auto row = pool::ask(connection, "select extract(epoch from clock_timestamp())::text",
                               began + patience_for_query);
    const auto trip = steady_clock::now() - began;
    if (!row.sqlstate.empty() || row.values.size() != 1) return;
    const auto here = std::chrono::duration<double>(before.time_since_epoch() + trip / 2).count();
    const auto there = std::strtod(row.values[0].c_str(), nullptr);
    const auto doubt = std::chrono::duration<double>(trip).count() / 2;
    const auto apart = there - here;
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.3f s %s this machine's", std::abs(apart),
                  apart < 0 ? "behind" : "ahead of");
    const auto found =
        "its clock is " + std::string(text.data()) + ", round trip " + milliseconds_text(trip);
    if (std::abs(apart) > tolerated_clock_seconds + doubt) {
        report.warn(what, found,
                    "Set the clocks by NTP: certificates and times in logs rely on them");
    } else {
        report.ok(what, found);
    }
}

void examination::examine_certificate(const pool::upstream_connection& connection) {
    if (connection.ssl == nullptr) return;
    auto* const peer = SSL_get1_peer_certificate(static_cast<SSL*>(connection.ssl));
    if (peer == nullptr) return;
    int days = 0;
    int seconds = 0;
    const bool known = ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(peer)) == 1;
    X509_free(peer);
    if (!known) return;
    const auto left = days * 86400LL + seconds;
    const auto found = "its certificate " + std::string(left <= 0 ? "ended " : "ends in ") +
                       std::to_string(std::abs(days)) + (left <= 0 ? " days ago" : " days");
    if (judge_expiry(left) == expiry::over) {
        report.warn(what, found,
                    "The server needs a new one; with sslmode=verify-full it is refused");
    } else {
        report.ok(what, found);
    }
}

void compare_limits(const std::string& place, const server& at, bool is_running,
                    doctor_report& report) {
    const auto& facts = *at.facts;
    const auto free_for_us = facts.max_connections - (facts.superuser ? 0 : facts.reserved);
    const auto what = "server " + place;
    const auto found = "max_connections " + std::to_string(facts.max_connections) + " (" +
                       std::to_string(facts.reserved) + " reserved), the pools may open " +
                       std::to_string(at.demand) + (at.is_bounded ? "" : " for each user or more") +
                       ", " + std::to_string(facts.in_use) + " are open now";
    const auto demand = static_cast<long>(std::min<std::uint64_t>(at.demand, 1000000000));
    if (demand > free_for_us) {
        report.fail(what, found,
                    "Lower pool_size or max_db_connections, or raise the server's "
                    "max_connections: clients would get \"too many clients\"");
    } else if (!is_running && demand + facts.in_use > free_for_us) {
        report.warn(
            what, found,
            "With what is open now they do not fit: lower pool_size, or let the others come "
            "through sluice, too");
    } else if (!at.is_bounded) {
        report.warn(what, found,
                    "Set max_db_connections, which bounds the pools of all users together");
    } else {
        report.ok(what, found);
    }
}

}  // namespace

void examine_upstreams(const directory& from, bool is_running, doctor_report& report) {
    std::map<std::string, server> servers;
    if (from.databases().empty()) {
        report.warn("databases", "none is configured", "Add one to postgres.databases");
    }
    for (const auto& [name, target] : from.databases()) {
        const auto what = "database " + name;
        // What stands behind the @ of a password would be taken for the host, and shown.
        if (target.address.host.find('@') != std::string::npos && !is_socket(target.address.host)) {
            report.fail(what, "its url has more than one @",
                        "In a password, @ is written %40, / is %2F and : is %3A");
            continue;
        }
        examination one{from, report, target, what, place_of(target.address)};
        auto& at = servers[one.place];
        const auto demand = demand_of(from, target);
        at.demand += demand.connections;
        at.is_bounded = at.is_bounded && demand.is_bounded;
        at.databases.push_back(&target);
        one.name_host();
        if (!one.resolve()) continue;
        if (name == "*" && target.address.database.empty()) {
            report.ok(what, "takes every name, so none is tried");
            continue;
        }
        const auto connection = one.log_in();
        if (!connection.has_value()) continue;
        auto facts = one.ask_facts(*connection);
        one.compare_clocks(*connection);
        one.examine_certificate(*connection);
        if (facts.has_value() && !is_pooler(target.address.host)) at.facts = std::move(facts);
    }
    for (const auto& [place, at] : servers) {
        if (at.facts.has_value()) compare_limits(place, at, is_running, report);
    }
}

}  // namespace sluice::daemon
