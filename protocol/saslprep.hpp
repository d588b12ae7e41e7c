// Preparation of a password for SCRAM (RFC 4013), as far as PostgreSQL's outcome can be had without
// Unicode tables.
// Done: ASCII as it is; bytes that are not UTF-8 as they are; in UTF-8 the non-ASCII spaces become
// a space, the "commonly mapped to nothing" are dropped, and a result that is empty or holds a
// prohibited character gives way to the bytes as they are.
// Not done: NFKC (a password that is not in that form, such as one with a combining accent, a
// ligature or full-width letters, needs a verifier made by PostgreSQL), unassigned code points,
// bidi.
#pragma once

#include <string>
#include <string_view>

namespace sluice::protocol {

[[nodiscard]] std::string saslprep(std::string_view password);

}  // namespace sluice::protocol
