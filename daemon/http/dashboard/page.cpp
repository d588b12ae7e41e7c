#include "daemon/http/dashboard/page.hpp"

#include <cassert>
#include <cstdint>

#include "protocol/base64.hpp"
#include "protocol/scram_verifier.hpp"

namespace sluice::daemon {

namespace {

std::string hash_source(std::string_view text) {
    protocol::sha256_digest digest{};
    protocol::sha256({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, digest);
    return "'sha256-" + protocol::base64_encode(digest) + "'";
}

void put(std::string& page, std::string_view mark, std::string_view content) {
    const auto at = page.find(mark);
    assert(at != std::string::npos);
    page.replace(at, mark.size(), content);
}

dashboard_page make() {
    dashboard_page out;
    out.html = embedded::page_html;
    put(out.html, "/*style*/", embedded::page_css);
    put(out.html, "/*script*/", embedded::page_js);
    out.policy = "default-src 'none'; style-src " + hash_source(embedded::page_css) +
                 "; script-src " + hash_source(embedded::page_js) +
                 "; img-src data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
                 "frame-ancestors 'none'";
    return out;
}

}  // namespace

const dashboard_page& dashboard_page::get() {
    static const dashboard_page made = make();
    return made;
}

}  // namespace sluice::daemon
