// The key-value port as a whole: its store, the store's threads, its clients on the workers.
// Threads of its own, since each may block: the log's writer, maintenance (saving, backups), expiry
// (takes projects' locks), and a few helpers that read projects' files and check passwords.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "config/schema.hpp"
#include "daemon/helpers.hpp"
#include "daemon/kv/handed_client.hpp"
#include "daemon/log.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/tls_context.hpp"
#include "daemon/net/worker.hpp"
#include "kvstore/backup.hpp"
#include "kvstore/client.hpp"
#include "metrics/exposition.hpp"

namespace sluice::daemon {

class kv_session;

// How a session is to end as soon as it is between two commands.
enum class leaving { no, closed, handed_over };

// What the service does to all sessions of a worker.
struct listed_kv_session
    : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
    virtual void end_now() = 0;
    virtual void reconfigure() = 0;
    virtual void leave(leaving how) = 0;

  protected:
    ~listed_kv_session() = default;
};
using kv_session_list =
    boost::intrusive::list<listed_kv_session, boost::intrusive::constant_time_size<false>>;

// What one worker has for its clients; touched by that worker only, but for the counters.
struct kv_room {
    explicit kv_room(kvstore::store& store) : changes(store) { changes.hurries = false; }

    kvstore::reply_buffer reply;
    kvstore::batch changes;
    metrics::kv_counters counts;
    kv_session_list sessions;
    // Small replies of this turn, one behind the other in put_off.
    struct late_reply {
        kv_session* to_whom = nullptr;  // null: sent already
        std::size_t from = 0;
        std::size_t to = 0;
    };
    std::string put_off;
    std::vector<late_reply> replies;
    std::vector<handed_client> handed;               // sessions that have left
    std::vector<std::weak_ptr<kv_session>> waiting;  // for the log
    std::atomic<bool> anyone_waits{false};           // read by the log's writer
    std::shared_ptr<const config::kv_settings> settings;
    std::shared_ptr<const kvstore::access_list> access;
    std::shared_ptr<const net::tls_context> tls;
};

class kv_service final : public kvstore::host, public std::enable_shared_from_this<kv_service> {
  public:
    // Opens the store, which may take as long as its log is; throws kvstore::cannot_open, and
    // std::runtime_error for certificates.
    kv_service(const config::kv_settings& settings, std::string config_file,
               std::vector<net::worker*> workers, logger& log);
    ~kv_service();

    void start_threads();
    // On the first worker.
    void accept(net::accepted_socket socket);
    void accept_control(net::accepted_socket socket);
    // Any thread; certificates are loaded by the caller.
    void configure(const config::kv_settings& settings,
                   const std::shared_ptr<const net::tls_context>& tls);
    [[nodiscard]] static std::shared_ptr<const net::tls_context> load_tls(
        const config::kv_settings& settings);

    // Ends clients at once; the workers must still run.
    void close_clients();
    // Ends clients as they come to be between two commands.
    void let_clients_leave(leaving how);
    // The workers have ended: saves everything. False: something could not be saved.
    bool finish();

    // For another process (daemon/kv/port.hpp). From a thread that may wait, in this order.
    // Saves what is unsaved, while clients are served; empty: done, else why not.
    [[nodiscard]] std::string save_before_release();
    // Nobody is accepted any more: takes the clients off the workers, or ends them.
    [[nodiscard]] std::vector<handed_client> take_clients();
    // Nobody calls this service any more. False: the log could not be synced.
    bool release();
    // A client that take_clients() gave.
    void go_on(handed_client client);

    void fill(metrics::snapshot& out);
    [[nodiscard]] std::uint32_t clients() const noexcept { return clients_.load(); }
    [[nodiscard]] kv_room& room_of(const net::worker& on) noexcept { return *rooms_[on.number()]; }
    [[nodiscard]] kvstore::turn turn_on(net::worker& on);
    // On the worker: the session's log_moved() is called when the log has moved.
    void wait_for_log(net::worker& on, std::weak_ptr<kv_session> who, kvstore::log_number until);
    void tick(net::worker& on);  // every 100 ms, on the worker
    // On the worker, after every turn: the clients' changes go to the log together, and small
    // replies to the clients.
    void end_turn(net::worker& on);

    // --- kvstore::host ---
    void start_loading(std::shared_ptr<kvstore::project> which) override;
    std::shared_ptr<kvstore::job> start_saving(std::function<void()> wake) override;
    std::shared_ptr<kvstore::job> start_backup(std::string into,
                                               std::function<void()> wake) override;
    [[nodiscard]] bool is_saving() const override { return saving_.load(); }
    std::shared_ptr<kvstore::job> start_check(std::string verifier, std::string password,
                                              std::function<void()> wake) override;
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> configuration() const override;
    std::string set_configuration(std::string_view name, std::string_view value) override;
    [[nodiscard]] process_facts facts() const override;

    logger& log;
    kvstore::store store;
    kvstore::client_list cards;
    kvstore::slowlog slow;

  private:
    friend class kv_session;
    void begin(net::accepted_socket socket, bool is_control);
    [[nodiscard]] net::worker& choose_worker();
    void stop_threads();
    void log_progress();
    static void tell_waiting(kv_room& room);
    void write_log();
    void maintain();
    void expire();
    void run_backup_if_due(kvstore::time_ms now);
    kvstore::backup_result back_up(const std::string& into);
    void look_for_backups(const config::kv_backup_settings& settings);
    std::shared_ptr<kvstore::job> add_task(std::function<void(kvstore::job&)> work,
                                           std::function<void()> wake);
    // Waits on a store thread; false: it is to end.
    bool rest(std::chrono::milliseconds time);

    [[nodiscard]] static std::string random_id();

    std::string config_file_;
    std::string run_id_ = random_id();
    std::vector<net::worker*> workers_;
    std::vector<std::unique_ptr<kv_room>> rooms_;
    helpers threads_{4};
    kvstore::time_ms started_ms_;
    std::atomic<std::uint32_t> clients_{0};
    std::vector<std::atomic<std::uint32_t>> clients_on_;
    std::uint16_t port_ = 0;

    mutable std::mutex settings_mutex_;
    config::kv_settings settings_;
    std::shared_ptr<const net::tls_context> tls_;

    std::mutex tasks_mutex_;
    std::condition_variable tasks_wake_;
    std::deque<std::function<void()>> tasks_;
    bool ending_ = false;
    std::atomic<bool> log_ending_{false};
    std::atomic<bool> saving_{false};
    // Of the maintenance thread: what it knows about kv.backup.directory.
    std::optional<config::kv_backup_settings> backups_;
    kvstore::time_ms last_backup_ms_ = 0;   // 0: there is none
    kvstore::time_ms retry_backup_ms_ = 0;  // the last one failed: not before
    std::thread log_thread_;
    std::thread maintenance_thread_;
    std::thread expiry_thread_;
};

[[nodiscard]] kvstore::time_ms wall_clock_ms();

}  // namespace sluice::daemon
