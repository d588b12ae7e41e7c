// The one door to the file system. Everything the store keeps goes through it, so that a test can
// put a file system behind it that fails, tears writes and crashes at any step.
// Errors are std::error_code values of the generic or system category; nothing throws. Thread-safe
// as the system calls are; an open file belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sluice::kvstore {

// Closed by its destructor, without an error to be told: what must be safe was synced before.
class open_file {
  public:
    virtual ~open_file() = default;
    // Appends all of it, or says why not and how much went in.
    [[nodiscard]] virtual std::error_code append(std::string_view bytes, std::size_t& written) = 0;
    // Content (and length) on the disk. After a failure the file's state is unknown for good.
    [[nodiscard]] virtual std::error_code sync() = 0;
    // Disk blocks for `bytes` more beyond the end, without changing the length. not_supported
    // where the file system cannot promise that.
    [[nodiscard]] virtual std::error_code reserve(std::uint64_t beyond_end,
                                                  std::uint64_t bytes) = 0;
    [[nodiscard]] virtual std::error_code truncate(std::uint64_t length) = 0;
};

// A lock that ends with the process that holds it.
class held_lock {
  public:
    virtual ~held_lock() = default;
};

struct file_status {
    bool exists = false;
    std::uint64_t size = 0;
    std::int64_t modified_ms = 0;  // since 1970
    std::uint64_t inode = 0;

    bool operator==(const file_status&) const = default;
};

class file_env {
  public:
    virtual ~file_env() = default;

    enum class create { fresh, append };  // fresh: fails when the file exists
    [[nodiscard]] virtual std::error_code open(const std::string& path, create how,
                                               std::unique_ptr<open_file>& out) = 0;
    [[nodiscard]] virtual std::error_code read(const std::string& path, std::string& out) = 0;
    [[nodiscard]] virtual std::error_code status(const std::string& path, file_status& out) = 0;
    // A file, in the place of the file `to`; or a directory, where `to` does not exist.
    [[nodiscard]] virtual std::error_code rename(const std::string& from,
                                                 const std::string& to) = 0;
    // Fails where `to` exists. A copy where the file system has no hard links.
    [[nodiscard]] virtual std::error_code link_or_copy(const std::string& from,
                                                       const std::string& to) = 0;
    [[nodiscard]] virtual std::error_code remove(const std::string& path) = 0;
    // 0700, parents too; fine when it exists.
    [[nodiscard]] virtual std::error_code make_directory(const std::string& path) = 0;
    // An empty one.
    [[nodiscard]] virtual std::error_code remove_directory(const std::string& path) = 0;
    // Names, without "." and "..", in no order.
    [[nodiscard]] virtual std::error_code list(const std::string& path,
                                               std::vector<std::string>& names) = 0;
    // Makes renames, creations and removals in it safe.
    [[nodiscard]] virtual std::error_code sync_directory(const std::string& path) = 0;
    // device_or_resource_busy: another process holds it; `holder` is then what that one wrote
    // into the file (its process id), if it can be read.
    [[nodiscard]] virtual std::error_code lock(const std::string& path,
                                               std::unique_ptr<held_lock>& out,
                                               std::string& holder) = 0;
};

// Files are made 0600, directories 0700.
[[nodiscard]] file_env& posix_files();

}  // namespace sluice::kvstore
