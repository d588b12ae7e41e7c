#include "config/address.hpp"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>

#include "config/error.hpp"
#include "config/units.hpp"

namespace sluice::config {

namespace {

constexpr std::string_view unix_prefix = "unix:";

bool only(std::string_view text, std::string_view allowed) {
    return text.find_first_not_of(allowed) == std::string_view::npos;
}

bool is_address_of(int family, std::string_view text) {
    in6_addr address{};  // large enough for both families
    return inet_pton(family, std::string(text).c_str(), &address) == 1;
}

bool is_host(std::string_view text) {
    constexpr std::string_view letters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
    if (text == "*") return true;
    if (text.empty() || text.size() > 253) return false;
    // 127.1 or 300.1.1.1 would otherwise be taken for a name and looked up.
    if (only(text, "0123456789.")) return is_address_of(AF_INET, text);
    return only(text, letters) && text.front() != '-' && text.front() != '.';
}

bool is_ipv6(std::string_view text) {
    const auto zone = text.find('%');  // fe80::1%eth0
    if (zone != std::string_view::npos && zone + 1 == text.size()) return false;
    return is_address_of(AF_INET6, text.substr(0, zone));
}

std::uint16_t parse_port(std::string_view text) {
    try {
        return static_cast<std::uint16_t>(parse_count(text, 1, 65535));
    } catch (const bad_value&) {
        throw bad_value(expected_address());
    }
}

listen_address parse_unix(std::string_view text) {
    listen_address out{listen_address::kind::unix_socket, {}, {}, default_postgres_port};
    const auto colon = text.rfind(':');
    if (colon != std::string_view::npos && text.find('/', colon) == std::string_view::npos) {
        out.port = parse_port(text.substr(colon + 1));
        text = text.substr(0, colon);
    }
    while (text.size() > 1 && text.back() == '/')
        text.remove_suffix(1);
    // libpq takes a host for a socket directory only when it begins with a slash.
    const auto full = std::string(text) + "/.s.PGSQL." + std::to_string(out.port);
    if (!text.starts_with('/') || full.size() >= sizeof(sockaddr_un::sun_path)) {
        throw bad_value(
            "unix: and an absolute directory of at most 90 bytes, e.g. unix:/run/sluice");
    }
    out.path = text;
    return out;
}

}  // namespace

std::string expected_address() {
    return "host:port with a port from 1 to 65535, e.g. 127.0.0.1:6432, [::1]:6432 or *:6432 (all "
           "addresses), or unix:/directory";
}

listen_address parse_address(std::string_view text) {
    if (text.starts_with(unix_prefix)) return parse_unix(text.substr(unix_prefix.size()));
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) throw bad_value(expected_address());
    auto host = text.substr(0, colon);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    if (bracketed ? !is_ipv6(host) : !is_host(host)) throw bad_value(expected_address());
    return {listen_address::kind::tcp, std::string(host), {}, parse_port(text.substr(colon + 1))};
}

std::string show_address(const listen_address& address) {
    const auto port = ":" + std::to_string(address.port);
    if (address.type == listen_address::kind::unix_socket) {
        return "unix:" + address.path + (address.port == default_postgres_port ? "" : port);
    }
    const bool ipv6 = address.host.find(':') != std::string::npos;
    return (ipv6 ? "[" + address.host + "]" : address.host) + port;
}

}  // namespace sluice::config
