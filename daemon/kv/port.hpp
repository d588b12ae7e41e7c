// The key-value port, whether its store is here or with another process: the listeners, and the
// service while there is one. The service can be given up and made again while the workers run.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "daemon/kv/service.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/worker.hpp"

namespace sluice::daemon {

class kv_port {
  public:
    // Before the workers start, as listen().
    kv_port(std::vector<net::worker*> workers, logger& log);
    ~kv_port();
    kv_port(const kv_port&) = delete;
    kv_port& operator=(const kv_port&) = delete;

    void listen(net::bound_socket on);
    void listen_for_control(net::bound_socket on);

    // Any thread. Null: there is none now; the port is off, or the store with another process.
    [[nodiscard]] std::shared_ptr<kv_service> service() const;

    // Before the workers start: opens the store, which may take as long as its log is; throws as
    // kv_service does.
    void open(const config::kv_settings& settings, const std::string& config_file);
    // Its threads, and accepting: before the workers start, or on the first of them.
    void start();
    // On the first worker.
    void stop();

    // From a thread that may wait, while the workers run. Gives the store up and hands the clients
    // out. Nothing: all is as it was, and `why` says why. If `why` is set besides, the log may lack
    // something.
    [[nodiscard]] std::optional<std::vector<handed_client>> suspend(std::string& why);
    // When nobody was answered any more.
    [[nodiscard]] std::chrono::steady_clock::time_point suspended_at() const noexcept {
        return suspended_at_;
    }
    // The way back: opens the store again, as open() does, and goes on with these clients.
    void resume(const config::kv_settings& settings, const std::string& config_file,
                const std::vector<handed_client>& clients);

  private:
    void set(std::shared_ptr<kv_service> service);
    void add(net::bound_socket on, void (kv_service::*accept)(net::accepted_socket));

    std::vector<net::worker*> workers_;
    logger& log_;
    std::chrono::steady_clock::time_point suspended_at_{};
    mutable std::mutex mutex_;
    std::shared_ptr<kv_service> service_;
    std::vector<kv_service*> on_;  // by worker, and touched by that one only once it runs
    std::vector<std::unique_ptr<net::listener>> listeners_;
};

}  // namespace sluice::daemon
