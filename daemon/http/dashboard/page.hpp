// The dashboard's page: one document with its style and script inside, put together from the files
// of this folder (embedded by CMake), and the policy that lets a browser run these and nothing
// else. Immutable after first use; any thread.
#pragma once

#include <string>
#include <string_view>

namespace sluice::daemon {

struct dashboard_page {
    std::string html;
    std::string policy;  // Content-Security-Policy

    [[nodiscard]] static const dashboard_page& get();
};

// The files, as CMake embeds them.
namespace embedded {
extern const std::string_view page_html;
extern const std::string_view page_css;
extern const std::string_view page_js;  // all scripts, one behind the other
}  // namespace embedded

}  // namespace sluice::daemon
