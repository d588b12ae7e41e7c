// One project: a Redis database and a JSON file. Its data is changed only by apply(), which live
// commands and recovery share. Everything is guarded by `mutex`, unless it says otherwise; who
// locks several projects locks them in the order of their ids.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvstore/change.hpp"
#include "kvstore/expiry_queue.hpp"
#include "kvstore/table.hpp"

namespace sluice::kvstore {

class snapshot;

// What a client's WATCH leaves with a project.
struct watch {
    std::atomic<bool>* touched;  // the client's
    bool was_expired;            // already then: that it goes is no news
};

class project {
  public:
    explicit project(project_id id) noexcept : id_(id) {}
    ~project();
    project(const project&) = delete;
    project& operator=(const project&) = delete;

    enum class residence {
        absent,    // its data is in its file only
        loading,   // somebody reads the file
        resident,  // the data is here
        refused,   // its file cannot be used: why()
    };

    [[nodiscard]] project_id id() const noexcept { return id_; }  // any thread
    std::mutex mutex;

    // --- the data, while resident ---
    // Null when the key is not there or has expired. Valid until the next apply().
    [[nodiscard]] entry* find(std::string_view key, time_ms now) noexcept;
    // The same, as an access that OBJECT IDLETIME tells of.
    [[nodiscard]] entry* use(std::string_view key, time_ms now) noexcept;
    // Where a key is or would be: one look-up for a whole command. Until the next apply().
    struct place {
        std::uint32_t hash = 0;
        entry* found = nullptr;  // also when it has expired
        [[nodiscard]] entry* live(time_ms now) const noexcept {
            return found == nullptr || found->is_expired(now) ? nullptr : found;
        }
    };
    [[nodiscard]] place look_up(std::string_view key) noexcept;
    [[nodiscard]] std::size_t keys() const noexcept { return table_.size(); }
    // Bytes of keys and values: what the quotas count.
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    // An estimate of what it takes in memory.
    [[nodiscard]] std::uint64_t memory() const noexcept;
    [[nodiscard]] std::size_t expiring() const noexcept { return expiring_.size(); }
    [[nodiscard]] const expiry_queue& expiries() const noexcept { return expiring_; }
    [[nodiscard]] table& keys_table() noexcept { return table_; }  // to walk, not to change

    void apply(const change& what);
    // The same for a put, at the place of its key.
    void put(const change& what, const place& at);

    // --- what is safe where ---
    log_number last_change = 0;    // number of the last record that changes it
    log_number first_unsaved = 0;  // number of the first one that its file does not cover; 0: none
    log_number covered = 0;        // what its file covers
    time_ms created_ms = 0;
    time_ms updated_ms = 0;
    time_ms used_ms = 0;          // last command
    time_ms save_at = 0;          // due then; 0: not yet known
    time_ms save_earliest = 0;    // a project that takes long to save is not saved all the time
    time_ms retry_at = 0;         // refused: its file may be looked at again
    std::uint64_t accounted = 0;  // memory() as the sum of all has it
    std::atomic<time_ms> next_expiry{never};  // may be read without the lock
    [[nodiscard]] bool is_unsaved() const noexcept { return first_unsaved != 0; }
    void changed_by(log_number number, time_ms now) noexcept {
        last_change = number;
        updated_ms = now;
        if (created_ms == 0) created_ms = now;
        if (first_unsaved == 0) first_unsaved = number;
    }

    residence state = residence::absent;
    std::string why;                             // refused: a text for its clients
    std::vector<std::function<void()>> waiting;  // for the end of loading
    void make_resident(table&& keys, std::uint64_t bytes);
    void leave_memory() noexcept;

    // --- clients that watch keys ---
    void add_watch(std::string_view key, watch who);
    void remove_watch(std::string_view key, const std::atomic<bool>* who);
    [[nodiscard]] bool is_watched() const noexcept { return !watches_.empty(); }
    [[nodiscard]] bool is_watched_by(std::string_view key, const std::atomic<bool>* who) const;

  private:
    friend class snapshot;
    void splice(const change& what);
    void splice_copy(std::uint32_t hash, entry* old, const change& what);
    void erase(std::string_view key);
    void expire(const change& what);
    void rename(std::string_view from, std::string_view to);
    void clear();
    void remove(entry* which);
    // Puts `content` in the place of `old`, which may be null.
    void store(std::uint32_t hash, entry* old, const entry::content& content);
    void before_change(std::uint32_t hash);
    // A change is an access, by a command of now.
    [[nodiscard]] std::uint32_t used_s() const noexcept {
        return static_cast<std::uint32_t>(used_ms / 1000);
    }
    void touch(std::string_view key, bool is_gone);

    project_id id_;
    table table_;
    expiry_queue expiring_;
    std::uint64_t bytes_ = 0;
    snapshot* snapshot_ = nullptr;  // being taken
    std::unordered_multimap<std::string, watch> watches_;
};

}  // namespace sluice::kvstore
