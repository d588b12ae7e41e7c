// Backups: consistent copies of all projects' files beside the store (docs/kv-cli.md, "What a
// backup is"). A backup is complete or not there: it is made under another name, each file synced,
// and renamed at the end. Blocking. make_backup() is for the maintenance thread: nothing else
// writes projects' files meanwhile. Errors are texts for people.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kvstore/project_file.hpp"
#include "kvstore/store.hpp"

namespace sluice::kvstore {

// Told after each file. False: give up.
using file_progress = std::function<bool(std::uint64_t done, std::uint64_t all)>;

struct backup_result {
    std::string error;  // empty: it is there
    std::string path;
    std::uint64_t projects = 0;
    std::uint64_t bytes = 0;
};

// Everything as it is at one moment during the call, as a new directory in `into`.
[[nodiscard]] backup_result make_backup(store& of, const std::string& into, time_ms now,
                                        const store::pause_call& pause,
                                        const file_progress& progress = {});

// Keeps the newest `keep`, and removes what a crash left of unfinished ones.
[[nodiscard]] std::error_code prune_backups(file_env& files, const std::string& into,
                                            std::uint64_t keep);

struct backed_up_file {
    std::string name;  // "project-7.json"
    project_id project = 0;
    std::uint64_t bytes = 0;
    std::uint64_t checksum = 0;  // XXH3, 64 bits, seed 0
};

struct backup_manifest {
    std::string error;  // empty: it is as it was written
    time_ms created_ms = 0;
    std::vector<backed_up_file> files;
    [[nodiscard]] std::uint64_t bytes() const noexcept;
};
[[nodiscard]] backup_manifest read_manifest(file_env& files, const std::string& directory);

// The newest one in `into`; its path is empty when there is none.
struct latest_backup {
    std::string path;
    time_ms created_ms = 0;
    std::uint64_t bytes = 0;
};
[[nodiscard]] latest_backup find_latest_backup(file_env& files, const std::string& into);

// Reads one file of it; the error says what is wrong with it.
[[nodiscard]] std::string read_backed_up(file_env& files, const std::string& directory,
                                         const backed_up_file& which, std::string& text);

// The manifest and every file.
[[nodiscard]] backup_manifest verify_backup(file_env& files, const std::string& directory,
                                            const file_progress& progress = {});

// "20260102T030405.678Z": in names of directories, so that they sort by time.
[[nodiscard]] std::string time_stamp(time_ms time);

}  // namespace sluice::kvstore
