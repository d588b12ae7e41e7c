// Hands this process's work to a successor: starts it, gives it the listening sockets, then the
// key-value store with its clients. docs/upgrade.md has the states, the messages and what happens
// on each failure. start() and the calls of `outside` are the main thread's; the work is done by a
// thread of its own, which is there until stop().
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "config/schema.hpp"
#include "daemon/handover.hpp"
#include "daemon/kv/port.hpp"
#include "daemon/listeners.hpp"
#include "daemon/log.hpp"

namespace sluice::daemon {

// How this process was started, to be read once at the start: a package may replace its file.
struct started_command {
    std::string path;
    std::vector<std::string> arguments;

    [[nodiscard]] static started_command of_this_process();
};

struct upgrade_result {
    std::string error;  // empty: the successor serves
    pid_t process = 0;
    std::chrono::milliseconds kv_pause{-1};  // none: there was no store to hand over
};

class upgrade {
  public:
    // Called on the upgrade's thread.
    struct outside {
        std::function<void(const std::string& line)> progress;
        // The successor serves: accept nothing more, and drain. Returns when that has begun.
        std::function<void(pid_t successor)> taken_over;
        std::function<void(const upgrade_result&)> done;
        std::function<void(std::uint32_t process_id, const std::string& secret)> cancel;
    };

    upgrade(started_command command, std::string config_file, listeners& sockets, kv_port* kv,
            logger& log);
    ~upgrade() { stop(); }

    void start(const config::settings& settings, outside calls);
    // The successor is not wanted any more: before it serves, it is killed.
    void abandon();
    void stop();

  private:
    void run(const config::settings& settings);
    [[nodiscard]] std::string hand_over(const config::settings& settings, upgrade_result& out);
    [[nodiscard]] std::string spawn(pid_t& process);
    [[nodiscard]] std::string send_sockets();
    [[nodiscard]] std::string wait_for(std::string_view word,
                                       std::chrono::steady_clock::time_point until);
    [[nodiscard]] bool send_clients(const std::vector<handed_client>& clients);
    [[nodiscard]] std::string end_of(pid_t process);
    void serve_successor();

    started_command command_;
    std::string config_file_;
    listeners& sockets_;
    kv_port* kv_;
    logger& log_;
    outside calls_;
    std::mutex mutex_;  // of what channel_ points to; the thread alone changes it
    std::unique_ptr<handover_channel> channel_;
    std::atomic<bool> abandoned_{false};
    std::thread thread_;
};

}  // namespace sluice::daemon
