// Redis's glob patterns over bytes: * ? [a-c] [^x] \c. Linear in pattern times text, whatever the
// stars (Redis's own matcher was once exponential). Two accidents of Redis are left out: there "**"
// does not match an empty text, and a range over bytes above 127 depends on the sign of char.
#pragma once

#include <string_view>

namespace sluice::kvstore {

[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view text) noexcept;

// What every match begins with, and whether that and a star are the whole pattern.
struct glob_prefix {
    std::string_view text;
    bool rest_is_star = false;
};
[[nodiscard]] glob_prefix literal_prefix(std::string_view pattern) noexcept;

}  // namespace sluice::kvstore
