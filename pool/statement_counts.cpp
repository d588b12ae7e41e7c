#include "pool/statement_counts.hpp"

#include <algorithm>
#include <tuple>

#include "protocol/statement_shape.hpp"
#include "protocol/statement_text.hpp"

namespace sluice::pool {

namespace {

// Ticks for which a statement that has not ended yet keeps its place.
constexpr std::uint32_t patience = 3000;

constexpr std::uint64_t seed_of(std::uint32_t scope) noexcept {
    return (std::uint64_t{scope} + 1) * 0xC2B2AE3D27D4EB4FU;
}

}  // namespace

statement_counts::statement_counts(top_statements& whole)
    : whole_(whole), slots_(buckets * ways), known_(remembered) {}

// `text` makes a copy of what is to be read; only for a shape that is new here.
template <class Text>
statement_counts::handle statement_counts::find_shape(std::uint64_t shape, std::uint32_t scope,
                                                      std::size_t size, Text&& text) {
    auto* const bucket = &slots_[(shape % buckets) * ways];
    for (std::size_t i = 0; i < ways; ++i) {
        if (bucket[i].shape != shape) continue;
        bucket[i].used = tick_;
        return handle_of(static_cast<std::uint32_t>(&bucket[i] - slots_.data()));
    }
    if (fresh_.size() >= most_fresh || fresh_bytes_ + size > most_fresh_bytes) return 0;
    auto* const found = room_in(bucket);
    if (found == nullptr) return 0;
    free(*found);
    found->shape = shape;
    found->scope = scope;
    found->used = tick_;
    const auto at = static_cast<std::uint32_t>(found - slots_.data());
    fresh_.push_back({at, text()});
    fresh_bytes_ += size;
    return handle_of(at);
}

statement_counts::handle statement_counts::find(std::string_view sql, bool standard_strings,
                                                std::uint32_t scope) {
    if (sql.size() > protocol::longest_statement) return find_unread(sql, scope);
    const auto seed = seed_of(scope) + (standard_strings ? 0U : 1U);
    const auto exact = protocol::exact_statement(sql, seed);
    auto& known = known_[exact % remembered];
    if (known.exact == exact && is_current(known.text)) {
        slots_[index_of(known.text)].used = tick_;
        return known.text;
    }
    const auto shape = protocol::statement_shape(sql, standard_strings, seed);
    const auto found = find_shape(shape, scope, sql.size(), [&]() -> statement_text {
        // The grammar takes a backslash for itself: it would misread where strings end.
        if (!standard_strings && sql.find('\\') != std::string_view::npos) {
            return {protocol::unparsed_statement(sql), true};
        }
        return {std::string(sql), false};
    });
    known = {exact, found};
    return found;
}

statement_counts::handle statement_counts::find_unread(std::string_view beginning,
                                                       std::uint32_t scope) {
    auto shown = protocol::unparsed_statement(beginning.substr(0, 256));
    const auto shape = protocol::statement_shape(shown, true, ~seed_of(scope));
    return find_shape(shape, scope, shown.size(), [&] {
        return statement_text{std::move(shown), true};
    });
}

// A free slot, or the one that will be missed least: not one with something to flush, or whose
// statement runs.
statement_counts::slot* statement_counts::room_in(slot* bucket) const noexcept {
    slot* out = nullptr;
    for (auto* one = bucket; one != bucket + ways; ++one) {
        if (one->shape == 0) return one;
        const auto idle = tick_ - one->used;
        if (one->sums.calls != 0 || idle == 0 || (one->seen == 0 && idle < patience)) continue;
        if (out == nullptr || std::tie(one->seen, one->used) < std::tie(out->seen, out->used)) {
            out = one;
        }
    }
    return out;
}

void statement_counts::free(slot& one) noexcept {
    const auto generation = static_cast<std::uint16_t>(one.generation + 1);
    one = {};
    one.generation = generation;
}

void statement_counts::add(handle text, std::uint32_t scope, const statement_sums& sums) {
    if (is_current(text)) [[likely]] {
        auto& one = slots_[index_of(text)];
        if (one.sums.calls == 0) changed_.push_back(index_of(text));
        one.sums.add(sums);
        if (one.seen < 3) ++one.seen;
        return;
    }
    if (scope >= others_.size()) others_.resize(scope + 1);
    if (others_[scope].calls == 0) changed_others_.push_back(scope);
    others_[scope].add(sums);
}

bool statement_counts::flush(std::chrono::steady_clock::time_point now) {
    ++tick_;
    if (changed_.empty() && changed_others_.empty() && fresh_.empty()) return true;
    const auto turn = whole_.try_merge(now);
    if (!turn.has_value()) return false;
    for (auto& one : fresh_) {
        auto& at = slots_[one.at];
        if (!whole_.introduce(at.shape, at.scope, std::move(one.text))) {
            add(0, at.scope, at.sums);
            free(at);
        }
    }
    for (const auto at : changed_) {
        auto& one = slots_[at];
        if (one.sums.calls == 0) continue;
        if (whole_.merge(one.shape, one.sums)) {
            one.sums = {};
        } else {  // forgotten there: its text is wanted again
            add(0, one.scope, one.sums);
            free(one);
        }
    }
    for (const auto scope : changed_others_) {
        whole_.merge_other(scope, others_[scope]);
        others_[scope] = {};
    }
    fresh_.clear();
    fresh_bytes_ = 0;
    changed_.clear();
    changed_others_.clear();
    return true;
}

}  // namespace sluice::pool
