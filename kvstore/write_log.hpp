// The write-ahead log while it runs: docs/kv-log.md. Commands reserve room and append from any
// thread; one writer thread, which the daemon owns, writes, syncs and changes segments in step().
// release_before() is for the checkpoint thread. The file_env outlives the log.
// No call but step(), close() and release_before() touches a file. Errors on the writer's side
// become refusing() and why(), and are tried again; what was granted is never dropped.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "config/schema.hpp"
#include "kvstore/change.hpp"
#include "kvstore/file_env.hpp"
#include "metrics/counters.hpp"

namespace sluice::kvstore {

using monotonic = std::chrono::steady_clock::time_point;

enum class admission {
    granted,
    busy,     // too much is unwritten, or room is being made: again after on_progress
    refused,  // no record can be written now: why()
};

struct log_stats {
    std::uint64_t bytes_on_disk = 0;
    std::uint64_t segments = 0;
    std::uint64_t bytes_written = 0;  // since open()
    std::uint64_t fsyncs = 0;
    std::uint64_t write_errors = 0;  // failed writes, syncs, reservations and file creations
    std::uint64_t unwritten_bytes = 0;
};

class write_log {
  public:
    static constexpr std::uint64_t usual_segment_bytes = std::uint64_t{64} << 20;
    static constexpr std::uint64_t unwritten_limit = std::uint64_t{64} << 20;

    write_log(file_env& files, std::string directory, config::fsync_policy policy,
              std::uint64_t segment_bytes = usual_segment_bytes);
    ~write_log();
    write_log(const write_log&) = delete;
    write_log& operator=(const write_log&) = delete;

    // Begins a new segment with that number; makes the directory. Records above `held` in older
    // segments are void from then on. With a full disk it opens all the same and is refusing().
    // After recovery: next is log_outcome::next or, where a project's file covers more, above that;
    // held is log_outcome::held.
    [[nodiscard]] std::error_code open(log_number next, log_number held);
    [[nodiscard]] std::error_code open(log_number next) { return open(next, next - 1); }

    // Any thread. Room for one record of up to that many payload bytes.
    [[nodiscard]] admission reserve(std::uint64_t bytes);
    void give_back(std::uint64_t bytes);
    // Uses up the reservation, of which the payload may be a part. Numbers are in order of calls.
    // Whoever appends calls hurry() when it has appended what it has for now: a writer that is
    // woken by the first record of many syncs that one, and the others wait for the next sync.
    log_number append(std::string_view payload, std::uint64_t reserved);
    void hurry();

    [[nodiscard]] log_number last() const noexcept { return last_.load(std::memory_order_acquire); }
    // Policy always: synced. Otherwise: handed to the kernel.
    [[nodiscard]] log_number safe() const noexcept { return safe_.load(std::memory_order_acquire); }
    [[nodiscard]] log_number synced() const noexcept {
        return synced_.load(std::memory_order_acquire);
    }
    [[nodiscard]] bool refusing() const noexcept {
        return refusing_.load(std::memory_order_acquire);
    }
    // Also of what was granted nobody knows when it will be safe: it is refusing() then too. While
    // only room is lacking, what was granted has its blocks and becomes safe.
    [[nodiscard]] bool failing() const noexcept { return failing_.load(std::memory_order_acquire); }
    // Of the last refusal; empty before the first.
    [[nodiscard]] std::string why() const;

    // Any thread: the next step() writes and syncs everything up to record n, whatever the policy
    // says. synced() tells when; is_broken(): not before another file takes the log.
    void sync_up_to(log_number n);
    [[nodiscard]] bool is_broken() const noexcept {
        return broken_.load(std::memory_order_acquire);
    }

    // Every record below n is in project files: segments wholly below go. The first error ends it.
    std::error_code release_before(log_number n);

    void set_policy(config::fsync_policy policy);
    [[nodiscard]] log_stats stats() const;
    [[nodiscard]] const metrics::histogram& fsync_seconds() const noexcept {
        return fsync_seconds_;
    }

    // The writer thread: step, wait until what step returned, step, ...
    monotonic step(monotonic now);
    void wait(monotonic until);
    // Any thread: ends a wait() at once, now or the next one.
    void stop_waiting();
    // After the last step: writes and syncs everything. Nothing may be appended afterwards.
    std::error_code close();

    // Set before threads start. Called on the writer thread, without a lock held, when safe()
    // moved (policy always), when a reservation that was busy may be tried again, when refusing()
    // or failing() changes. It may call anything of the log but step(), wait() and close().
    std::function<void()> on_progress;
    // What fsyncs are measured with; none: the histogram stays empty.
    monotonic (*clock)() = nullptr;

