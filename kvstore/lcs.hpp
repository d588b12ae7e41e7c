// The longest common subsequence of two strings, and where it lies in both: LCS. A table of both
// lengths is walked as redis-server 7.0 walks it, so that of several longest ones it is the same.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::kvstore {

enum class lcs_wants { length, text, ranges };

// A part that is the same in both; the last bytes are included.
struct lcs_range {
    std::size_t a_first = 0;
    std::size_t a_last = 0;
    std::size_t b_first = 0;
    std::size_t b_last = 0;

    bool operator==(const lcs_range&) const = default;
};

struct lcs_result {
    std::uint32_t length = 0;
    std::string text;               // if it is wanted
    std::vector<lcs_range> ranges;  // if they are wanted; the last one comes first
};

// Whether Redis would compare strings of these sizes: its table of four bytes for each pair of
// positions may have 512 MiB. Ours has a bit for each, 16 MiB.
[[nodiscard]] bool lcs_is_possible(std::size_t a_size, std::size_t b_size) noexcept;
// Only where it is possible.
[[nodiscard]] lcs_result longest_common(std::string_view a, std::string_view b, lcs_wants what);

}  // namespace sluice::kvstore
