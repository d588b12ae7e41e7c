#include "pool/listen_hub.hpp"

#include <algorithm>
#include <utility>

#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::pool {

namespace {

// One Query with all channels of a thousand clients would be parsed in one piece.
constexpr std::size_t most_changes = 1000;

// A payload has at most 8000 bytes; errors and notices are not much longer.
constexpr std::size_t longest_frame = 1 << 20;

// The server reads only: whatever LISTEN it is, it is refused.
constexpr std::string_view read_only = "25006";

const login_failure superfluous{"57014", "the client that wanted to listen is gone", "", "", false};

void append_change(std::string& sql, std::string_view channel, bool listen) {
    sql += listen ? "LISTEN \"" : "UNLISTEN \"";
    for (const char c : channel) {
        if (c == '"') sql += '"';
        sql += c;
    }
    sql += "\";";
}

}  // namespace

listen_hub::listen_hub() : marker_(&channel_for(marker_channel)) {}

listen_hub::~listen_hub() = default;

listen_hub::channel_state& listen_hub::channel_for(std::string_view name) {
    const auto at = channels_.find(name);
    if (at != channels_.end()) return *at->second;
    const auto added = channels_.emplace(name, std::make_unique<channel_state>()).first;
    added->second->name = &added->first;
    return *added->second;
}

bool listen_hub::wanted(const channel_state& channel) const noexcept {
    return !channel.subscribers.empty() || &channel == marker_;
}

// The wish for a channel may have changed.
void listen_hub::touch(channel_state& channel) {
    if (!connected_) return drop_if_unused(channel);
    if (channel.queued) return;
    channel.queued = true;
    if (&channel == marker_) {  // nobody is told "done" before markers are heard
        changed_.push_front(&channel);
    } else {
        changed_.push_back(&channel);
    }
}

void listen_hub::drop_if_unused(channel_state& channel) {
    if (wanted(channel) || channel.listened) return;
    relistened(channel);
    channels_.erase(channels_.find(*channel.name));
}

void listen_hub::relistened(channel_state& channel) {
    if (!channel.relistening) return;
    channel.relistening = false;
    --relistening_;
}

void listen_hub::subscribe(listener_state& who, std::string_view name, const std::string& marker,
                           std::vector<std::unique_ptr<subscription>>& into) {
    auto& channel = channel_for(name);
    auto one = std::make_unique<subscription>();
    one->channel = &channel;
    one->who = &who;
    one->place = channel.subscribers.size();
    one->marker = marker;
    one->awaited = !channel.listened || channel.leaving;
    if (one->awaited) ++who.awaited;
    channel.subscribers.push_back(one.get());
    into.push_back(std::move(one));
    touch(channel);
}

void listen_hub::unsubscribe(std::unique_ptr<subscription> gone) {
    unawait(*gone);
    auto& channel = *gone->channel;
    auto& list = channel.subscribers;
    list[gone->place] = list.back();
    list[gone->place]->place = gone->place;
    list.pop_back();
    if (list.empty()) touch(channel);
}

void listen_hub::unawait(subscription& one) {
    if (!one.awaited) return;
    one.awaited = false;
    --one.who->awaited;
}

void listen_hub::set_channels(std::uint64_t who, const std::vector<std::string>& channels,
                              const std::string& marker, std::uint64_t request,
                              clock_time deadline) {
    auto& place = listeners_[who];
    if (place == nullptr) {
        place = std::make_unique<listener_state>();
        place->id = who;
    }
    auto& listener = *place;
    ++pending_;
    listener.requests.push_back(request);
    listener.deadline = deadline;
    if (marker.empty()) {
        void_markers(listener);
    } else {
        markers_[marker] = who;
        listener.markers.push_back(marker);
    }
    auto before = std::move(listener.channels);
    listener.channels.clear();
    auto old = before.begin();
    for (const auto& name : channels) {
        while (old != before.end() && *(*old)->channel->name < name)
            unsubscribe(std::move(*old++));
        if (old != before.end() && *(*old)->channel->name == name) {
            listener.channels.push_back(std::move(*old++));
        } else {
            subscribe(listener, name, marker, listener.channels);
        }
    }
    while (old != before.end())
        unsubscribe(std::move(*old++));
    if (listener.awaited == 0) complete(listener);
    if (channels.empty()) remove(listener);
    send_next();
}

void listen_hub::catch_up(std::uint64_t request, clock_time deadline) {
    ++pending_;
    if (listeners_.empty()) return done(request);
    round_trips_.push_back({request, deadline});
    send_next();
}

void listen_hub::forget(std::uint64_t who) {
    const auto at = listeners_.find(who);
    if (at == listeners_.end()) return;
    fail(*at->second, superfluous);
    const auto left = listeners_.find(who);
    if (left != listeners_.end()) remove(*left->second);
    send_next();
}

void listen_hub::remove(listener_state& who) {
    for (auto& one : std::exchange(who.channels, {}))
        unsubscribe(std::move(one));
    void_markers(who);
    listeners_.erase(who.id);
    if (!listeners_.empty() || connected_) return;
    for (const auto& one : std::exchange(round_trips_, {}))
        done(one.request);
}

