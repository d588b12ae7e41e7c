// One connection to a Postgres server: its socket, its protocol state, its place in the pool's
// books.
//
//   phase     has               leaves it by
//   idle      no client         a lease; the server's end; retirement by age; a move
//   leased    a client here     the client's release, departure or loss
//   cleaning  no client         the link is clean (back to the pool); deadline or error (closed)
//   moving    a client waiting  arrival on that client's worker
//   closed
//
// Confined to the worker that it lives on (`home`), which changes only by moving.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "daemon/net/stream.hpp"
#include "daemon/net/worker.hpp"
#include "daemon/pg/pool_entry.hpp"
#include "pool/overview.hpp"
#include "pool/server_link.hpp"

namespace sluice::daemon {

class client_session;
class pg_service;

class server_connection final : public net::stream_owner,
                                public std::enable_shared_from_this<server_connection> {
  public:
    enum class phase { idle, leased, cleaning, moving, closed };

    server_connection(pg_service& service, pool_entry& pool, net::worker& home,
                      const login_terms& terms, pool::upstream_connection upstream);
    ~server_connection();

    void open();

    // Gives the connection to a client of this worker.
    void lease_to(client_session& client);
    // The client is done, between transactions.
    void release();
    // The client left in the middle. `cut_short`: part of a message of its is missing.
    void abandon(bool cut_short);
    void move_to(std::shared_ptr<client_session> client);
    void close(const char* why);
    // Sends a cancel request for what runs now; the connection serves nobody else until the server
    // has taken note. Then `done` is called on the worker.
    void cancel(pool::cancel_reason reason, std::function<void()> done = {});

    // False: the server has closed it, or has said something that was not read yet.
    [[nodiscard]] bool is_sound(net::clock_time now) const noexcept;
    [[nodiscard]] bool expired(net::clock_time now) const noexcept;
    [[nodiscard]] bool cancelling() const noexcept { return cancels_ > 0; }

    // From any thread. True on the worker itself means that the connection stays there meanwhile.
    [[nodiscard]] bool lives_on(const net::worker& where) const noexcept {
        return settled_on_.load(std::memory_order_acquire) == &where;
    }
    // client_view.cpp; on its worker.
    void describe(std::vector<pool::socket_view>& out) const;

    [[nodiscard]] pool_entry& entry() noexcept { return pool_; }
    [[nodiscard]] net::worker& home() noexcept { return *home_; }
    [[nodiscard]] phase now_in() const noexcept { return phase_; }
    [[nodiscard]] int process_id() const noexcept { return upstream_.process_id; }
    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }

    [[nodiscard]] static server_connection& of(pool::slot& place) noexcept {
        return *static_cast<owned_slot&>(place).owner;
    }

    struct owned_slot : pool::slot {
        server_connection* owner = nullptr;
    };
    pool::server_link link;
    net::stream stream;
    owned_slot slot;
    bool sent_to = false;  // bytes of the present client's transaction have gone out

  private:
    void on_bytes() override;
    void on_drained() override;
    void on_end(end how) override;
    void go_idle();
    void keep_cleaning();
    void arrive();
    void cancel_done();
    void start_cleaning();
    void set_cleaning_deadline();
    void count_traffic();
    static void deadline_passed(net::deadline& entry);

    pg_service& service_;
    pool_entry& pool_;
    net::worker* home_;
    std::atomic<const net::worker*> settled_on_{nullptr};  // not while it moves
    std::uint64_t serial_;
    std::shared_ptr<pool::session_knowledge> knowledge_;
    pool::upstream_connection upstream_;
    client_session* client_ = nullptr;
    std::shared_ptr<client_session> next_client_;  // while moving
    net::clock_time idle_since_{};
    net::clock_time born_;
    double lifetime_factor_;
    net::clock_time give_up_{};  // cleaning has to be over by then
    std::uint64_t counted_in_ = 0;
    std::uint64_t counted_out_ = 0;
    int cancels_ = 0;
    phase phase_ = phase::idle;
    bool tls_ = false;
    struct timed : net::deadline {
        explicit timed(server_connection& o) : deadline(&deadline_passed), owner(o) {}
        server_connection& owner;
    } deadline_{*this};
};

}  // namespace sluice::daemon
