// The last commands that took long. Thread-safe. Arguments are kept as Redis keeps them: at most
// 32, each cut at 128 bytes; those of AUTH and HELLO never get here.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/change.hpp"

namespace sluice::kvstore {

class slowlog {
  public:
    struct item {
        std::uint64_t id = 0;
        std::int64_t seconds = 0;  // since 1970
        std::int64_t microseconds = 0;
        std::vector<std::string> args;
        std::string client;
        std::string client_name;
    };

    void configure(std::int64_t slower_than_us, std::uint32_t most);
    // Negative: nothing is slow.
    [[nodiscard]] std::int64_t slower_than_us() const noexcept {
        return slower_than_us_.load(std::memory_order_relaxed);
    }
    void add(time_ms now, std::int64_t microseconds, std::span<const std::string_view> args,
             std::string client, std::string client_name);
    [[nodiscard]] std::vector<item> newest(std::size_t most) const;
    [[nodiscard]] std::size_t size() const;
    void clear();

  private:
    std::atomic<std::int64_t> slower_than_us_{10000};
    mutable std::mutex mutex_;
    std::deque<item> items_;
    std::uint64_t next_id_ = 0;
    std::size_t most_ = 128;
};

}  // namespace sluice::kvstore
