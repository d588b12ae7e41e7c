// What the monitoring port answers to whom: paths, who may see them, and the headers of every
// response. No I/O; on the main thread, like the source that it asks.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>
#include <string_view>

#include "daemon/http/access.hpp"

namespace sluice::daemon {

class monitoring_source;

struct page {
    boost::beast::http::status status = boost::beast::http::status::ok;
    std::string_view type = "text/plain; charset=utf-8";
    std::string text;
    std::string_view policy = "default-src 'none'; frame-ancestors 'none'";
    // Of a 401: what to log in with.
    bool asks_for_token = false;
    bool asks_for_password = false;
};

// Who asks.
struct visitor {
    access_answer access = access_answer::open;
    bool has_certificate = false;  // of an authority that the configuration names
    bool is_local = false;         // comes over loopback, to a name that means loopback
    bool is_script = false;        // the dashboard's own, which asks for credentials itself
};

[[nodiscard]] page page_for(std::string_view target, const visitor& who,
                            const monitoring_access& access, monitoring_source& source);

// Whether a Host header names this machine by address or as localhost: a page of elsewhere whose
// name was made to mean 127.0.0.1 names itself.
[[nodiscard]] bool is_local_host(std::string_view host);

enum class after_reply { keep_alive, close };

using monitoring_response = boost::beast::http::response<boost::beast::http::string_body>;

[[nodiscard]] monitoring_response make_response(page content, unsigned version,
                                                boost::beast::http::verb method, after_reply after);

}  // namespace sluice::daemon
