// A backup becomes the content of a store's directory that no daemon uses. Everything is verified
// and written beside before anything is touched; what was there moves away, nothing is removed.
// Blocking. Whatever the moment of a crash, a start finds the old content or refuses (it finds
// unfinished_restore()), and the restore can be run again.
#pragma once

#include <string>

#include "kvstore/backup.hpp"

namespace sluice::kvstore {

struct restore_request {
    std::string backup;
    std::string directory;
    bool replaces = false;  // what is there; else it must hold no project
    time_ms now = 0;
};

struct restore_result {
    std::string error;     // empty: it went well
    std::string moved_to;  // where the old content is; empty: there was none
    std::uint64_t projects = 0;
    std::uint64_t bytes = 0;
    std::uint64_t damaged = 0;  // files that were damaged when the backup was made
};

[[nodiscard]] restore_result restore_backup(file_env& files, const restore_request& what,
                                            const file_progress& progress = {});

// Is there while files are being exchanged.
[[nodiscard]] std::string unfinished_restore(const std::string& directory);

}  // namespace sluice::kvstore
