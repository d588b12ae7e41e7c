// One client of the key-value port, from its socket to its end: it brings bytes to the client's
// state machine (kvstore/client.hpp) and replies back, when the log says that they may go.
// Confined to its worker; its stream keeps it alive.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/kv/service.hpp"
#include "daemon/net/deadlines.hpp"
#include "daemon/net/stream.hpp"

namespace sluice::daemon {

class kv_session final : public net::stream_owner,
                         public listed_kv_session,
                         public std::enable_shared_from_this<kv_session> {
  public:
    static void start(kv_service& service, net::worker& home, const net::accepted_socket& socket,
                      bool is_control);
    // One that another process, or an earlier service, has begun.
    static void go_on(kv_service& service, net::worker& home, const handed_client& from);

    kv_session(kv_service& service, net::worker& home, std::shared_ptr<kvstore::client_card> card);
    ~kv_session();

    // The log has moved on: replies that were held may go, or commands that found no room.
    // True: it still waits.
    [[nodiscard]] bool log_moved();
    // At the end of a worker's turn.
    static void send_all_put_off(kv_room& room);
    void end_now() override;
    // The settings have changed.
    void reconfigure() override;
    void leave(leaving how) override;

  private:
    void on_bytes() override;
    void on_drained() override;
    void on_end(end how) override;

    static std::shared_ptr<kv_session> make(kv_service& service, net::worker& home,
                                            const net::accepted_socket& socket);
    // True: it has left.
    [[nodiscard]] bool leave_now();
    [[nodiscard]] bool is_between_commands() const;
    void hand_over();
    // TLS, if the first byte says so. False: not now, or the connection has ended.
    [[nodiscard]] bool settle_tls();
    void work();
    // Now or at the end of the turn, in order.
    void send(protocol::outgoing& out);
    void send_now(std::string_view bytes);
    void send_put_off();
    [[nodiscard]] bool take_replies(kvstore::reply_buffer& reply, kvstore::log_number waits_for);
    [[nodiscard]] bool is_behind() const;
    void go_on_later();
    void woken();
    void end_after_replies();
    void say_and_close(std::string_view text);
    void login_changed();
    [[nodiscard]] net::clock_time login_due() const;
    void set_deadline();
    void push(const std::string& line);

    enum class waiting { none, log, room, wake, reader, turn, over };

    kv_service& service_;
    net::worker& home_;
    kvstore::client client_;
    std::function<void()> wake_;
    waiting waits_ = waiting::none;
    std::shared_ptr<const net::tls_context> tls_;  // of when it came, until it is settled
    bool tls_settled_ = false;
    bool must_use_tls_ = false;
    bool has_ended_ = false;  // the client's side is closed
    bool closes_ = false;     // after the replies that are held
    bool has_put_off_ = false;
    leaving leaves_ = leaving::no;
    bool is_unix_ = false;
    bool is_loopback_ = false;
    kvstore::log_number held_for_ = 0;
    std::string held_;  // replies until the log is safe
    std::vector<kvstore::reply_buffer::span> held_writes_;
    std::uint64_t counted_in_ = 0;
    net::clock_time unknown_since_{};  // it has to authenticate since then; else {}
    net::stream stream_;
    struct idle_deadline : net::deadline {
        explicit idle_deadline(kv_session& owner)
            : net::deadline(&idle_deadline::passed), session(owner) {}
        static void passed(net::deadline& which);
        kv_session& session;
    } deadline_{*this};
};

}  // namespace sluice::daemon
