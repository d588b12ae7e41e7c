#include "daemon/kv/session.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

// Commands that came while it waits are left in the socket above this.
constexpr std::size_t most_unread = 262144;
constexpr auto last_words = std::chrono::seconds(2);
constexpr std::uint8_t tls_handshake = 0x16;
// Longer replies are sent at once.
constexpr std::size_t most_put_off = 4096;
constexpr std::size_t most_room_put_off = std::size_t{1} << 20;

void set_tcp_options(int descriptor, const config::kv_settings& from) {
    const auto set = [&](int level, int name, int value) {
        setsockopt(descriptor, level, name, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    const auto keepalive = static_cast<int>(from.tcp_keepalive.count() / 1000);
    if (keepalive <= 0) return;
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, keepalive);
    set(IPPROTO_TCP, TCP_KEEPINTVL, std::max(keepalive / 3, 1));
    set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

const kvstore::user& control_user() {
    static const kvstore::user out{"control", {}, true, {}};
    return out;
}

std::string misconf(const std::string& why) {
    return "-MISCONF Errors writing to the write-ahead log: " + why +
           ". The write may be lost or kept.\r\n";
}

}  // namespace

std::shared_ptr<kv_session> kv_session::make(kv_service& service, net::worker& home,
                                             const net::accepted_socket& socket) {
    auto& room = service.room_of(home);
    if (!socket.is_unix) set_tcp_options(socket.descriptor, *room.settings);
    auto card = std::make_shared<kvstore::client_card>();
    card->address = socket.peer;
    card->descriptor = socket.descriptor;
    card->connected_ms = wall_clock_ms();
    card->used_ms = card->connected_ms;
    auto self = std::make_shared<kv_session>(service, home, card);
    self->is_unix_ = socket.is_unix;
    self->is_loopback_ = socket.is_loopback;
    const std::weak_ptr<kv_session> weak = self;
    self->wake_ = [weak, &home] {
        home.post([weak] {
            if (const auto session = weak.lock()) session->woken();
        });
    };
    card->close = [weak, &home] {
        home.post([weak] {
            if (const auto session = weak.lock()) session->end_now();
        });
    };
    card->push = [weak, &home](const std::string& line) {
        home.post([weak, line] {
            if (const auto session = weak.lock()) session->push(line);
        });
    };
    self->client_.access = room.access;
    self->client_.who = room.access->initial();
    room.sessions.push_back(*self);
    return self;
}

void kv_session::start(kv_service& service, net::worker& home, const net::accepted_socket& socket,
                       bool is_control) {
    auto& room = service.room_of(home);
    const auto self = make(service, home, socket);
    auto& client = self->client_;
    client.is_control = is_control;
    if (is_control) client.who = &control_user();
    client.card->user = client.who == nullptr ? "default" : client.who->name;
    service.cards.add(client.card);
    room.counts.clients_accepted.add();
    self->tls_ = is_control ? nullptr : room.tls;
    self->tls_settled_ = self->tls_ == nullptr;
    self->must_use_tls_ = room.settings->tls.mode != config::tls_mode::allow;
    self->login_changed();
    self->stream_.open(home.loop(), socket.descriptor, net::stream::ownership::ours, *self, self);
}

kv_session::kv_session(kv_service& service, net::worker& home,
                       std::shared_ptr<kvstore::client_card> card)
    : service_(service), home_(home), client_(std::move(card)) {}

kv_session::~kv_session() {
    net::deadline_list::cancel(deadline_);
    client_.leave();
    service_.cards.remove(*client_.card);
    service_.clients_.fetch_sub(1);
    service_.clients_on_[home_.number()].fetch_sub(1);
}

bool kv_session::settle_tls() {
    if (tls_settled_) return true;
    const auto early = stream_.rx.readable();
    if (early.empty()) return false;
    tls_settled_ = true;
    const auto context = std::move(tls_);
    if (early[0] == tls_handshake) {
        stream_.start_tls(context->get(), early);
        return stream_.is_open() && !stream_.rx.empty();
    }
    if (!must_use_tls_) return true;
    say_and_close("-ERR this port speaks TLS only (kv.tls.mode): connect with --tls\r\n");
    return false;
}

void kv_session::on_bytes() {
    if (!settle_tls()) return;
    if (const auto* tls = stream_.tls(); tls != nullptr && !client_.certificate_names.has_value()) {
        client_.certificate_names = tls->peer_names();
    }
    set_deadline();
    auto& counts = service_.room_of(home_).counts;
    counts.bytes_received.add(stream_.bytes_in() - counted_in_);
    counted_in_ = stream_.bytes_in();
    if (waits_ == waiting::over) return stream_.rx.consume(stream_.rx.size());
    if (waits_ == waiting::none && leave_now()) return;
    if (waits_ != waiting::none) {
        const bool is_known = client_.who != nullptr;
        if (stream_.rx.size() >= (is_known ? most_unread : protocol::most_before_login)) {
            stream_.pause();
        }
        return;
    }
    work();
}

// Carries out what has come, until it is empty or has to wait for something.
void kv_session::work() {
    waits_ = waiting::none;
    if (leave_now()) return;
    auto in = service_.turn_on(home_);
    const bool was_known = client_.who != nullptr;
    const auto done = client_.run(stream_.rx.readable(), in, wake_);
    stream_.rx.consume(done.consumed);
    if (was_known != (client_.who != nullptr)) login_changed();
    closes_ = done.next == kvstore::client::wants::close;
    if (take_replies(in.reply, done.waits_for) && closes_) return end_after_replies();
    if (waits_ != waiting::none) return;  // for the log; what is next comes after that
    switch (done.next) {
        case kvstore::client::wants::bytes:
            stream_.expect(done.expected);
            if (has_ended_) return end_now();
            if (stream_.rx.empty()) stream_.trim();
            if (is_behind()) waits_ = waiting::reader;
            if (stream_.paused() && waits_ == waiting::none) stream_.resume();
            static_cast<void>(leave_now());
            return;
        case kvstore::client::wants::turn_over:
            if (is_behind() && !has_ended_) {
                waits_ = waiting::reader;
            } else {
                go_on_later();
            }
            return;
        case kvstore::client::wants::wake:
            waits_ = waiting::wake;
            return;
        case kvstore::client::wants::room:
            waits_ = waiting::room;
            service_.wait_for_log(home_, weak_from_this(), 0);
            return;
        case kvstore::client::wants::close:
            return;
    }
}

// It does not take its replies: more are made when it has taken some. Until then pipelines of any
// length go on, because many clients read only when they have written everything.
bool kv_session::is_behind() const {
    if (client_.who == nullptr) return stream_.backlog() > kvstore::most_replies_before_login;
    const auto most = service_.room_of(home_).settings->client_output_buffer_limit;
    return most != 0 && stream_.backlog() > most;
}

// Sends the replies, or keeps them until the log is safe; true: they are on their way.
bool kv_session::take_replies(kvstore::reply_buffer& reply, kvstore::log_number waits_for) {
    protocol::outgoing out;
    reply.pass_to(out);
    if (waits_for == 0) {
        send(out);
        reply.clear();
        return true;
    }
    held_.clear();
    out.save_rest(0, held_);
    held_writes_ = reply.writes();
    held_for_ = waits_for;
    reply.clear();
    waits_ = waiting::log;
    service_.wait_for_log(home_, weak_from_this(), waits_for);
    return false;
}

void kv_session::send(protocol::outgoing& out) {
    auto& room = service_.room_of(home_);
    room.counts.bytes_sent.add(out.size());
    if (stream_.is_open() && out.size() <= most_put_off && stream_.backlog() == 0) {
        const auto from = room.put_off.size();
        out.save_rest(0, room.put_off);
        out.clear();
        room.replies.push_back({this, from, room.put_off.size()});
        has_put_off_ = true;
        return;
    }
    send_put_off();
    stream_.send(out);
    client_.card->unsent.store(stream_.backlog(), std::memory_order_relaxed);
}

void kv_session::send_now(std::string_view bytes) {
    protocol::outgoing out;
    out.pass(protocol::as_bytes(bytes));
    stream_.send(out);
    client_.card->unsent.store(stream_.backlog(), std::memory_order_relaxed);
}

void kv_session::send_put_off() {
    if (!std::exchange(has_put_off_, false)) return;
    auto& room = service_.room_of(home_);
    for (auto& one : room.replies) {
        if (one.to_whom != this) continue;
        one.to_whom = nullptr;
        send_now(std::string_view(room.put_off).substr(one.from, one.to - one.from));
    }
}

// Clients that get their replies together send their next commands together: fewer wake-ups for
// both sides. A session lives to the end of the turn that it ends in.
void kv_session::send_all_put_off(kv_room& room) {
    for (const auto& one : room.replies) {
        if (one.to_whom == nullptr) continue;
        one.to_whom->has_put_off_ = false;
        one.to_whom->send_now(std::string_view(room.put_off).substr(one.from, one.to - one.from));
    }
    room.replies.clear();
    room.put_off.clear();
    if (room.put_off.capacity() > most_room_put_off) std::string().swap(room.put_off);
}

bool kv_session::log_moved() {
    if (!stream_.is_open()) return false;
    if (waits_ == waiting::room) {
        work();
        return false;  // it has asked again if it has to
    }
    if (waits_ != waiting::log) return false;
    const auto& log = service_.store.log();
    const bool is_safe = log.safe() >= held_for_;
    if (!is_safe && !log.failing()) return true;
    std::string replies;
    if (is_safe) {
        replies = std::move(held_);
    } else {  // nobody knows whether they will be kept
        std::size_t from = 0;
        for (const auto& write : held_writes_) {
            replies.append(held_, from, write.from - from);
            if (write.to > write.from) replies += misconf(log.why());
            from = write.to;
        }
        replies.append(held_, from);
    }
    held_ = std::string();
    held_writes_.clear();
    protocol::outgoing out;
    out.pass(protocol::as_bytes(replies));
    send(out);
    if (closes_) {
        end_after_replies();
    } else {
        work();
    }
    return false;
}

void kv_session::end_after_replies() {
    if (has_ended_) return end_now();
    waits_ = waiting::over;
    send_put_off();
    stream_.finish();
    home_.deadlines().set(deadline_, steady_clock::now() + last_words);
}

void kv_session::say_and_close(std::string_view text) {
    protocol::outgoing out;
    out.pass(protocol::as_bytes(text));
    send(out);
    end_after_replies();
}

void kv_session::go_on_later() {
    waits_ = waiting::turn;
    wake_();
}

void kv_session::woken() {
    if (!stream_.is_open()) return;
    if (waits_ == waiting::wake || waits_ == waiting::turn) work();
}

void kv_session::on_drained() {
    client_.card->unsent.store(0, std::memory_order_relaxed);
    if (waits_ == waiting::reader) work();
}

// What came whole before the end is carried out, as Redis does: nobody reads the replies.
void kv_session::on_end(end) {
    const bool has_work = waits_ == waiting::wake || waits_ == waiting::room ||
                          waits_ == waiting::turn || waits_ == waiting::log;
    if (!has_work) return end_now();
    has_ended_ = true;
}

void kv_session::end_now() {
    waits_ = waiting::over;
    net::deadline_list::cancel(deadline_);
    send_put_off();
    stream_.close();
}

void kv_session::push(const std::string& line) {
    if (!stream_.is_open() || waits_ == waiting::over) return;
    const auto most = service_.room_of(home_).settings->client_output_buffer_limit;
    if (most != 0 && stream_.backlog() > most) {
        service_.log.warning("client closed: it does not take its replies",
                             {{"client", client_.card->address}, {"unsent", stream_.backlog()}});
        return end_now();
    }
    protocol::outgoing out;
    out.pass(protocol::as_bytes(line));
    send(out);
}

void kv_session::reconfigure() {
    if (waits_ == waiting::over) return;
    if (!client_.is_control && !client_.adopt(service_.room_of(home_).access)) {
        return say_and_close("-ERR this user is no longer known here\r\n");
    }
    login_changed();
}

// It has authenticated, or has to: at the begin, by AUTH or RESET, by new settings.
void kv_session::login_changed() {
    const bool is_known = client_.who != nullptr;
    stream_.keep_at_most(is_known ? 0 : protocol::most_before_login);
    if (is_known) {
        unknown_since_ = net::clock_time{};
    } else if (unknown_since_ == net::clock_time{}) {
        unknown_since_ = steady_clock::now();
    }
    set_deadline();
}

// When it will have taken too long to authenticate.
net::clock_time kv_session::login_due() const {
    const auto most = service_.room_of(home_).settings->client_login_timeout;
    if (unknown_since_ == net::clock_time{} || most.count() == 0) return net::deadline::never;
    return unknown_since_ + most;
}

void kv_session::set_deadline() {
    if (client_.is_control) return;
    const auto timeout = service_.room_of(home_).settings->timeout;
    auto due = login_due();
    if (timeout.count() != 0) due = std::min(due, steady_clock::now() + timeout);
    if (due != net::deadline::never) {
        home_.deadlines().set(deadline_, due);
    } else if (deadline_.due() != net::deadline::never) {
        net::deadline_list::cancel(deadline_);
    }
}

void kv_session::idle_deadline::passed(net::deadline& which) {
    auto& self = static_cast<idle_deadline&>(which).session;
    if (self.waits_ == waiting::none && self.client_.card->is_monitor.load()) {
        return self.set_deadline();  // it only listens
    }
    if (self.waits_ == waiting::over || self.login_due() > steady_clock::now()) {
        return self.end_now();
    }
    self.service_.log.info("client closed: client_login_timeout",
                           {{"client", self.client_.card->address}});
    // Before its TLS it would not understand; and replies are owed before an error.
    if (!self.tls_settled_ || self.waits_ == waiting::log) return self.end_now();
    self.say_and_close("-ERR client_login_timeout: the client took too long to authenticate\r\n");
}

}  // namespace sluice::daemon
