// What this machine has for sluice: descriptors, certificates, free ports.
#include <netdb.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "config/address.hpp"
#include "daemon/doctor.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/tls_context.hpp"

namespace sluice::daemon {

namespace {

// Files, event loops, listeners, logins under way.
constexpr std::uint64_t spare_descriptors = 200;

void examine_certificate(const std::string& what, const config::tls_settings& tls,
                         doctor_report& report) {
    if (tls.mode == config::tls_mode::disable) return;
    try {
        (void)net::tls_context(tls);
    } catch (const std::exception& error) {
        report.fail(what, error.what(), "TLS clients cannot be served without it");
        return;
    }
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        std::fopen(tls.certificate.c_str(), "re"), &std::fclose);
    if (file == nullptr) return;
    const std::unique_ptr<X509, void (*)(X509*)> leaf(
        PEM_read_X509(file.get(), nullptr, nullptr, nullptr), &X509_free);
    int days = 0;
    int seconds = 0;
    if (leaf == nullptr ||
        ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(leaf.get())) != 1) {
        return report.warn(what, tls.certificate + " does not say when it ends", {});
    }
    const auto left = days * 86400LL + seconds;
    const auto in_days = std::to_string(std::abs(days)) + " days";
    switch (judge_expiry(left)) {
        case expiry::over:
            return report.fail(what, tls.certificate + " ended " + in_days + " ago",
                               "Renew it, then reload sluice");
        case expiry::soon:
            return report.warn(what, tls.certificate + " ends in " + in_days,
                               "Renew it, then reload sluice");
        case expiry::fine:
            return report.ok(what, tls.certificate + " ends in " + in_days);
    }
}

struct descriptor {
    int number = -1;
    ~descriptor() {
        if (number >= 0) close(number);
    }
};

bool connects(int to, const sockaddr* address, socklen_t size) {
    const timeval patience{1, 0};
    setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(to, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return connect(to, address, size) == 0;
}

// Sends a question; gives the first bytes of the answer, empty if none comes.
std::string answer_at(const config::listen_address& at, const std::string& question,
                      std::size_t most) {
    descriptor connection;
    bool there = false;
    if (at.type == config::listen_address::kind::unix_socket) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const auto path = at.path + "/.s.PGSQL." + std::to_string(at.port);
        if (path.size() >= sizeof address.sun_path) return {};
        path.copy(address.sun_path, path.size());
        connection.number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        there = connects(connection.number, reinterpret_cast<const sockaddr*>(&address),
                         sizeof address);
    } else {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        const auto host = at.host == "*" || at.host == "0.0.0.0" ? "127.0.0.1"
                          : at.host == "::"                      ? "::1"
                                                                 : at.host;
        if (getaddrinfo(host.c_str(), std::to_string(at.port).c_str(), &hints, &found) != 0)
            return {};
        connection.number = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        there = connects(connection.number, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
    }
    if (!there) return {};
    if (send(connection.number, question.data(), question.size(), MSG_NOSIGNAL) < 0) return {};
    std::string out;
    std::array<char, 4096> part{};
    while (out.size() < most) {
        const auto n = recv(connection.number, part.data(), part.size(), 0);
        if (n <= 0) break;
        out.append(part.data(), static_cast<std::size_t>(n));
    }
    return out;
}

enum class port { postgres, key_value, monitoring };

// What a program on the port says to what the port is for.
std::string who_is_at(const config::listen_address& at, port kind) {
    switch (kind) {
        case port::postgres: {  // SSLRequest
            const auto said = answer_at(at, {"\0\0\0\10\4\322\26\57", 8}, 1);
            return !said.empty() && (said[0] == 'S' || said[0] == 'N')
                       ? "a Postgres server or pooler"
                       : "";
        }
        case port::key_value: {
            const auto said = answer_at(at, "PING\r\n", 1);
            return !said.empty() && (said[0] == '+' || said[0] == '-') ? "a Redis server or sluice"
                                                                       : "";
        }
        case port::monitoring: {
            const auto said = answer_at(
                at, "GET /metrics HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                1 << 20);
            if (said.find("sluice_") != std::string::npos) return "a sluice";
            return said.starts_with("HTTP/") ? "a web server" : "";
        }
    }
    return {};
}

bool examine_address(const char* what, const config::listen_address& at, port kind, bool is_running,
                     doctor_report& report) {
    const auto shown = config::show_address(at);
    const auto who = who_is_at(at, kind);
    if (!who.empty()) {
        const bool ours = is_running || who == "a sluice";
        if (ours) {
            report.ok(what, shown + ": a running sluice answers");
        } else {
            report.fail(what, shown + " is taken by " + who,
                        "Stop it or choose another port; `ss -ltnp` shows whose it is");
        }
        return ours;
    }
    if (at.type == config::listen_address::kind::unix_socket) {  // nothing is made there
        if (access(at.path.c_str(), W_OK | X_OK) == 0) {
            report.ok(what, shown + " is free");
        } else {
            report.fail(what, shown + ": no socket can be made in that directory",
                        "Make it, and give it to the user that sluice runs as");
        }
        return false;
    }
    try {
        for (const auto& bound : net::bind_all(at, 1))
            close(bound.descriptor);
        report.ok(what, shown + " is free");
    } catch (const std::exception& error) {
        report.fail(what, error.what(),
                    "`ss -ltnp` shows who has port " + std::to_string(at.port) +
                        "; below 1024 sluice needs CAP_NET_BIND_SERVICE");
    }
    return false;
}

}  // namespace

void examine_descriptors(const directory& from, doctor_report& report) {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    std::uint64_t servers = 0;
    for (const auto& [name, target] : from.databases())
        servers += demand_of(from, target).connections;
    const auto& settings = from.settings();
    const std::uint64_t clients = settings.postgres.max_client_conn;
    const std::uint64_t kv = settings.kv.listen.empty() ? 0 : settings.kv.maxclients;
    const auto wanted = clients + servers + kv + spare_descriptors;
    const auto found = "at most " + std::to_string(limit.rlim_max) +
                       " (hard limit of this shell), " + std::to_string(wanted) +
                       " wanted: " + std::to_string(clients) + " clients, " +
                       std::to_string(servers) + " server connections, " + std::to_string(kv) +
                       " key-value clients, " + std::to_string(spare_descriptors) + " for itself";
    if (limit.rlim_max < wanted) {
        report.warn("descriptors", found,
                    "Raise LimitNOFILE of the unit (or `ulimit -Hn`), or lower max_client_conn");
    } else {
        report.ok("descriptors", found);
    }
}

void examine_certificates(const config::settings& settings, doctor_report& report) {
    examine_certificate("postgres.tls", settings.postgres.tls, report);
    examine_certificate("kv.tls", settings.kv.tls, report);
    examine_certificate("monitoring.tls", settings.monitoring.tls, report);
}

bool examine_listeners(const config::settings& settings, bool is_running, doctor_report& report) {
    // Only the monitoring port says who it is: it goes first.
    for (const auto& at : settings.monitoring.listen) {
        if (examine_address("monitoring port", at, port::monitoring, is_running, report)) {
            is_running = true;
        }
    }
    for (const auto& at : settings.postgres.listen)
        (void)examine_address("postgres port", at, port::postgres, is_running, report);
    for (const auto& at : settings.kv.listen)
        (void)examine_address("key-value port", at, port::key_value, is_running, report);
    return is_running;
}

}  // namespace sluice::daemon