  private:
    // Whole records behind a mark, as they will be in the file.
    struct chunk {
        std::string bytes;  // the first mark_bytes are filled in when it is written
        log_number last = 0;
        std::uint64_t charged = 0;  // what its records took of the room
    };
    struct segment {
        log_number first = 0;
        std::uint64_t bytes = 0;
    };
    enum class wake_on { any_append, pressure };

    [[nodiscard]] admission reserve_slowly(std::uint64_t cost);
    [[nodiscard]] chunk& chunk_for(std::size_t bytes);

    // write_log.cpp
    [[nodiscard]] std::error_code take_over(log_number next);
    void write_anew(const std::string& name);
    void count_segment(log_number first, std::uint64_t bytes);
    [[nodiscard]] std::string path_of(const std::string& name) const;

    // write_log_writer.cpp
    void take_pending(bool all);
    void write_what_is_due();
    [[nodiscard]] bool write_chunk();
    [[nodiscard]] bool sync_file();
    [[nodiscard]] std::error_code sync_timed(open_file& file);
    [[nodiscard]] bool sync_is_due() const;
    [[nodiscard]] bool sync_is_asked() const noexcept {
        return synced_.load(std::memory_order_relaxed) <
               sync_asked_.load(std::memory_order_acquire);
    }
    void settle_synced();
    void change_segment();
    void replace_failed();
    [[nodiscard]] std::error_code make_segment(bool& in_place);
    [[nodiscard]] std::error_code fill_segment(open_file& file, std::uint64_t& bytes);
    [[nodiscard]] std::error_code allocate_all(open_file& file, std::uint64_t bytes);
    void stop_allocating();
    void make_room();
    [[nodiscard]] bool grow(std::uint64_t bytes);
    void fail(const char* doing, std::error_code error);
    void refuse();
    void accept_again();
    void publish();
    void trim();
    [[nodiscard]] monotonic next_due();

    file_env& files_;
    const std::string directory_;
    const std::uint64_t segment_bytes_;
    std::atomic<config::fsync_policy> policy_;

    // The hot path. room_: bytes allocated on disk that nobody has been promised.
    alignas(64) std::atomic<std::int64_t> room_{0};
    std::atomic<bool> refusing_{true};
    std::atomic<bool> failing_{false};
    std::atomic<std::uint64_t> unfit_{0};  // reservations from that on cannot be met now; 0: none
    alignas(64) std::atomic<std::uint64_t> unwritten_{0};
    std::atomic<log_number> last_{0};
    std::atomic<log_number> safe_{0};
    std::atomic<log_number> synced_{0};
    std::atomic<log_number> sync_asked_{0};
    std::atomic<bool> broken_{false};  // failed_, for others

    mutable std::mutex mutex_;  // of what follows, up to the writer's own
    std::condition_variable wake_;
    std::deque<chunk> pending_;
    std::vector<std::string> spare_;
    std::uint64_t salt_ = 0;
    bool woken_ = false;
    bool sleeping_ = false;
    wake_on wake_on_ = wake_on::any_append;
    bool someone_is_busy_ = false;
    std::uint64_t wanted_ = 0;  // the largest reservation that found too little room
    std::string why_;
    bool open_ = false;

    // The writer's own.
    monotonic now_{};       // what step() was given
    log_number start_ = 0;  // as open() was told
    log_number start_after_ = 0;
    std::unique_ptr<open_file> file_;
    bool failed_ = false;    // what was file_ may not be touched any more
    bool allocates_ = true;  // the file system can promise blocks
    bool full_ = false;      // it could not, the last time
    std::uint64_t file_bytes_ = 0;
    std::uint64_t allocated_ = 0;  // beyond the file's end: room_, and what was promised of it
    std::uint64_t ahead_;
    std::uint64_t new_ahead_ = 0;  // of the segment in the making
    std::deque<chunk> writing_;
    std::deque<chunk> unsynced_;  // the file has them; a new one must get them if a sync fails
    std::uint64_t unsynced_bytes_ = 0;
    log_number written_ = 0;
    bool collecting_ = false;
    bool progressed_ = false;
    monotonic collect_until_{};
    monotonic sync_at_{};
    monotonic retry_at_{};         // when failed_
    monotonic replaced_at_{};      // the last time that went well
    monotonic change_retry_at_{};  // when a segment could not be changed
    monotonic room_retry_at_{};    // when full_, or when something was unfit
    monotonic used_at_{};
    std::chrono::milliseconds retry_after_;
    std::uint64_t attempts_ = 0;  // to make a segment; goes into the name of the one in the making
    const char* doing_ = "";      // what failed last, and why
    std::error_code error_;

    mutable std::mutex segments_mutex_;
    std::vector<segment> segments_;

    std::atomic<std::uint64_t> bytes_written_{0};
    std::atomic<std::uint64_t> fsyncs_{0};
    std::atomic<std::uint64_t> write_errors_{0};
    metrics::histogram fsync_seconds_;
};

}  // namespace sluice::kvstore
