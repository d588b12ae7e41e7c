// All projects, the log they share, and what leads a project into memory and out of it.
// Thread-safe. Locks are taken in this order: the registry's, projects' by their ids, the log's.
// Blocking calls (open, load, checkpoint, …) are for threads that may wait; they say so.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.hpp"
#include "kvstore/change.hpp"
#include "kvstore/file_env.hpp"
#include "kvstore/project.hpp"
#include "kvstore/project_file.hpp"
#include "kvstore/write_log.hpp"

namespace sluice::kvstore {

// Start-up failed; the text says what to do.
struct cannot_open : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct store_counts {
    std::atomic<std::uint64_t> loads{0};
    std::atomic<std::uint64_t> unloads{0};
    std::atomic<std::uint64_t> expired_keys{0};
    std::atomic<std::uint64_t> checkpoints{0};
    std::atomic<std::uint64_t> checkpoint_failures{0};
    std::atomic<std::uint64_t> checkpoint_ns{0};
    std::atomic<time_ms> last_checkpoint_ms{0};           // that succeeded
    std::atomic<std::uint64_t> last_checkpoint_bytes{0};  // of the file
    std::atomic<std::uint64_t> backups{0};
    std::atomic<std::uint64_t> backup_failures{0};
    std::atomic<time_ms> last_backup_ms{0};  // that succeeded
    std::atomic<std::uint64_t> last_backup_bytes{0};
    std::atomic<std::uint64_t> damaged_projects{0};
};

class snapshot;

class store {
  public:
    // Messages for the log of the daemon: level ("info", "warning", "error") and text.
    using notice = std::function<void(std::string_view level, const std::string& text)>;

    store(file_env& files, const config::kv_settings& settings, notice say,
          std::uint64_t segment_bytes = write_log::usual_segment_bytes);
    ~store();
    store(const store&) = delete;
    store& operator=(const store&) = delete;

    // Blocking, before any other thread: takes the directory's lock, replays the log, begins a new
    // segment. Throws cannot_open.
    void open(time_ms now);
    // Blocking, after every client has gone: saves what is unsaved, for at most most_closing, so
    // that nobody kills us meanwhile; the log keeps the rest. False: something could not be saved.
    static constexpr auto most_closing = std::chrono::seconds(30);
    bool close(time_ms now);
    // Instead of close(), for another process that opens the store now: syncs the log, which has
    // what the files lack, and lets go of the lock. False: the log could not be synced.
    bool release();

    // The project's place in the registry; its data may be absent. Not while holding a project.
    [[nodiscard]] std::shared_ptr<project> find(project_id id);
    // Every project in the registry, in the order of ids.
    [[nodiscard]] std::vector<std::shared_ptr<project>> all();
    // Keeps the registry as it is: for commands that lock every project.
    [[nodiscard]] std::unique_lock<std::mutex> hold_registry() {
        return std::unique_lock(registry_mutex_);
    }
    [[nodiscard]] std::vector<std::shared_ptr<project>> all_held();  // under hold_registry()

    // Blocking. Reads the project's file. Its lock is not held by the caller; whoever set `loading`
    // calls this. Runs what waits for it.
    void load(project& which, time_ms now);

    // Projects that are not in memory lose what a record up to this one put there.
    void flush_absent(log_number number) noexcept;

    [[nodiscard]] write_log& log() noexcept { return log_; }
    // How writers' records become safe: set by the operator, asked for by every batch.
    [[nodiscard]] bool waits_for_disk() const noexcept {
        return fsync_.load(std::memory_order_relaxed) == config::fsync_policy::always;
    }
    [[nodiscard]] std::shared_ptr<const config::kv_settings> settings() const;
    void configure(const config::kv_settings& settings);

    // Of all projects in memory.
    void account(project& of) noexcept;  // under its lock, after changes
    [[nodiscard]] std::uint64_t memory() const noexcept { return memory_.load(); }
    [[nodiscard]] bool is_over_memory() const noexcept {
        const auto most = max_memory_.load(std::memory_order_relaxed);
        return most != 0 && memory_.load(std::memory_order_relaxed) > most;
    }

