// LISTEN for many clients through one server connection, without its socket: who listens to what,
// what the server must be told, and who gets a notification. Calls, and bytes from the server, go
// in; bytes for the server and events come out, in the order in which the server spoke.
// One Query is under way at a time; whatever comes meanwhile goes together with the next one.
// Every request is answered by exactly one `done`. Confined to one worker; time is an argument.
// Source: PostgreSQL documentation, LISTEN, and "Message Formats" for NotificationResponse.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pool/upstream_login.hpp"
#include "protocol/bytes.hpp"

namespace sluice::pool {

struct listen_event {
    enum class kind : std::uint8_t {
        notification,  // `frame`, a whole NotificationResponse, for `to`
        missed,        // the connection was lost and listens again: `to` may have missed some
        done,          // `request` is over, well or with `error`
    };
    kind what = kind::done;
    std::shared_ptr<const std::string> frame = {};
    std::vector<std::uint64_t> to = {};
    std::uint64_t request = 0;
    std::optional<login_failure> error = {};
};

class listen_hub {
  public:
    using clock_time = std::chrono::steady_clock::time_point;

    // Always listened to. A notification here, with a marker for its payload, says: what comes from
    // now on is the listener's; what came before it got elsewhere.
    static constexpr std::string_view marker_channel = "sluice_marker";

    listen_hub();
    ~listen_hub();
    listen_hub(const listen_hub&) = delete;
    listen_hub& operator=(const listen_hub&) = delete;

    // What `who` listens to becomes just `channels` (sorted, each once). Done when the server has
    // confirmed them all. With a marker, notifications on channels that are new to `who` are
    // dropped until the marker has come by; without one, earlier markers of `who` are void.
    // A request that fails leaves `who` with the channels that it had before and has kept.
    // One that comes before an earlier one is done takes it over: both are done together.
    void set_channels(std::uint64_t who, const std::vector<std::string>& channels,
                      const std::string& marker, std::uint64_t request, clock_time deadline);
    // Done when all that was committed before this call has been handed out.
    void catch_up(std::uint64_t request, clock_time deadline);
    // `who` is gone; a request of its fails.
    void forget(std::uint64_t who);

    // A connection has logged in; it listens to nothing yet.
    void connected();
    // It is gone, also when close_wanted() asked for that. Requests wait for the next one.
    void lost();
    // No connection can be had: all requests fail.
    void refuse(const login_failure& why);
    // Requests whose deadline has passed fail.
    void expire(clock_time now, const login_failure& why);

    // Takes whole frames from the front of `in`; returns how many bytes were taken.
    [[nodiscard]] std::size_t receive(protocol::byte_span in);
    [[nodiscard]] std::string take_output();
    [[nodiscard]] std::vector<listen_event> take_events();

    // Why the connection is of no use any more, or empty.
    [[nodiscard]] std::string_view close_wanted() const noexcept { return close_wanted_; }
    [[nodiscard]] bool desynced() const noexcept { return desynced_; }
    // Somebody listens, or wants to.
    [[nodiscard]] bool wanted() const noexcept { return !listeners_.empty(); }
    [[nodiscard]] std::size_t listeners() const noexcept { return listeners_.size(); }
    [[nodiscard]] std::size_t pending() const noexcept { return pending_; }
    [[nodiscard]] bool is_connected() const noexcept { return connected_; }
    // A Query is under way.
    [[nodiscard]] bool awaiting_reply() const noexcept { return in_flight_; }
    // The server has confirmed all that was listened to before the connection was lost.
    [[nodiscard]] bool restored() const noexcept {
        return connected_ && marker_->listened && relistening_ == 0;
    }

  private:
    struct listener_state;
    struct channel_state;
    // One listener at one channel; both know it.
    struct subscription {
        channel_state* channel = nullptr;
        listener_state* who = nullptr;
        std::size_t place = 0;  // in the channel's list
        std::string marker;     // withheld until it comes by
        bool awaited = false;   // the listener's request waits for the channel
        bool settled = false;   // its request is done
    };
    struct channel_state {
        const std::string* name = nullptr;  // its key in channels_
        std::vector<subscription*> subscribers;
        bool listened = false;     // by this connection, as confirmed
        bool leaving = false;      // UNLISTEN is under way: not to be relied on
        bool queued = false;       // in changed_
        bool relistening = false;  // counted in relistening_
        bool suspect = false;      // a LISTEN of several failed: this one's goes alone
    };
    struct listener_state {
        std::uint64_t id = 0;
        std::vector<std::unique_ptr<subscription>> channels;  // by name
        std::vector<std::uint64_t> requests;                  // that wait, usually one
        std::vector<std::string> markers;                     // that have not come by
        std::size_t awaited = 0;
        clock_time deadline{};
        bool missed = false;
    };
    struct change {
        channel_state* channel;
        bool listen;
    };
    struct round_trip {
        std::uint64_t request;
        clock_time deadline;
    };

    [[nodiscard]] channel_state& channel_for(std::string_view name);
    void subscribe(listener_state& who, std::string_view name, const std::string& marker,
                   std::vector<std::unique_ptr<subscription>>& into);
    void unsubscribe(std::unique_ptr<subscription> gone);
    void unawait(subscription& one);
    void touch(channel_state& channel);
    void drop_if_unused(channel_state& channel);
    [[nodiscard]] bool wanted(const channel_state& channel) const noexcept;
    void relistened(channel_state& channel);

    void done(std::uint64_t request, const login_failure* error = nullptr);
    void complete(listener_state& who);
    void fail(listener_state& who, const login_failure& why);
    void remove(listener_state& who);
    void fail_round_trips(std::deque<round_trip>& of, clock_time before, const login_failure& why);
    void void_markers(listener_state& who);

    void send_next();
    void on_frame(char type, protocol::byte_span frame);
    void on_notification(protocol::byte_span frame);
    void on_error(protocol::byte_span body);
    void on_ready(protocol::byte_span body);
    void confirm_batch();
    void arrived(channel_state& channel);
    void refuse_batch(const login_failure& why);
    void report_missed();
    void desync();

    std::map<std::string, std::unique_ptr<channel_state>, std::less<>> channels_;
    std::unordered_map<std::uint64_t, std::unique_ptr<listener_state>> listeners_;
    std::map<std::string, std::uint64_t, std::less<>> markers_;  // whose
    channel_state* marker_;                                      // never erased
    std::deque<channel_state*> changed_;  // the server may have to be told; empty without a server
    std::vector<change> batch_;           // under way
    std::deque<round_trip> round_trips_;  // wait for the next Query
    std::deque<round_trip> returning_;    // wait for the one that is under way
    std::optional<login_failure> batch_error_;
    std::string output_;
    std::vector<listen_event> events_;
    std::string_view close_wanted_;
    std::size_t relistening_ = 0;
    std::size_t pending_ = 0;
    bool connected_ = false;
    bool in_flight_ = false;
    bool missed_ = false;  // somebody has to be told
    bool desynced_ = false;
};

}  // namespace sluice::pool