void listen_hub::void_markers(listener_state& who) {
    for (const auto& marker : who.markers)
        markers_.erase(marker);
    who.markers.clear();
    for (auto& one : who.channels)
        one->marker.clear();
}

void listen_hub::done(std::uint64_t request, const login_failure* error) {
    --pending_;
    listen_event event;
    event.request = request;
    if (error != nullptr) event.error = *error;
    events_.push_back(std::move(event));
}

void listen_hub::complete(listener_state& who) {
    for (auto& one : who.channels)
        one->settled = true;
    for (const auto request : std::exchange(who.requests, {}))
        done(request);
}

// Takes back what the request has added. The listener may be gone afterwards.
void listen_hub::fail(listener_state& who, const login_failure& why) {
    if (who.requests.empty()) return;
    auto before = std::exchange(who.channels, {});
    for (auto& one : before) {
        if (one->settled) {
            who.channels.push_back(std::move(one));
        } else {
            unsubscribe(std::move(one));
        }
    }
    for (const auto request : std::exchange(who.requests, {}))
        done(request, &why);
    if (who.channels.empty()) remove(who);
}

void listen_hub::refuse(const login_failure& why) {
    expire(clock_time::max(), why);
}

void listen_hub::expire(clock_time now, const login_failure& why) {
    std::vector<listener_state*> late;
    for (const auto& [id, who] : listeners_) {
        if (!who->requests.empty() && who->deadline <= now) late.push_back(who.get());
    }
    for (auto* who : late)
        fail(*who, why);
    fail_round_trips(round_trips_, now, why);
    fail_round_trips(returning_, now, why);
    send_next();
}

void listen_hub::fail_round_trips(std::deque<round_trip>& of, clock_time before,
                                  const login_failure& why) {
    std::erase_if(of, [&](const round_trip& one) {
        if (one.deadline > before) return false;
        done(one.request, &why);
        return true;
    });
}

void listen_hub::connected() {
    if (connected_) lost();
    connected_ = true;
    touch(*marker_);
    // What was listened to before comes before what is new.
    for (const bool settled : {true, false}) {
        for (auto& [name, channel] : channels_) {
            const auto& all = channel->subscribers;
            const bool restores =
                std::any_of(all.begin(), all.end(), [](const auto* one) { return one->settled; });
            if (all.empty() || restores != settled) continue;
            if (restores) {
                channel->relistening = true;
                ++relistening_;
            }
            touch(*channel);
        }
    }
    send_next();
}

void listen_hub::lost() {
    connected_ = in_flight_ = desynced_ = false;
    close_wanted_ = {};
    batch_.clear();
    batch_error_.reset();
    output_.clear();
    changed_.clear();
    relistening_ = 0;
    for (auto at = channels_.begin(); at != channels_.end();) {
        auto& channel = *(at++)->second;  // it may be dropped
        channel.listened = channel.leaving = channel.queued = false;
        channel.relistening = channel.suspect = false;
        drop_if_unused(channel);
    }
    for (const auto& [id, who] : listeners_) {
        who->awaited = 0;
        // A marker is sent when the request is done: it may have come and gone meanwhile.
        if (who->requests.empty()) void_markers(*who);
        for (auto& one : who->channels) {
            if (one->settled) {
                who->missed = missed_ = true;
                one->marker.clear();
            } else {
                one->awaited = true;
                ++who->awaited;
            }
        }
    }
    // A round trip that was under way is made again.
    round_trips_.insert(round_trips_.begin(), returning_.begin(), returning_.end());
    returning_.clear();
    if (!listeners_.empty()) return;
    for (const auto& one : std::exchange(round_trips_, {}))
        done(one.request);
}

void listen_hub::send_next() {
    if (!connected_ || in_flight_ || !close_wanted_.empty()) return;
    std::string sql;
    std::size_t restoring = 0;
    while (!changed_.empty() && batch_.size() < most_changes) {
        auto& channel = *changed_.front();
        const bool listen = wanted(channel);
        const bool tell = listen != channel.listened;
        if (tell && channel.suspect && !batch_.empty()) break;
        changed_.pop_front();
        channel.queued = false;
        if (!tell) {
            drop_if_unused(channel);
            continue;
        }
        if (!listen) channel.leaving = true;
        append_change(sql, *channel.name, listen);
        batch_.push_back({&channel, listen});
        if (channel.relistening) ++restoring;
        if (channel.suspect) break;
    }
    if (relistening_ == 0) report_missed();
    // Nobody has caught up before everything is listened to again.
    const bool catches_up = !round_trips_.empty() && relistening_ == restoring;
    if (batch_.empty() && !catches_up) return;
    if (catches_up) returning_.swap(round_trips_);
    protocol::append_query(output_, sql);
    in_flight_ = true;
}

