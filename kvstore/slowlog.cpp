#include "kvstore/slowlog.hpp"

#include <algorithm>

namespace sluice::kvstore {

namespace {

constexpr std::size_t most_arguments = 32;
constexpr std::size_t longest_argument = 128;

}  // namespace

void slowlog::configure(std::int64_t slower_than_us, std::uint32_t most) {
    slower_than_us_.store(slower_than_us);
    const std::lock_guard lock(mutex_);
    most_ = most;
    if (items_.size() > most_) items_.resize(most_);
}

void slowlog::add(time_ms now, std::int64_t microseconds, std::span<const std::string_view> args,
                  std::string client, std::string client_name) {
    item fresh;
    fresh.seconds = now / 1000;
    fresh.microseconds = microseconds;
    const auto shown = args.size() > most_arguments ? most_arguments - 1 : args.size();
    for (const auto arg : args.first(shown)) {
        fresh.args.emplace_back(arg.substr(0, longest_argument));
        if (arg.size() > longest_argument) {
            fresh.args.back() +=
                "... (" + std::to_string(arg.size() - longest_argument) + " more bytes)";
        }
    }
    if (shown < args.size()) {
        fresh.args.push_back("... (" + std::to_string(args.size() - shown) + " more arguments)");
    }
    fresh.client = std::move(client);
    fresh.client_name = std::move(client_name);
    const std::lock_guard lock(mutex_);
    fresh.id = next_id_++;
    items_.push_front(std::move(fresh));
    if (items_.size() > most_) items_.pop_back();
}

std::vector<slowlog::item> slowlog::newest(std::size_t most) const {
    const std::lock_guard lock(mutex_);
    const auto count = std::min(most, items_.size());
    return {items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(count)};
}

std::size_t slowlog::size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
}

void slowlog::clear() {
    const std::lock_guard lock(mutex_);
    items_.clear();
}

}  // namespace sluice::kvstore
