// The server connection through which all clients of a pool listen: opened outside of the pool's
// bound when the first client listens, opened again when it breaks, closed when nobody has listened
// for a while. What it says to whom is decided by pool::listen_hub.
// The public calls may be made on any worker; everything else happens on `home`. Owned by the
// pool's entry, for the life of the daemon.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/net/stream.hpp"
#include "daemon/net/worker.hpp"
#include "daemon/pg/pool_entry.hpp"
#include "pool/listen_hub.hpp"

namespace sluice::daemon {

class pg_service;

// A client that listens. Called on the client's worker, in the order in which the server spoke.
struct listener {
    virtual void on_notification(const std::shared_ptr<const std::string>& frame) = 0;
    // The connection was lost and is back: notifications in between are lost too.
    virtual void on_missed() = 0;

  protected:
    ~listener() = default;
};

class listening final : public std::enable_shared_from_this<listening> {
  public:
    // Null: all went well.
    using done_call = std::function<void(const pool::login_failure* error)>;

    listening(pg_service& service, pool_entry& pool, net::worker& home);
    ~listening();

    // As pool::listen_hub says. `done` is called on `on`, the client's worker, exactly once unless
    // the daemon stops, after every delivery that precedes it.
    void set_channels(std::weak_ptr<listener> who, net::worker& on, std::uint64_t serial,
                      std::vector<std::string> channels, std::string marker, done_call done);
    // Done in any case, after two seconds at most when the connection is away.
    void catch_up(net::worker& on, std::function<void()> done);
    // Whoever has ever called set_channels calls this in the end.
    void forget(std::uint64_t serial);
    // The pool has gone over to another server: so does this, at once.
    void renew();
    // Closes the connection. It comes back if somebody listens, and not before a pause is over.
    void reconnect();
    // The end of the daemon: no worker may run any more.
    void close();

  private:
    class link;
    struct known_listener {
        std::weak_ptr<listener> who;
        net::worker* on = nullptr;
    };
    struct known_request {
        net::worker* on = nullptr;
        done_call done;
    };
    // One event for those of one worker.
    struct parcel {
        pool::listen_event::kind what;
        std::shared_ptr<const std::string> frame;
        std::vector<std::weak_ptr<listener>> to;
        done_call done;
        std::optional<pool::login_failure> error;
    };
    using parcels = std::vector<parcel>;

    [[nodiscard]] std::uint64_t remember(net::worker& on, done_call done);
    void proceed();
    void hand_out();
    void post_to(net::worker& on, parcels what, std::size_t deliveries);
    static void open_parcel(const parcel& one);
    void log_in();
    void logged_in(pool::login_result result, std::uint32_t renewals);
    void feed();
    void drop(std::string_view why);
    void count_traffic();
    void arm(net::clock_time now);
    void check_deadlines();
    static void deadline_passed(net::deadline& entry);

    pg_service& service_;
    pool_entry& pool_;
    net::worker& home_;
    pool::listen_hub hub_;
    std::shared_ptr<link> link_;
    std::unordered_map<std::uint64_t, known_listener> listeners_;  // by serial
    std::unordered_map<std::uint64_t, known_request> requests_;
    std::uint64_t last_request_ = 0;
    std::atomic<std::size_t> in_hand_{0};  // posted and not delivered yet
    pool::login_failure last_failure_;     // since there was a connection
    net::clock_time retry_at_{};
    net::clock_time idle_until_ = net::deadline::never;
    net::clock_time answer_by_ = net::deadline::never;
    std::chrono::milliseconds back_off_;
    std::uint64_t counted_in_ = 0;
    std::uint64_t counted_out_ = 0;
    std::uint32_t renewals_ = 0;
    bool logging_in_ = false;
    bool closed_ = false;
    struct timed : net::deadline {
        explicit timed(listening& o) : deadline(&deadline_passed), owner(o) {}
        listening& owner;
    } deadline_{*this};
};

}  // namespace sluice::daemon
