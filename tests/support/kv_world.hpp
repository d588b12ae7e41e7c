// A key-value store as the daemon runs it, in one thread and without sockets: files that fail, a
// log and clocks that only the test moves, a host whose other threads are queues, and clients that
// take bytes and keep their replies back until the log is safe, as the daemon's sessions do.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/client.hpp"
#include "support/faulty_files.hpp"

namespace sluice::test {

class kv_world;

// One connection.
class kv_peer {
  public:
    enum class waiting { none, wake, room, log, over };

    kv_peer(kv_world& world, std::uint64_t number);

    void feed(std::string_view bytes) { input_ += bytes; }
    // Runs what was fed, as far as it goes.
    void work();
    // What came since the last time.
    [[nodiscard]] std::string take() { return std::exchange(output_, {}); }
    [[nodiscard]] waiting waits() const noexcept { return waits_; }
    [[nodiscard]] bool is_idle() const noexcept { return waits_ == waiting::none; }
    [[nodiscard]] std::size_t unread() const noexcept { return input_.size(); }
    [[nodiscard]] const std::string& held() const noexcept { return held_; }
    kvstore::client& self() noexcept { return *client_; }

    std::size_t turns = 0;         // that ended with more to do
    std::size_t most_in_turn = 0;  // bytes of replies
    bool woken = false;

  private:
    friend class kv_world;
    void log_moved();

    kv_world& world_;
    std::unique_ptr<kvstore::client> client_;
    std::function<void()> wake_;
    std::string input_;
    std::string output_;
    std::string held_;
    std::vector<kvstore::reply_buffer::span> held_writes_;
    kvstore::log_number held_for_ = 0;
    waiting waits_ = waiting::none;
    bool closes_ = false;
};

class kv_world final : public kvstore::host {
  public:
    explicit kv_world(std::uint64_t seed = 1);
    ~kv_world();

    // --- the daemon's life ---
    // False: it may not start, and `problem` says why.
    [[nodiscard]] bool start();
    [[nodiscard]] bool close();  // an orderly end
    void kill();                 // the process ends, the kernel lives
    void power_failure();
    [[nodiscard]] bool is_running() const noexcept { return db != nullptr; }

    // --- clients ---
    kv_peer& connect();
    kv_peer& first();  // connects when there is none
    // Sends a command whose words are split at spaces, lets everything happen that `automatic`
    // allows, and gives the reply, as "+OK", "$1|v" or "*2|:1|:2".
    std::string send(kv_peer& by, std::string_view command);
    std::string send(std::string_view command) { return send(first(), command); }
    [[nodiscard]] static std::string resp(std::string_view command);
    [[nodiscard]] static std::string resp(const std::vector<std::string>& words);
    [[nodiscard]] static std::string shown(std::string_view raw);

    // Which of the other threads' work is done without being asked for.
    struct {
        bool log = true;
        bool loading = true;
        bool jobs = true;
    } automatic;
    // Until nothing more happens.
    void settle();
    void step_log();                            // one step at this time
    void pass(std::chrono::milliseconds time);  // both clocks go on; the log works meanwhile
    bool load_next();                           // false: nothing waits to be loaded
    bool do_next_job();
    [[nodiscard]] std::size_t loads_waiting() const noexcept { return loads_.size(); }

    // --- maintenance; the log works while it waits ---
    std::string save_all();
    std::string save(kvstore::project_id id);
    void maintain();
    std::function<void()> on_pause;  // between slices and while it waits

    // --- what is there ---
    struct value {
        std::string bytes;
        kvstore::time_ms expires = kvstore::never;
        bool operator==(const value&) const = default;
    };
    using content = std::map<std::string, value>;
    // Of a project in memory, without what has expired.
    [[nodiscard]] std::optional<content> resident(kvstore::project_id id);
    // Brings it into memory first; empty when it is refused.
    content loaded(kvstore::project_id id);
    [[nodiscard]] bool has_notice(std::string_view part) const;
    [[nodiscard]] static std::string path_of(kvstore::project_id id);
    [[nodiscard]] std::size_t segments() const;

    faulty_files files;
    config::kv_settings settings;
    std::uint64_t segment_bytes = kvstore::write_log::usual_segment_bytes;
    std::unique_ptr<kvstore::store> db;
    std::string problem;
    std::vector<std::string> notices;
    kvstore::time_ms now = 1'800'000'000'000;
    kvstore::monotonic mono{std::chrono::seconds{1000}};
    std::size_t checks = 0;  // of passwords on the helper

    // --- kvstore::host ---
    void start_loading(std::shared_ptr<kvstore::project> which) override;
    std::shared_ptr<kvstore::job> start_saving(std::function<void()> wake) override;
    std::shared_ptr<kvstore::job> start_backup(std::string into,
                                               std::function<void()> wake) override;
    [[nodiscard]] bool is_saving() const override { return !jobs_.empty(); }
    std::shared_ptr<kvstore::job> start_check(std::string verifier, std::string password,
                                              std::function<void()> wake) override;
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> configuration() const override;
    std::string set_configuration(std::string_view name, std::string_view value) override;
    [[nodiscard]] process_facts facts() const override { return {}; }

  private:
    friend class kv_peer;
    [[nodiscard]] kvstore::turn turn_now();
    void forget_run();
    bool something_happened();
    void tell_peers();
    [[nodiscard]] kvstore::store::pause_call pause();

    kvstore::client_list cards_;
    kvstore::slowlog slow_;
    kvstore::reply_buffer reply_;
    metrics::kv_counters counts_;
    std::shared_ptr<const config::kv_settings> shared_settings_;
    std::shared_ptr<const kvstore::access_list> access_;
    std::unique_ptr<kvstore::batch> changes_;
    std::vector<std::unique_ptr<kv_peer>> peers_;
    std::deque<std::shared_ptr<kvstore::project>> loads_;
    std::deque<std::function<void()>> jobs_;
    kvstore::monotonic log_due_{};
    bool log_progressed_ = false;
};

}  // namespace sluice::test
