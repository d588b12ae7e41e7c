// What an admin has ordered of the pools, and carrying it out: PAUSE, RESUME, DISABLE, ENABLE,
// RECONNECT, KILL. Orders are kept by the database's name, so they hold for pools that come into
// being later, too; they end with the daemon. Thread-safe; `done` is called on any worker.
#pragma once

#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "daemon/net/worker.hpp"

namespace sluice::daemon {

class pg_service;
struct pool_entry;

// Why an order was not carried out; none if it was.
struct order_refusal {
    std::string_view sqlstate;
    std::string message;
    std::string hint;

    [[nodiscard]] bool refused() const noexcept { return !sqlstate.empty(); }
};

class pool_control {
  public:
    explicit pool_control(pg_service& service) : service_(service) {}

    [[nodiscard]] bool is_paused(const std::string& database) const;
    [[nodiscard]] bool is_paused_by_name(const std::string& database) const;
    [[nodiscard]] bool is_disabled(const std::string& database) const;
    [[nodiscard]] bool everything_is_paused() const;

    // An empty database: all of them.
    [[nodiscard]] order_refusal pause(const std::string& database);
    [[nodiscard]] order_refusal resume(const std::string& database, net::worker& on);
    [[nodiscard]] order_refusal disable(const std::string& database);
    [[nodiscard]] order_refusal enable(const std::string& database);
    [[nodiscard]] order_refusal reconnect(const std::string& database);
    // Pauses, and ends every client and server connection; `done` when that has been done.
    [[nodiscard]] order_refusal kill(const std::string& database, std::function<void()> done);
    // `done` is told whether there was such a client.
    void kill_client(std::uint64_t serial, std::function<void(bool)> done);

    // No server connection is left that PAUSE waits for.
    [[nodiscard]] bool is_released(const std::string& database) const;
    // None is left that RECONNECT has outdated.
    [[nodiscard]] bool is_renewed(const std::string& database) const;
    [[nodiscard]] order_refusal check_database(const std::string& database) const;

    // A pool has come into being.
    void apply_to(pool_entry& pool) const;

  private:
    void pause_pools(const std::string& database, const char* why);

    pg_service& service_;
    mutable std::mutex mutex_;
    std::set<std::string> paused_;
    std::set<std::string> disabled_;
    bool all_paused_ = false;
};

}  // namespace sluice::daemon
