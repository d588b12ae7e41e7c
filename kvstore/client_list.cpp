#include "kvstore/client_list.hpp"

#include <algorithm>

namespace sluice::kvstore {

bool is_client_name(std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
}

void client_list::add(std::shared_ptr<client_card> card) {
    const std::lock_guard lock(mutex_);
    // One that comes from another process keeps the id that it knows.
    if (card->id == 0 || cards_.contains(card->id)) card->id = last_id_ + 1;
    last_id_ = std::max(last_id_, card->id);
    cards_.emplace(card->id, std::move(card));
}

void client_list::remove(const client_card& card) {
    const std::lock_guard lock(mutex_);
    if (card.is_monitor.load()) monitors_.fetch_sub(1);
    cards_.erase(card.id);
}

std::vector<std::shared_ptr<client_card>> client_list::all() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<client_card>> out;
    out.reserve(cards_.size());
    for (const auto& [id, card] : cards_)
        out.push_back(card);
    return out;
}

std::size_t client_list::size() const {
    const std::lock_guard lock(mutex_);
    return cards_.size();
}

void client_list::add_monitor(client_card& card) {
    if (!card.is_monitor.exchange(true)) monitors_.fetch_add(1);
}

void client_list::remove_monitor(client_card& card) {
    if (card.is_monitor.exchange(false)) monitors_.fetch_sub(1);
}

void client_list::feed_monitors(const std::string& line) const {
    for (const auto& card : all()) {
        if (card->is_monitor.load() && card->push) card->push(line);
    }
}

}  // namespace sluice::kvstore
