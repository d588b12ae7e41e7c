#include "pool/statements.hpp"

#include <algorithm>

namespace sluice::pool {

statement_ptr statement_table::find_or_add(std::string_view query, std::string_view types,
                                           const parameters& parsed_under) {
    const auto hash = text_hash{}(query)*31 + text_hash{}(types);
    const std::lock_guard lock(mutex_);
    const auto [first, last] = statements_.equal_range(hash);
    for (auto it = first; it != last; ++it) {
        auto known = it->second.lock();
        if (known && known->query == query && known->types == types &&
            known->parsed_under == parsed_under) {
            return known;
        }
    }
    if (statements_.size() >= purge_at_) {
        std::erase_if(statements_, [](const auto& item) { return item.second.expired(); });
        purge_at_ = std::max<std::size_t>(256, statements_.size() * 2);
    }
    auto added = std::make_shared<statement>();
    added->id = next_id_++;
    added->server_name = "sluice_" + std::to_string(added->id);
    added->query = query;
    added->types = types;
    added->parsed_under = parsed_under;
    statements_.emplace(hash, added);
    return added;
}

std::size_t statement_table::size() const {
    const std::lock_guard lock(mutex_);
    return statements_.size();
}

prepared_cache::state prepared_cache::use(std::uint64_t id, std::uint64_t batch) {
    const auto at = by_id_.find(id);
    if (at == by_id_.end()) return state::missing;
    used_.splice(used_.begin(), used_, at->second);
    if (at->second->stale) return state::stale;
    if (at->second->confirmed) return state::ready;
    return at->second->batch == batch ? state::sent : state::pending;
}

void prepared_cache::confirm(std::uint64_t id) {
    const auto at = by_id_.find(id);
    if (at != by_id_.end()) at->second->confirmed = true;
}

void prepared_cache::add(statement_ptr added, std::uint64_t batch) {
    const auto id = added->id;
    erase(id);
    used_.push_front({std::move(added), batch});
    by_id_.emplace(id, used_.begin());
}

void prepared_cache::erase(std::uint64_t id) {
    const auto at = by_id_.find(id);
    if (at == by_id_.end()) return;
    used_.erase(at->second);
    by_id_.erase(at);
}

void prepared_cache::mark_stale(std::uint64_t id) {
    const auto at = by_id_.find(id);
    if (at != by_id_.end()) at->second->stale = true;
}

void prepared_cache::clear() {
    used_.clear();
    by_id_.clear();
}

statement_ptr prepared_cache::find(std::uint64_t id) const {
    const auto at = by_id_.find(id);
    return at == by_id_.end() ? nullptr : at->second->what;
}

statement_ptr prepared_cache::evict(std::size_t limit) {
    if (by_id_.size() < limit || used_.empty()) return nullptr;
    auto out = std::move(used_.back().what);
    used_.pop_back();
    by_id_.erase(out->id);
    return out;
}

}  // namespace sluice::pool
