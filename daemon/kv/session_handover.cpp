// kv_session where it ends so that its client can go on in another process, and where it begins
// with a client that comes from one.

#include "daemon/kv/session.hpp"

namespace sluice::daemon {

namespace {

// More than this of an unfinished command is not carried along.
constexpr std::size_t most_carried = std::size_t{64} << 20;

}  // namespace

void kv_session::leave(leaving how) {
    leaves_ = how;
    if (waits_ == waiting::none) static_cast<void>(leave_now());
}

// Nothing of it is under way but, perhaps, a command that has not arrived whole.
bool kv_session::is_between_commands() const {
    return stream_.is_open() && waits_ == waiting::none && !has_ended_ && !closes_ &&
           stream_.backlog() == 0 && client_.pending == nullptr;
}

bool kv_session::leave_now() {
    if (leaves_ == leaving::no) return false;
    send_put_off();
    if (!is_between_commands()) return false;
    if (leaves_ == leaving::closed) {
        end_now();
        return true;
    }
    const bool can_go =
        stream_.tls() == nullptr && !client_.is_control && !client_.transaction.open &&
        client_.watched.empty() && !client_.card->is_monitor.load() &&
        client_.reply_mode != kvstore::client::replies::skip && stream_.rx.size() <= most_carried;
    if (!can_go) return false;
    hand_over();
    return true;
}

void kv_session::hand_over() {
    handed_client out;
    const auto& card = *client_.card;
    out.is_unix = is_unix_;
    out.is_loopback = is_loopback_;
    out.tls_settled = tls_settled_;
    out.is_known = client_.who != nullptr;
    out.is_silenced = client_.reply_mode == kvstore::client::replies::off;
    out.peer = card.address;
    out.id = card.id;
    out.connected_ms = card.connected_ms;
    out.selected = client_.selected;
    out.version = client_.version;
    {
        const std::lock_guard lock(card.mutex);
        out.user = card.user;
        out.name = card.name;
        out.library_name = card.library_name;
        out.library_version = card.library_version;
    }
    out.bytes = protocol::as_text(stream_.rx.readable());
    stream_.rx.consume(stream_.rx.size());
    waits_ = waiting::over;
    net::deadline_list::cancel(deadline_);
    out.descriptor = stream_.detach();
    service_.room_of(home_).handed.push_back(std::move(out));
}

void kv_session::go_on(kv_service& service, net::worker& home, const handed_client& from) {
    auto& room = service.room_of(home);
    const auto self =
        make(service, home, {from.descriptor, from.is_unix, from.is_loopback, from.peer});
    auto& client = self->client_;
    client.card->id = from.id;
    client.card->connected_ms = from.connected_ms;
    client.card->name = from.name;
    client.card->library_name = from.library_name;
    client.card->library_version = from.library_version;
    client.card->user = from.user;
    client.card->version = from.version;
    client.version = from.version;
    client.select(from.selected);
    if (from.is_silenced) client.reply_mode = kvstore::client::replies::off;
    client.who = from.is_known ? room.access->find(from.user) : nullptr;
    service.cards.add(client.card);
    self->tls_settled_ = from.tls_settled || room.tls == nullptr;
    self->login_changed();
    self->stream_.open(home.loop(), from.descriptor, net::stream::ownership::ours, *self, self);
    if (from.is_known && client.who == nullptr) {
        return self->say_and_close("-ERR this user is no longer known here\r\n");
    }
    if (from.bytes.empty()) return;
    self->stream_.rx.append(protocol::as_bytes(from.bytes));
    self->on_bytes();
}

}  // namespace sluice::daemon
