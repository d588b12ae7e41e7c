// What other threads may see of clients, and do to them: CLIENT LIST, CLIENT KILL, MONITOR.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/change.hpp"

namespace sluice::kvstore {

struct client_card {
    std::uint64_t id = 0;
    std::string address;        // "127.0.0.1:53412", or the path of a unix socket
    std::string local_address;  // where it connected to
    int descriptor = -1;
    time_ms connected_ms = 0;

    std::atomic<time_ms> used_ms{0};
    std::atomic<const char*> last_command{"NULL"};  // a row's name
    std::atomic<project_id> selected{0};
    std::atomic<int> version{2};
    std::atomic<int> queued{-1};  // commands since MULTI; -1: none is open
    std::atomic<std::uint32_t> watching{0};
    std::atomic<bool> is_monitor{false};
    std::atomic<std::uint64_t> unsent{0};  // bytes of replies that it has not taken

    // Any thread; both may be called until the client has left, and then do nothing.
    std::function<void()> close;                 // ends it at the end of what it does
    std::function<void(std::string line)> push;  // bytes of no reply: MONITOR's lines

    mutable std::mutex mutex;  // of the texts
    std::string name;
    std::string library_name;
    std::string library_version;
    std::string user;
};

// Whether a name, also of its library, has only bytes that leave a line of CLIENT LIST readable.
[[nodiscard]] bool is_client_name(std::string_view text) noexcept;

class client_list {
  public:
    void add(std::shared_ptr<client_card> card);  // gives it its id, if it has none
    void remove(const client_card& card);
    [[nodiscard]] std::vector<std::shared_ptr<client_card>> all() const;  // by id
    [[nodiscard]] std::size_t size() const;

    [[nodiscard]] bool has_monitors() const noexcept {
        return monitors_.load(std::memory_order_relaxed) != 0;
    }
    void add_monitor(client_card& card);
    void remove_monitor(client_card& card);
    void feed_monitors(const std::string& line) const;

  private:
    mutable std::mutex mutex_;
    std::map<std::uint64_t, std::shared_ptr<client_card>> cards_;
    std::uint64_t last_id_ = 0;
    std::atomic<std::uint32_t> monitors_{0};
};

}  // namespace sluice::kvstore
