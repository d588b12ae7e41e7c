#include "pool/top_statements.hpp"

#include <algorithm>
#include <cmath>

#include "protocol/statement_text.hpp"

namespace sluice::pool {

namespace {

using std::chrono::microseconds;

constexpr double half_life_seconds = 600;
// So that two newcomers do not throw each other out before either has shown what it costs.
constexpr auto protected_for = std::chrono::seconds(10);

}  // namespace

void top_statements::set_limit(std::uint32_t entries) {
    const std::lock_guard lock(mutex_);
    if (entries < limit_.load(std::memory_order_relaxed)) forget();
    limit_.store(entries, std::memory_order_relaxed);
}

void top_statements::reset() {
    const std::lock_guard lock(mutex_);
    for (auto& one : entries_)
        one.sums = {};
    for (auto& [shape, one] : shapes_)
        one.sums = {};
    for (auto& scope : scopes_)
        scope.other = {};
}

void top_statements::forget() {
    ++edition_;
    entries_.clear();
    generations_.clear();
    by_text_.clear();
    shapes_.clear();
    waiting_.clear();
    for (auto& scope : scopes_)
        scope.other = {};
}

std::uint32_t top_statements::scope_of(const std::string& database, const std::string& user) {
    const std::lock_guard lock(mutex_);
    const auto next = static_cast<std::uint32_t>(scopes_.size());
    const auto [at, added] = scope_numbers_.try_emplace({database, user}, next);
    if (added) scopes_.push_back({database, user, {}});
    return at->second;
}

std::vector<statement_total> top_statements::top(std::size_t most) const {
    struct line {
        const scope_entry* scope;
        std::shared_ptr<const std::string> text;
        statement_sums sums;
    };
    std::vector<line> lines;
    {
        const std::lock_guard lock(mutex_);
        lines.reserve(entries_.size() + scopes_.size());
        for (const auto& one : entries_) {
            if (one.sums.calls != 0) lines.push_back({&scopes_[one.scope], one.text, one.sums});
        }
        for (const auto& scope : scopes_) {
            if (scope.other.calls != 0) lines.push_back({&scope, nullptr, scope.other});
        }
    }
    most = std::min(most, lines.size());
    std::partial_sort(
        lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(most), lines.end(),
        [](const line& a, const line& b) { return a.sums.total_ns > b.sums.total_ns; });
    std::vector<statement_total> out;
    out.reserve(most);
    for (std::size_t i = 0; i < most; ++i) {
        const auto& one = lines[i];
        out.push_back({one.scope->database, one.scope->user,
                       one.text == nullptr ? std::string(other_text) : *one.text, one.sums.calls,
                       one.sums.errors, microseconds(one.sums.total_ns / 1000),
                       microseconds(one.sums.slowest_ns / 1000)});
    }
    return out;
}

bool top_statements::wants_reader() {
    const turn lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || waiting_.empty() || reader_called_) return false;
    reader_called_ = true;
    return true;
}

void top_statements::read_texts() {
    for (;;) {
        waiting_text next;
        {
            const std::lock_guard lock(mutex_);
            if (waiting_.empty()) {
                reader_called_ = false;
                return;
            }
            next = std::move(waiting_.front());
            waiting_.pop_front();
        }
        auto text = next.text.is_shown
                        ? std::move(next.text.text)
                        : protocol::normalised_statement(next.text.text, longest_shown);
        const std::lock_guard lock(mutex_);
        if (next.edition == edition_) take_in(next, std::move(text));
    }
}

std::optional<top_statements::turn> top_statements::try_merge(time now) {
    turn lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return std::nullopt;
    now_ = std::max(now_, now);
    ++turns_;
    return lock;
}

bool top_statements::introduce(std::uint64_t shape, std::uint32_t scope, statement_text text) {
    if (!on()) return false;
    if (const auto at = shapes_.find(shape); at != shapes_.end()) {
        const auto& known = at->second;
        if (known.entry == unread || generations_[known.entry] == known.generation) return true;
        shapes_.erase(at);
    }
    if (waiting_.size() >= most_waiting) return false;
    if (shapes_.size() >= std::size_t{4} * limit_.load(std::memory_order_relaxed) + most_waiting) {
        drop_shapes();
    }
    auto& added = shapes_[shape];
    added.used = turns_;
    waiting_.push_back({shape, scope, edition_, std::move(text)});
    return true;
}

