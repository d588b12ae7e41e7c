#include "kvstore/lcs.hpp"

#include <algorithm>

namespace sluice::kvstore {

namespace {

constexpr std::uint64_t most_pairs = (std::uint64_t{512} << 20) / sizeof(std::uint32_t);

// For each pair of positions: whether the way back leads to the position before in a, rather than
// in b. Lengths are kept for one row only, along the shorter string.
class way_back {
  public:
    way_back(std::string_view a, std::string_view b, bool is_kept)
        : a_is_inner_(a.size() < b.size()),
          inner_(a_is_inner_ ? a : b),
          outer_(a_is_inner_ ? b : a),
          lengths_(inner_.size() + 1),
          leads_to_a_(is_kept ? inner_.size() * outer_.size() : 0) {
        for (std::size_t i = 0; i < outer_.size(); ++i) {
            if (is_kept) {
                fill_row<true>(i);
            } else {
                fill_row<false>(i);
            }
        }
    }
    [[nodiscard]] std::uint32_t length() const noexcept { return lengths_.back(); }
    [[nodiscard]] bool leads_to_a(std::size_t in_a, std::size_t in_b) const noexcept {
        const auto inner = a_is_inner_ ? in_a : in_b;
        const auto outer = a_is_inner_ ? in_b : in_a;
        return leads_to_a_[outer * inner_.size() + inner];
    }

  private:
    template <bool IsKept>
    void fill_row(std::size_t row) {
        const char byte = outer_[row];
        std::uint32_t diagonal = 0;
        std::uint32_t before = 0;  // in the inner string
        for (std::size_t i = 0; i < inner_.size(); ++i) {
            const auto above = lengths_[i + 1];  // before in the outer string
            const auto here = inner_[i] == byte ? diagonal + 1 : std::max(above, before);
            if constexpr (IsKept) {
                leads_to_a_[row * inner_.size() + i] =
                    a_is_inner_ ? before > above : above > before;
            }
            diagonal = above;
            before = here;
            lengths_[i + 1] = here;
        }
    }

    bool a_is_inner_;
    std::string_view inner_;
    std::string_view outer_;
    std::vector<std::uint32_t> lengths_;
    std::vector<bool> leads_to_a_;
};

}  // namespace

bool lcs_is_possible(std::size_t a_size, std::size_t b_size) noexcept {
    return a_size + 1 <= most_pairs && b_size + 1 <= most_pairs / (a_size + 1);
}

lcs_result longest_common(std::string_view a, std::string_view b, lcs_wants what) {
    const way_back table(a, b, what != lcs_wants::length);
    lcs_result out;
    out.length = table.length();
    if (what == lcs_wants::length) return out;
    if (what == lcs_wants::text) out.text.resize(out.length);
    auto left = out.length;
    auto at_a = a.size();  // behind the positions that are compared
    auto at_b = b.size();
    bool continues = false;  // what is the same here goes on in the last range
    while (at_a > 0 && at_b > 0) {
        if (a[at_a - 1] != b[at_b - 1]) {
            continues = false;
            --(table.leads_to_a(at_a - 1, at_b - 1) ? at_a : at_b);
            continue;
        }
        --at_a;
        --at_b;
        if (what == lcs_wants::text) {
            out.text[--left] = a[at_a];
        } else if (continues) {
            out.ranges.back().a_first = at_a;
            out.ranges.back().b_first = at_b;
        } else {
            out.ranges.push_back({at_a, at_a, at_b, at_b});
        }
        continues = true;
    }
    return out;
}

}  // namespace sluice::kvstore