std::size_t listen_hub::receive(protocol::byte_span in) {
    std::size_t taken = 0;
    while (connected_ && close_wanted_.empty()) {
        const auto rest = in.subspan(taken);
        protocol::frame_header header;
        const auto status = protocol::read_header(rest, header);
        if (status == protocol::header_status::partial) break;
        if (status == protocol::header_status::broken || header.total() > longest_frame) {
            desync();
            break;
        }
        if (rest.size() < header.total()) break;
        on_frame(header.type, rest.first(header.total()));
        taken += header.total();
    }
    return taken;
}

void listen_hub::on_frame(char type, protocol::byte_span frame) {
    const auto body = frame.subspan(protocol::frame_header::size);
    switch (type) {
        case 'A':
            return on_notification(frame);
        case 'N':  // at any time
        case 'S':
            return;
        case 'E':
            return on_error(body);
        case 'C':
        case 'I':
            if (!in_flight_) desync();
            return;
        case 'Z':
            return on_ready(body);
        default:
            desync();
    }
}

// Int32 process, String channel, String payload
void listen_hub::on_notification(protocol::byte_span frame) {
    protocol::reader in(frame.subspan(protocol::frame_header::size));
    in.u32();
    const auto name = in.text();
    const auto payload = in.text();
    if (!in.at_end()) return desync();
    const auto at = channels_.find(name);
    if (at == channels_.end()) return;  // nobody's any more
    listen_event event;
    event.what = listen_event::kind::notification;
    for (const auto* one : at->second->subscribers) {
        if (one->marker.empty()) event.to.push_back(one->who->id);
    }
    if (!event.to.empty()) {
        event.frame = std::make_shared<const std::string>(protocol::as_text(frame));
        events_.push_back(std::move(event));
    }
    if (name != marker_channel) return;
    const auto marked = markers_.find(payload);
    if (marked == markers_.end()) return;
    auto& who = *listeners_.at(marked->second);
    std::erase(who.markers, payload);
    for (auto& one : who.channels) {
        if (one->marker == payload) one->marker.clear();
    }
    markers_.erase(marked);
}

void listen_hub::on_error(protocol::byte_span body) {
    const auto fields = protocol::read_error_fields(body);
    if (fields.fatal()) {
        close_wanted_ = "the server ended it";
        return;
    }
    if (!in_flight_) return desync();
    batch_error_ =
        login_failure{std::string(fields.sqlstate), std::string(fields.message), "", "", false};
}

void listen_hub::on_ready(protocol::byte_span body) {
    if (!in_flight_ || body.size() != 1 || body[0] != 'I') return desync();
    in_flight_ = false;
    if (batch_error_.has_value()) {
        const auto why = *std::exchange(batch_error_, std::nullopt);
        refuse_batch(why);
    } else {
        confirm_batch();
    }
    for (const auto& one : std::exchange(returning_, {}))
        done(one.request);
    send_next();
}

void listen_hub::confirm_batch() {
    const auto confirmed = std::exchange(batch_, {});
    for (const auto& [channel, listen] : confirmed) {
        channel->listened = listen;
        channel->leaving = channel->suspect = false;
        if (listen) relistened(*channel);
        if (wanted(*channel) != listen || !listen) touch(*channel);
    }
    if (relistening_ == 0) report_missed();
    for (const auto& [channel, listen] : confirmed) {
        if (listen) arrived(*channel);
    }
}

void listen_hub::arrived(channel_state& channel) {
    for (auto* one : channel.subscribers) {
        if (!one->awaited) continue;
        unawait(*one);
        if (one->who->awaited == 0) complete(*one->who);
    }
}

// Nothing of the batch has taken effect.
void listen_hub::refuse_batch(const login_failure& why) {
    const auto refused = std::exchange(batch_, {});
    const auto listens =
        std::count_if(refused.begin(), refused.end(), [](const auto& one) { return one.listen; });
    if (listens == 0) {
        close_wanted_ = "it refused to stop listening";
        return;
    }
    const bool blames_one = refused.size() == 1 || why.sqlstate == read_only;
    for (const auto& [channel, listen] : refused) {
        touch(*channel);
        if (!listen) {
            channel->leaving = false;
            arrived(*channel);
            continue;
        }
        channel->suspect = true;
        if (!blames_one) continue;
        std::vector<listener_state*> waiting;
        for (const auto* one : channel->subscribers) {
            if (one->awaited) waiting.push_back(one->who);
        }
        for (auto* who : waiting)
            fail(*who, why);
        // Those who listened to it before the connection was lost do not give up.
        if (wanted(*channel)) close_wanted_ = "it refused to listen";
    }
}

void listen_hub::report_missed() {
    if (!std::exchange(missed_, false)) return;
    listen_event event;
    event.what = listen_event::kind::missed;
    for (const auto& [id, who] : listeners_) {
        if (std::exchange(who->missed, false)) event.to.push_back(id);
    }
    if (!event.to.empty()) events_.push_back(std::move(event));
}

void listen_hub::desync() {
    desynced_ = true;
    close_wanted_ = "it sent what the protocol does not allow";
}

std::string listen_hub::take_output() {
    return std::exchange(output_, {});
}

std::vector<listen_event> listen_hub::take_events() {
    return std::exchange(events_, {});
}

}  // namespace sluice::pool
