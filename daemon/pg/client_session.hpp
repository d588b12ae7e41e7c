// One client of the Postgres port, from its socket to its end.
//
//   phase      what it does                        leaves it by
//   login      TLS, startup, authentication        logged_in(), a refusal
//   welcome    waits for what a server reports     the report (ready), a refusal
//   ready      relays messages                     Terminate, an end, an error
//   dedicated  relays bytes to a server of its own  either side's end
//   console    serves the admin console             Terminate, an end, an error
//   closing    sends its last words                the peer's end, a deadline
//   closed
//
// In ready (and welcome) it has no server connection, or waits for one, or holds one.
// Confined to its worker; its stream keeps it alive.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/net/deadlines.hpp"
#include "daemon/net/listener.hpp"
#include "daemon/net/stream.hpp"
#include "daemon/net/worker.hpp"
#include "daemon/pg/client_login.hpp"
#include "daemon/pg/console_session.hpp"
#include "daemon/pg/dedicated_server.hpp"
#include "daemon/pg/listening.hpp"
#include "daemon/pg/service.hpp"
#include "pool/client_link.hpp"

namespace sluice::daemon {

class server_connection;

// How often the server is asked whether what pins an idle client is gone.
constexpr auto pin_check_interval = std::chrono::milliseconds(5000);

// Bytes that one side may leave unsent or unread before the other side is paused.
constexpr std::size_t high_water_mark = 262144;

class client_session final : public net::stream_owner,
                             public listed_session,
                             public listener,
                             public std::enable_shared_from_this<client_session> {
  public:
    static void start(pg_service& service, net::worker& home, net::accepted_socket socket);

    client_session(pg_service& service, net::worker& home);
    ~client_session();

    [[nodiscard]] net::worker& home() noexcept { return home_; }
    [[nodiscard]] pool_entry& pool() noexcept { return *pool_; }
    [[nodiscard]] const pool::client_link& link() const noexcept { return link_; }

    // From client_login, and from helper threads by way of the worker.
    void logged_in();
    void password_checked(bool matches);
    template <class Build>
    void send(Build&& build) {
        protocol::outgoing out;
        out.build(std::forward<Build>(build));
        stream.send(out);
    }
    // Sends a last error and closes; `why` is for the log.
    void fail(const protocol::error_report& error, const char* why);
    void end_quietly();

    // From the service: the connection asked for, or why there is none.
    void granted(server_connection& connection);
    void grant_lost();
    void refused(const pool::login_failure& why);
    void cancel_requested(const std::function<void()>& done);

    // From the server connection that it holds.
    void server_bytes();
    void server_drained();
    void server_lost();  // it is closed, or about to be
    void cancel_done();

    // From the dedicated server connection.
    void dedicated_opened(const std::shared_ptr<pool::login_result>& result);
    void dedicated_bytes(protocol::byte_span bytes);
    void dedicated_ended();

    // From the connection that listens for the pool's clients.
    void on_notification(const std::shared_ptr<const std::string>& frame) override;
    void on_missed() override;

    bool drain(drain_round round, net::clock_time now) override;
    void stop() override;
    void reconfigure() override;
    bool kill() override;
    [[nodiscard]] std::uint64_t serial() const override { return waiter.serial; }
    [[nodiscard]] bool is_client_of(const std::string& database) const override;
    void describe(std::vector<pool::socket_view>& out) const override;  // client_view.cpp

    // From the console session.
    void arm() { set_deadline(); }
    [[nodiscard]] bool is_console() const noexcept { return phase_ == phase::console; }

    net::stream stream;
    pool::waiter waiter;

  private:
    client_session(pg_service& service, net::worker& home, std::uint64_t serial);
    enum class phase : std::uint8_t { login, welcome, ready, dedicated, console, closing, closed };

    void on_bytes() override;
    void on_drained() override;
    void on_end(end how) override;

    void pump();
    void take_messages();
    void regulate_reading();
    [[nodiscard]] bool is_held_up() const noexcept;
    void ask_for_server();
    void begin_batch(protocol::outgoing& to_server, protocol::outgoing& to_client);
    void settings_done();
    void release_server();
    void leave_server(bool cut_short);
    void give_back_server();
    void after_server_bytes();
    // client_listening.cpp
    [[nodiscard]] bool hand_channels_over();
    void channels_heard(const std::string& marker, const pool::login_failure* error);
    void send_to_client(protocol::outgoing& out);
    void caught_up();
    void send_pending();
    void forget_channels();
    void move_channels(pool_entry& next);
    void listen_unmarked(pool_entry& at);
    // client_reload.cpp
    void adopt_configuration();
    [[nodiscard]] bool settle_place() {
        return placed_under_ == service_.directory_number() || find_place();
    }
    [[nodiscard]] bool find_place();
    // client_pins.cpp
    [[nodiscard]] bool is_busy_with_state() const noexcept { return asking_ || handing_over_; }
    void end_transaction(bool answered);
    void answered();
    [[nodiscard]] bool may_pin(pool::pin_set pins);
    void set_pins(pool::pin_set pins);
    void lose_server();  // without giving it back: it is gone, or goes its own way
    [[nodiscard]] bool pin_deadline(net::clock_time now);
    [[nodiscard]] bool server_failed();

    // client_drain.cpp
    [[nodiscard]] bool has_asked() const noexcept;
    [[nodiscard]] bool rests(net::clock_time now) const noexcept;
    void end_drained();
    void refuse_late();

    void welcome();
    void finish_welcome(const pool::parameters& reported);
    void start_dedicated();
    void set_timeouts(const config::postgres_settings& all, const config::user_settings& own,
                      const config::database_settings& target);
    void start_console();

    void refuse_waiting(const protocol::error_report& error);
    void set_deadline();
    void on_deadline(net::clock_time now);
    [[nodiscard]] net::clock_time next_deadline() const;
    void wait_for_too_long();
    void notify_waiting(net::clock_time now);
    void close(const char* why);
    void forget_login();
    void count_transaction(net::clock_time now);
    static void deadline_passed(net::deadline& entry);

    struct timeouts {
        config::milliseconds query_wait{}, query_wait_notify{}, query{}, transaction{},
            idle_transaction{}, client_idle{}, pin{};
        [[nodiscard]] bool any_in_use() const noexcept {
            return (query + transaction + idle_transaction + client_idle).count() != 0;
        }
    };

    pg_service& service_;
    net::worker& home_;
    std::unique_ptr<client_login> login_;
    std::unique_ptr<dedicated_server> dedicated_;
    std::unique_ptr<console_session> console_;
    pool::client_link link_;
    pool_entry* pool_ = nullptr;
    server_connection* server_ = nullptr;
    std::shared_ptr<const timeouts> timeouts_;
    std::shared_ptr<const std::string> names_;  // "database\0user", for the counts
    const char* replication_ = "none";
    net::clock_time born_;
    net::clock_time pinned_at_{};
    net::clock_time since_;  // of the phase; of idleness while ready without a server
    net::clock_time leased_at_{};
    net::clock_time batch_at_{};    // the first message of what is running
    net::clock_time quiet_at_{};    // idle in transaction since
    net::clock_time goodbye_at_{};  // it stopped sending while it was owed answers
    std::string peer_;
    std::uint64_t queries_seen_ = 0;
    std::uint64_t counted_queries_ = 0;
    std::uint64_t counted_in_ = 0;
    std::uint64_t counted_out_ = 0;
    std::uint32_t process_id_ = 0;
    std::uint32_t placed_under_ = 0;  // the number of the directory that its pool is from
    phase phase_ = phase::login;
    config::pool_mode mode_ = config::pool_mode::transaction;
    bool admitted_ = false;
    bool waiting_ = false;                 // for a server connection
    std::function<void()> cancel_wanted_;  // while a grant is on its way: what to call then
    bool settings_wait_ = false;           // messages wait for the outcome of the settings
    bool bringing_ = false;                // ... for prepared statements that are brought
    bool asking_ = false;                  // ... or for what the server says of the session
    bool handing_over_ = false;            // ... or for its channels to be taken over
    bool catching_up_ = false;             // its answers wait for its own notifications
    bool has_listened_ = false;
    bool listening_failed_ = false;
    bool missed_ = false;  // notifications, and it has not been told yet
    std::string held_answers_;
    std::vector<std::shared_ptr<const std::string>> pending_;  // what comes between transactions
    pool::pin_set pins_ = 0;      // why it keeps its connection between transactions
    net::clock_time asked_at_{};  // while pinned
    bool goodbye_ = false;        // Terminate came; ends when nothing is owed
    bool timed_out_ = false;      // query_timeout has struck; the cancel is under way
    bool notified_ = false;
    bool draining_ = false;
    struct timed : net::deadline {
        explicit timed(client_session& o) : deadline(&deadline_passed), owner(o) {}
        client_session& owner;
    } deadline_{*this};
};

}  // namespace sluice::daemon
