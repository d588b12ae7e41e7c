// When a listener's certificate ends. Any thread.
#pragma once

#include <optional>

#include "daemon/net/tls_context.hpp"

namespace sluice::net {

// Of the certificate that is shown to clients, not of those that vouch for it. Unix time in
// seconds; nothing if the certificate does not say it.
[[nodiscard]] std::optional<double> certificate_end(const tls_context& of);

}  // namespace sluice::net
