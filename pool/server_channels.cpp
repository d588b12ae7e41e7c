// server_link where LISTEN is concerned: what a client listens to goes over to the connection that
// all share, and notifications that come here are told once (docs/sessions.md).
#include <algorithm>
#include <iterator>
#include <utility>

#include "pool/client_link.hpp"
#include "pool/server_frame.hpp"
#include "pool/server_link.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::pool {

using protocol::outgoing;

// `native`: what the connection itself listens to. That is what the client has added in this
// transaction, or all of its channels if they were brought here first.
void server_link::take_channels(std::vector<std::string> native, client_link* client) {
    std::sort(native.begin(), native.end());
    listens = !native.empty();
    marker_passed_ = false;  // of an earlier handover
    const bool brought = std::exchange(brought_channels, false);
    brought_ran_ = false;
    const auto marker = std::find(native.begin(), native.end(), listen_marker);
    const bool marked = marker != native.end();
    if (marked) native.erase(marker);
    if (client == nullptr) return;
    if (brought && (marked || !undone_ || !brought_within)) {
        client->channels = std::move(native);
    } else {
        std::vector<std::string> all;
        std::set_union(client->channels.begin(), client->channels.end(), native.begin(),
                       native.end(), std::back_inserter(all));
        client->channels = std::move(all);
    }
    undone_ = false;
}

void server_link::hand_channels_over(const std::string& marker, outgoing& to_server) {
    marker_ = marker;
    marker_passed_ = false;
    const auto run = [&](const std::string& sql) {
        to_server.build([&](std::string& out) { protocol::append_query(out, sql); });
        push({owed_kind::query, reply_for::nobody, errand::handover, 0, nullptr});
    };
    if (!marker.empty()) {  // each in a transaction of its own: it is passed on after the commit
        run(listen_sql(listen_marker));
        run("NOTIFY " + listen_sql(listen_marker).substr(7) + ", '" + marker + "'");
    }
    run("UNLISTEN *");
    unnamed_client = 0;
    listens = false;
}

bool server_link::may_have_notified(const client_link* client) const noexcept {
    constexpr auto notifying = protocol::hint_notifies | protocol::hint_unknown |
                               protocol::hint_named | protocol::hint_executes;
    // While its channels may be changing, nobody knows what it has to hear.
    return client != nullptr && !client->heard.empty() && (hints & notifying) != 0 &&
           (hints & protocol::hint_channels) == 0;
}

// What the shared connection hears for the client it delivers itself. Clients know themselves and
// others by the process ids that they were given.
void server_link::on_notification(frame_context& frame) {
    if (frame.client == nullptr) return;
    protocol::reader in(frame.body);
    const auto sender = in.u32();
    const auto channel = in.text();
    if (!in.ok()) return desync();
    if (channel == listen_marker) {
        marker_passed_ = marker_passed_ || (!marker_.empty() && in.text() == marker_);
        return;
    }
    const auto& heard = frame.client->heard;
    if (marker_passed_ || std::binary_search(heard.begin(), heard.end(), channel)) return;
    const bool answered = batch.answered;
    const auto client = sender == process_id_   ? frame.client->process_id()
                        : knowledge_ != nullptr ? knowledge_->notifier(sender)
                                                : 0;
    if (client == 0) {
        forward(frame);
    } else {
        std::string copy(protocol::as_text(frame.part));
        protocol::store_u32(copy.data() + protocol::frame_header::size, client);
        frame.to_client.copy(protocol::as_bytes(copy));
        frame_passes_ = true;
    }
    batch.answered = answered;
}

}  // namespace sluice::pool
