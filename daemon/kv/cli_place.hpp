// Where the command line's key-value commands work: a store's directory, by way of the daemon that
// serves it, or opened here while nothing else uses it. Blocking; one thread; throws
// std::runtime_error with a text for people.
#pragma once

#include <chrono>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "daemon/kv/cli.hpp"
#include "daemon/kv/control_client.hpp"
#include "kvstore/project_content.hpp"
#include "kvstore/store.hpp"

namespace sluice::daemon {

// "export: 1200 of 5000 projects", on one line of a terminal or now and then on its own. Says
// nothing of what is over within a second.
class progress_line {
  public:
    progress_line(const command_line& with, std::string what);
    ~progress_line();
    progress_line(const progress_line&) = delete;
    progress_line& operator=(const progress_line&) = delete;
    void show(std::uint64_t done, std::uint64_t all, const char* of);
    void tick();  // no count: how long it has taken

  private:
    void say(const std::string& text);

    std::ostream& to_;
    std::string what_;
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point began_;
    std::chrono::steady_clock::time_point next_;
};

class kv_place {
  public:
    explicit kv_place(const kv_job& job);
    ~kv_place();
    kv_place(const kv_place&) = delete;
    kv_place& operator=(const kv_place&) = delete;

    [[nodiscard]] control_client* control() noexcept { return control_.get(); }
    // Only without a daemon.
    [[nodiscard]] kvstore::store& db() noexcept { return *db_; }
    // Projects' files hold everything afterwards.
    void save();
    // Lets go of a store that was opened; without it, the next start reads its log.
    void close();

    // Ids of the projects that have a file, in order.
    [[nodiscard]] std::vector<kvstore::project_id> projects() const;
    // Names of files that were set aside.
    [[nodiscard]] std::vector<std::string> set_aside() const;
    // Without what has expired. False: there is no file. `damage` says what is wrong with it.
    [[nodiscard]] bool read(kvstore::project_id id, kvstore::project_content& out,
                            std::string& damage, std::uint64_t* file_bytes = nullptr) const;
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] std::uint64_t log_bytes() const;

  private:
    [[nodiscard]] std::vector<std::string> names() const;

    const kv_job& job_;
    std::string directory_;
    std::unique_ptr<control_client> control_;
    std::unique_ptr<kvstore::store> db_;
};

// "1.5 MiB", and "1 key" or "2 keys".
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
[[nodiscard]] std::string count_text(std::uint64_t count, const char* one, const char* many);

}  // namespace sluice::daemon
