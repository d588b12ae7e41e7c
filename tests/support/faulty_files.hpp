// Files in memory that fail, tear and forget as real ones do. Each file has what a reader sees (the
// page cache) and what is on the disk; so has each directory. A power failure keeps any part of
// what was not synced: sectors in any order, a length without its sectors, renames without
// creations. A failed sync forgets which sectors were dirty, as Linux does: the next one succeeds
// and lies. Thread-safe. The same seed and operations give the same outcome.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/file_env.hpp"

namespace sluice::test {

class faulty_files final : public kvstore::file_env {
  public:
    enum class operation {
        open,
        append,
        sync,
        reserve,
        truncate,
        rename,
        link,
        remove,
        make_directory,
        remove_directory,
        sync_directory,
        lock,
        read,  // this and the next ones change nothing and are not counted
        status,
        list,
    };
    static constexpr std::size_t sector = 512;

    explicit faulty_files(std::uint64_t seed = 1) : random_(seed) {}

    // Operations that change something, so far.
    [[nodiscard]] std::uint64_t operations() const;
    // The n-th of them from now on (0: the next) fails; an append may do a part of its work.
    void fail_operation(std::uint64_t n, std::error_code error);
    // All of a kind fail until heal().
    void fail_all(operation what, std::error_code error);
    void heal();
    // What files that are written from now on say of when.
    void set_clock(std::int64_t now_ms) { clock_ms_ = now_ms; }
    // The n-th from now on is begun and never ends, and nothing works from then on, until one of
    // the next two.
    void die_at(std::uint64_t n);
    [[nodiscard]] bool dead() const;
    // The machine starts again: what was not synced is there or not, by the seed.
    void power_failure();
    // The daemon starts again: the kernel kept everything. Open files and locks are gone.
    void process_crash();

    // Bytes that all files may have together, reserved ones included.
    void set_capacity(std::uint64_t bytes);
    [[nodiscard]] std::uint64_t used() const;
    // A file system that promises no blocks.
    void refuse_to_reserve();

    // What another thread does between a read that went well and what follows it.
    std::function<void(const std::string& path)> after_read;

    // A test's own view and hand, safe on the disk at once.
    [[nodiscard]] std::string content(const std::string& path) const;
    [[nodiscard]] bool exists(const std::string& path) const;
    void put(const std::string& path, std::string bytes);
    [[nodiscard]] std::vector<std::string> files() const;  // whole paths, sorted

    std::error_code open(const std::string& path, create how,
                         std::unique_ptr<kvstore::open_file>& out) override;
    std::error_code read(const std::string& path, std::string& out) override;
    std::error_code status(const std::string& path, kvstore::file_status& out) override;
    std::error_code rename(const std::string& from, const std::string& to) override;
    std::error_code link_or_copy(const std::string& from, const std::string& to) override;
    std::error_code remove(const std::string& path) override;
    std::error_code make_directory(const std::string& path) override;
    std::error_code remove_directory(const std::string& path) override;
    std::error_code list(const std::string& path, std::vector<std::string>& names) override;
    std::error_code sync_directory(const std::string& path) override;
    std::error_code lock(const std::string& path, std::unique_ptr<kvstore::held_lock>& out,
                         std::string& holder) override;

  private:
    struct inode {
        std::string data;               // what readers see
        std::string disk;               // what is there after a power failure at the least
        std::set<std::size_t> dirty;    // sectors of data that the next sync writes
        std::vector<std::size_t> ends;  // lengths after each append since the last sync
        std::uint64_t allocated = 0;    // blocks, up to that byte
        std::int64_t modified_ms = 0;
    };
    using inode_ptr = std::shared_ptr<inode>;
    // The names of files and directories, by whole paths.
    struct tree {
        std::map<std::string, inode_ptr> files;
        std::set<std::string> directories;
    };
    // One change of a directory; a rename is one.
    struct entry_change {
        std::string directory;
        std::string gone;  // empty: none
        std::string name;  // empty: none
        inode_ptr file;    // none: these are directories
    };
    class file;
    class lock_of_test;
    enum class amount { none, all, prefix, any };

    // Counts, and says what to do: go on, fail, or (with `dying_` set) do a part at most.
    [[nodiscard]] std::error_code begin(operation what, bool& part);
    [[nodiscard]] std::uint64_t pick(std::uint64_t below);
    [[nodiscard]] bool coin() { return pick(2) == 1; }
    [[nodiscard]] std::uint64_t used_locked() const;
    [[nodiscard]] bool has_parent(const std::string& path) const;
    [[nodiscard]] inode_ptr find(const std::string& path) const;
    [[nodiscard]] inode_ptr make_file();
    void change_entry(entry_change what);
    static void apply(const entry_change& what, tree& to);
    static void move_directory(const std::string& from, const std::string& to, tree& in);
    void forget_unsynced(inode& node);
    void sync_badly(inode& node);
    static void sync_well(inode& node);
    static void keep_sector(inode& node, std::size_t index, std::size_t data_end);
    void restart();

    mutable std::mutex mutex_;
    std::mt19937_64 random_;
    tree seen_;     // what a reader sees
    tree on_disk_;  // what is there after a power failure at the least
    std::vector<entry_change> unsynced_entries_;
    std::set<std::string> locks_;
    std::vector<std::weak_ptr<inode>> inodes_;
    std::map<operation, std::error_code> failing_;
    std::optional<std::uint64_t> fail_at_;
    std::error_code fail_with_;
    std::optional<std::uint64_t> die_at_;
    bool dead_ = false;
    bool reserves_ = true;
    std::uint64_t operations_ = 0;
    std::uint64_t run_ = 0;  // files of an earlier one are stale
    std::uint64_t capacity_ = ~std::uint64_t{0};
    std::int64_t clock_ms_ = 1'700'000'000'000;
};

}  // namespace sluice::test