    // --- the maintenance thread's; blocking ---
    // Saves projects that are due, sends idle ones out of memory, removes what no longer counts.
    // `pause` is called between slices of a long copy, with no lock held.
    using pause_call = std::function<void()>;
    void maintain(time_ms now, const pause_call& pause);
    // Saves everything that is unsaved, as it was at one moment. Empty: saved; else what went
    // wrong.
    std::string save_all(time_ms now, const pause_call& pause);
    // Saves one project. Empty: saved, or nothing to save.
    std::string save(project& which, time_ms now, const pause_call& pause);
    // Removes keys whose time has come; call every 100 ms.
    void expire(time_ms now);

    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] file_env& files() noexcept { return files_; }
    // Keys, bytes and sizes of what is in memory, for metrics and INFO.
    struct totals {
        std::uint64_t projects = 0;  // known
        std::uint64_t resident = 0;
        std::uint64_t refused = 0;
        std::uint64_t keys = 0;
        std::uint64_t bytes = 0;
        std::uint64_t big = 0;  // above the warning size
        struct keyspace {
            project_id id;
            std::uint64_t keys;
            std::uint64_t expiring;
            std::uint64_t bytes;
        };
        std::vector<keyspace> spaces;  // resident ones that are not empty
    };
    [[nodiscard]] totals count();
    store_counts counts;
    // Of the last file written; until then, of the start.
    [[nodiscard]] time_ms last_save_ms() const noexcept {
        return std::max(opened_ms_, counts.last_checkpoint_ms.load());
    }
    // What saving is measured with; none: it takes no time.
    monotonic (*clock)() = nullptr;

  private:
    void replay(time_ms now);
    // What a project's file holds: nothing if there is none.
    struct file_content {
        std::string refused;  // why it cannot be used; empty: it can
        project_header header;
        table keys;
        std::uint64_t bytes = 0;
        bool exists = false;
    };
    [[nodiscard]] file_content read_file(project_id id);
    bool install(project& which, file_content&& content, time_ms now);
    static void refuse(project& which, std::string why, time_ms now);
    // A project that was refused: kvstore/store_repair.cpp.
    struct caught_up {
        log_number first = 0;  // of the records that its file lacks; 0: none
        log_number last = 0;
    };
    [[nodiscard]] bool may_look_again(project_id id, time_ms now);
    void remember_unmoved(project_id id);
    [[nodiscard]] std::string catch_up(project& which, caught_up& out);
    void come_back(project& which, const caught_up& from, time_ms now);
    [[nodiscard]] std::string set_aside(project_id id, const std::string& what);
    void keep_edited(project_id id);
    [[nodiscard]] log_number covers(const std::string& name);
    // The file appears only when the log is safe up to there.
    std::string copy_slices(project& which, snapshot& from, log_number safe_up_to, time_ms now,
                            const pause_call& pause);
    std::string write_file(snapshot& from, log_number safe_up_to, const pause_call& pause);
    std::string wait_for_log(log_number number, const pause_call& pause);
    [[nodiscard]] log_number first_needed();
    void release_log();
    void remove_flushed(const pause_call& pause);
    [[nodiscard]] log_number above_all_files(log_number next);
    void send_out(time_ms now, const pause_call& pause);
    void prune_registry();
    void survey();
    [[nodiscard]] std::string path_of(project_id id) const;

    file_env& files_;
    std::string directory_;
    notice say_;
    mutable std::mutex settings_mutex_;
    std::shared_ptr<const config::kv_settings> settings_;
    std::atomic<config::fsync_policy> fsync_;
    std::atomic<std::uint64_t> max_memory_{0};
    std::unique_ptr<held_lock> lock_;
    time_ms opened_ms_ = 0;
    std::mutex registry_mutex_;
    std::map<project_id, std::shared_ptr<project>> registry_;
    std::atomic<std::uint64_t> memory_{0};
    std::atomic<log_number> flushed_{0};     // the last clear_all's number, while that is pending
    std::atomic<log_number> last_flush_{0};  // of this run, for good
    std::mutex unmoved_mutex_;
    std::map<project_id, file_status> unmoved_;  // damaged files that kept their names
    bool flush_is_pending_ = false;       // files that it emptied are still there; registry's lock
    std::vector<std::string> to_survey_;  // the maintenance thread's
    bool survey_has_begun_ = false;
    log_number log_start_ = 1;      // the first number of this run
    log_number held_at_start_ = 0;  // the last record that the log had then
    bool is_closing_ = false;
    monotonic close_by_{};
    write_log log_;
};

}  // namespace sluice::kvstore