bool top_statements::merge(std::uint64_t shape, const statement_sums& sums) {
    const auto at = shapes_.find(shape);
    if (at == shapes_.end()) return false;
    auto& known = at->second;
    known.used = turns_;
    if (known.entry == unread) {
        known.sums.add(sums);
        return true;
    }
    if (generations_[known.entry] != known.generation) {
        shapes_.erase(at);
        return false;
    }
    add_to(entries_[known.entry], sums);
    return true;
}

void top_statements::merge_other(std::uint32_t scope, const statement_sums& sums) {
    if (on() && scope < scopes_.size()) scopes_[scope].other.add(sums);
}

double top_statements::recent_of(const entry& one) const noexcept {
    const std::chrono::duration<double> age = now_ - one.since;
    return one.recent * std::exp2(-age.count() / half_life_seconds);
}

void top_statements::add_to(entry& to, const statement_sums& sums) noexcept {
    to.sums.add(sums);
    to.recent = recent_of(to) + static_cast<double>(sums.total_ns);
    to.since = now_;
}

std::size_t top_statements::key_of(std::uint32_t scope, const std::string& text) noexcept {
    return std::hash<std::string>{}(text) ^ (std::size_t{scope} + 1) * 0x9E3779B97F4A7C15U;
}

// Half of what has been read goes, the least recently used: their texts are read again if they
// come.
void top_statements::drop_shapes() {
    std::vector<std::uint64_t> uses;
    for (const auto& [shape, one] : shapes_) {
        if (one.entry != unread) uses.push_back(one.used);
    }
    if (uses.empty()) return;
    const auto middle = uses.begin() + static_cast<std::ptrdiff_t>(uses.size() / 2);
    std::nth_element(uses.begin(), middle, uses.end());
    auto left = uses.size() / 2 + 1;
    boost::unordered::erase_if(shapes_, [&](const auto& item) {
        if (item.second.entry == unread || item.second.used > *middle || left == 0) return false;
        --left;
        return true;
    });
}

// The place of the entry that makes room; unread if that one is too young.
std::uint32_t top_statements::take_place() {
    auto least = unread;
    double cost = 0;
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
        const auto recent = recent_of(entries_[i]);
        if (least != unread && recent >= cost) continue;
        least = i;
        cost = recent;
    }
    if (least == unread || now_ - entries_[least].born < protected_for) return unread;
    auto& goes = entries_[least];
    scopes_[goes.scope].other.add(goes.sums);
    const auto at = by_text_.find(key_of(goes.scope, *goes.text));
    if (at != by_text_.end() && at->second == least) by_text_.erase(at);
    ++generations_[least];
    goes = {};
    return least;
}

std::uint32_t top_statements::entry_for(std::uint32_t scope, std::string text) {
    const auto key = key_of(scope, text);
    if (const auto at = by_text_.find(key); at != by_text_.end()) {
        const auto& one = entries_[at->second];
        if (one.scope == scope && *one.text == text) return at->second;
    }
    std::uint32_t at = 0;
    if (entries_.size() < limit_.load(std::memory_order_relaxed)) {
        at = static_cast<std::uint32_t>(entries_.size());
        entries_.emplace_back();
        generations_.push_back(0);
    } else {
        at = take_place();
        if (at == unread) return unread;
    }
    auto& made = entries_[at];
    made.scope = scope;
    made.text = std::make_shared<const std::string>(std::move(text));
    made.born = made.since = now_;
    by_text_[key] = at;
    return at;
}

void top_statements::take_in(const waiting_text& from, std::string text) {
    const auto at = shapes_.find(from.shape);
    if (at == shapes_.end()) return;
    const auto place = entry_for(from.scope, std::move(text));
    const auto sums = at->second.sums;
    if (place == unread) {
        scopes_[from.scope].other.add(sums);
        shapes_.erase(at);
        return;
    }
    at->second.entry = place;
    at->second.generation = generations_[place];
    at->second.sums = {};
    if (sums.calls != 0) add_to(entries_[place], sums);
}

}  // namespace sluice::pool
