#include "daemon/http/pages.hpp"

#include <algorithm>
#include <array>
#include <boost/beast/http/field.hpp>
#include <charconv>
#include <cmath>
#include <utility>

#include "daemon/http/dashboard/page.hpp"
#include "daemon/http/monitoring.hpp"

namespace sluice::daemon {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::string_view plain_text = "text/plain; charset=utf-8";
constexpr std::string_view metrics_text = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view html = "text/html; charset=utf-8";
constexpr std::string_view json = "application/json";

beast::string_view text_of(std::string_view text) {
    return {text.data(), text.size()};
}

// The number behind `name=` in a query; 0 if there is none.
double number_in(std::string_view query, std::string_view name) {
    while (!query.empty()) {
        const auto end = std::min(query.find('&'), query.size());
        auto one = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        if (!one.starts_with(name) || one.substr(name.size(), 1) != "=") continue;
        one.remove_prefix(name.size() + 1);
        double value = 0;
        const auto [rest, error] = std::from_chars(one.data(), one.data() + one.size(), value);
        if (error == std::errc{} && std::isfinite(value)) return value;
    }
    return 0;
}

page denied(std::string_view path, const visitor& who, const monitoring_access& access) {
    page out;
    const bool to_script = path.starts_with("/api/");
    if (to_script) out.type = json;
    if (who.access == access_answer::too_many) {
        out.status = http::status::too_many_requests;
        out.text = to_script ? "{\"error\":\"too many wrong answers\"}\n"
                             : "too many wrong answers: wait a minute\n";
        return out;
    }
    out.status = http::status::unauthorized;
    out.asks_for_token = access.takes_token();
    // A challenge would have the browser ask, in front of a page that asks already.
    out.asks_for_password = access.takes_passwords() && !who.is_script;
    if (!to_script) {
        out.text = "say who you are\n";
        return out;
    }
    out.text = std::string("{\"error\":\"say who you are\",\"token\":") +
               (access.takes_token() ? "true" : "false") +
               ",\"password\":" + (access.takes_passwords() ? "true" : "false") + "}\n";
    return out;
}

page readiness_page(monitoring_source& source, bool may_see) {
    page out;
    auto state = source.readiness();
    out.text = "ready\n";
    if (state.ready) return out;
    out.status = http::status::service_unavailable;
    out.text = may_see ? std::move(state.why) + "\n" : "not ready\n";
    return out;
}

page front_page() {
    page out;
    out.type = html;
    out.text = dashboard_page::get().html;
    out.policy = dashboard_page::get().policy;
    return out;
}

}  // namespace

page page_for(std::string_view target, const visitor& who, const monitoring_access& access,
              monitoring_source& source) {
    const auto end = std::min(target.find('?'), target.size());
    const auto path = target.substr(0, end);
    const auto query = target.substr(std::min(end + 1, target.size()));
    const bool may_see = who.access == access_answer::open || who.access == access_answer::granted;
    page out;
    if (path == "/healthz") {
        out.text = "ok\n";
        return out;
    }
    if (path == "/readyz") return readiness_page(source, may_see);
    // The page itself holds no figures. With a token alone a browser could not get it otherwise.
    if (path == "/" && (may_see || access.takes_token())) return front_page();
    const bool is_known =
        path == "/" || path == "/metrics" || path == "/api/status" || path == "/api/history";
    if (!is_known) {
        out.status = http::status::not_found;
        out.text = "not found\n";
        return out;
    }
    if (!may_see) return denied(path, who, access);
    if (path == "/metrics") {
        out.type = metrics_text;
        out.text = source.render_metrics();
        return out;
    }
    out.type = json;
    if (path == "/api/history") {
        out.text = source.render_history(number_in(query, "since"));
        return out;
    }
    out.text = source.render_status(who.access == access_answer::granted || who.has_certificate ||
                                    who.is_local);
    return out;
}

bool is_local_host(std::string_view host) {
    if (host.starts_with('[')) return host.find(']') != std::string_view::npos;
    const auto colon = host.find(':');
    const auto name = host.substr(0, colon);
    if (name == "localhost") return true;
    return !name.empty() && name.find_first_not_of("0123456789.") == std::string_view::npos;
}

monitoring_response make_response(page content, unsigned version, http::verb method,
                                  after_reply after) {
    monitoring_response reply(content.status, version);
    reply.set(http::field::server, "sluice");
    reply.set(http::field::content_type, text_of(content.type));
    reply.set(http::field::cache_control, "no-store");
    reply.set("X-Content-Type-Options", "nosniff");
    reply.set("Referrer-Policy", "no-referrer");
    reply.set("Cross-Origin-Resource-Policy", "same-origin");
    reply.set("Content-Security-Policy", text_of(content.policy));
    if (content.status == http::status::method_not_allowed) {
        reply.set(http::field::allow, "GET, HEAD");
    }
    if (content.status == http::status::unauthorized) {
        if (content.asks_for_password) {
            reply.insert(http::field::www_authenticate, R"(Basic realm="sluice", charset="UTF-8")");
        }
        if (content.asks_for_token || !content.asks_for_password) {
            reply.insert(http::field::www_authenticate, R"(Bearer realm="sluice")");
        }
    }
    if (content.status == http::status::too_many_requests) {
        reply.set(http::field::retry_after, std::to_string(monitoring_access::window.count()));
    }
    reply.keep_alive(after == after_reply::keep_alive);
    reply.content_length(content.text.size());
    // To HEAD the length is told and the body is not sent.
    if (method != http::verb::head) reply.body() = std::move(content.text);
    return reply;
}

}  // namespace sluice::daemon
