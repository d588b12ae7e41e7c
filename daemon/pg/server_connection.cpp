#include "daemon/pg/server_connection.hpp"

#include <algorithm>
#include <random>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/service.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

// A connection that is handed on within the same turn is believed to be sound without a look.
constexpr auto fresh = std::chrono::microseconds(10);

constexpr auto cancel_again = std::chrono::milliseconds(300);

// Lifetimes are spread by a tenth either way, so that connections opened together do not all end
// together.
double spread() {
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::uniform_real_distribution<double>(0.9, 1.1)(random);
}

}  // namespace

server_connection::server_connection(pg_service& service, pool_entry& pool, net::worker& home,
                                     const login_terms& terms, pool::upstream_connection upstream)
    : link(service.parameters, upstream.reported),
      service_(service),
      pool_(pool),
      home_(&home),
      serial_(service.next_serial()),
      knowledge_(terms.knowledge),
      upstream_(std::move(upstream)),
      born_(steady_clock::now()),
      lifetime_factor_(spread()) {
    slot.owner = this;
    slot.generation = terms.generation;
    tls_ = upstream_.ssl != nullptr;
}

server_connection::~server_connection() {
    net::deadline_list::cancel(deadline_);
}

void server_connection::open() {
    link.set_counters(pool_.counters[home_->number()].get());
    link.set_knowledge(knowledge_.get());
    link.set_process_id(static_cast<std::uint32_t>(upstream_.process_id));
    if (tls_ && stream.tls() == nullptr) stream.adopt_tls(static_cast<SSL*>(upstream_.ssl));
    settled_on_.store(home_, std::memory_order_release);
    stream.open(home_->loop(), upstream_.descriptor, net::stream::ownership::borrowed, *this,
                shared_from_this());
}

bool server_connection::expired(net::clock_time now) const noexcept {
    const auto lifetime = pool_.server_lifetime_ms.load(std::memory_order_relaxed);
    if (lifetime == 0) return false;
    return std::chrono::duration<double, std::milli>(now - born_).count() >=
           static_cast<double>(lifetime) * lifetime_factor_;
}

void server_connection::lease_to(client_session& client) {
    phase_ = phase::leased;
    client_ = &client;
    sent_to = false;
    link.lease_to(client.link());
}

bool server_connection::is_sound(net::clock_time now) const noexcept {
    if (!stream.is_open()) return false;
    if (now - idle_since_ < fresh) return true;
    char first = 0;
    switch (stream.peek(first)) {
        case net::stream::unread::nothing:
            return true;
        case net::stream::unread::end:
            return false;
        case net::stream::unread::bytes:
            break;
    }
    // A parameter or a notification is no harm; an error or a notice may be the server's farewell.
    return !tls_ && (first == 'S' || first == 'A');
}

void server_connection::count_traffic() {
    auto& counters = *pool_.counters[home_->number()];
    counters.server_bytes_received.add(stream.bytes_in() - counted_in_);
    counters.server_bytes_sent.add(stream.bytes_out() - counted_out_);
    counted_in_ = stream.bytes_in();
    counted_out_ = stream.bytes_out();
}

void server_connection::release() {
    client_ = nullptr;
    count_traffic();
    if (stream.paused()) stream.resume();
    if (link.is_spoilt()) return close("its client has loaded a library");
    if (link.needs_cleaning() || !link.idle()) {
        start_cleaning();
        return keep_cleaning();
    }
    go_idle();
}

void server_connection::go_idle() {
    const auto now = steady_clock::now();
    if (expired(now) || service_.draining()) return close("its lifetime is over");
    phase_ = phase::idle;
    idle_since_ = now;
    stream.trim();
    service_.offer(*this);
}

void server_connection::abandon(bool cut_short) {
    client_ = nullptr;
    const bool busy = link.owes_client();
    protocol::outgoing to_server;
    count_traffic();
    if (!link.abandon(cut_short, to_server)) return close("the client left within a message");
    if (link.is_spoilt()) return close("its client has loaded a library");
    pool_.counters[home_->number()]->rescued_connections.add();
    stream.send(to_server);
    if (stream.paused()) stream.resume();
    start_cleaning();
    if (busy) cancel(pool::cancel_reason::client_left);
    keep_cleaning();
}

void server_connection::start_cleaning() {
    phase_ = phase::cleaning;
    pool_.cleaning.fetch_add(1, std::memory_order_relaxed);
    const auto patience = service_.current_directory()->postgres().cancel_wait_timeout;
    give_up_ = patience.count() == 0 ? net::clock_time::max() : steady_clock::now() + patience;
    set_cleaning_deadline();
}

// A cancel that arrives before the server has begun the statement is lost: it is asked again.
void server_connection::set_cleaning_deadline() {
    home_->deadlines().set(deadline_, std::min(give_up_, steady_clock::now() + cancel_again));
}

void server_connection::keep_cleaning() {
    // A cancel that is still under way would hit the ROLLBACK.
    if (phase_ != phase::cleaning || cancels_ > 0) return;
    protocol::outgoing to_server;
    const bool clean = link.clean_up(to_server);
    stream.send(to_server);
    if (!clean) return;
    net::deadline_list::cancel(deadline_);
    link.cancelled = pool::cancel_reason::none;
    pool_.cleaning.fetch_sub(1, std::memory_order_relaxed);
    go_idle();
}

void server_connection::cancel(pool::cancel_reason reason, std::function<void()> done) {
    ++cancels_;
    link.cancelled = reason;
    pool_.counters[home_->number()]->cancels.add();
    const auto patience = service_.current_directory()->postgres().cancel_wait_timeout;
    const auto origin = reason == pool::cancel_reason::client_asked
                            ? pg_service::cancel_origin::client
                            : pg_service::cancel_origin::ourselves;
    service_.send_cancel(pool_, upstream_.cancel,
                         patience.count() == 0 ? std::chrono::hours(1) : patience, origin,
                         [self = shared_from_this(), home = home_, done = std::move(done)] {
                             home->post([self, done] {
                                 self->cancel_done();
                                 if (done) done();
                             });
                         });
}

void server_connection::cancel_done() {
    --cancels_;
    if (phase_ == phase::closed) return;
    if (phase_ == phase::leased) {
        client_->cancel_done();
    } else {
        keep_cleaning();
    }
}

void server_connection::deadline_passed(net::deadline& entry) {
    auto& self = static_cast<timed&>(entry).owner;
    const auto hold = self.shared_from_this();
    if (self.phase_ != phase::cleaning) return;
    if (steady_clock::now() >= self.give_up_) {
        return self.close("it did not become free within cancel_wait_timeout");
    }
    if (self.cancels_ == 0 && !self.link.owed.empty() &&
        self.link.cancelled == pool::cancel_reason::client_left) {
        self.cancel(pool::cancel_reason::client_left);
    }
    self.set_cleaning_deadline();
}

void server_connection::on_bytes() {
    if (phase_ == phase::leased) return client_->server_bytes();
    protocol::outgoing to_nobody;
    protocol::outgoing to_server;
    stream.rx.consume(link.receive(stream.rx.readable(), nullptr, to_nobody, to_server));
    stream.send(to_server);
    if (link.health() == pool::link_health::desynced) {
        service_.counters(*home_).server_protocol_errors.add();
        return close("it sent what the protocol does not allow");
    }
    if (link.health() == pool::link_health::dying) return close("the server ended it");
    keep_cleaning();
}

void server_connection::on_drained() {
    if (phase_ == phase::leased) client_->server_drained();
}

void server_connection::on_end(end) {
    if (phase_ == phase::leased) {
        auto* client = client_;
        client_ = nullptr;
        client->server_lost();
    }
    close("the server closed it");
}

void server_connection::move_to(std::shared_ptr<client_session> client) {
    if (phase_ == phase::closed) {
        auto& there = client->home();
        there.post([client] { client->grant_lost(); });
        return;
    }
    phase_ = phase::moving;
    settled_on_.store(nullptr, std::memory_order_release);
    pool_.counters[home_->number()]->moved_connections.add();
    count_traffic();
    upstream_.descriptor = stream.detach();
    home_ = &client->home();
    next_client_ = std::move(client);
    home_->post([self = shared_from_this()] { self->arrive(); });
}

void server_connection::arrive() {
    if (phase_ == phase::closed) return;
    const auto client = std::move(next_client_);
    open();
    lease_to(*client);
    client->granted(*this);
}

void server_connection::close(const char* why) {
    if (phase_ == phase::closed) return;
    const auto hold = shared_from_this();
    if (phase_ == phase::cleaning) pool_.cleaning.fetch_sub(1, std::memory_order_relaxed);
    net::deadline_list::cancel(deadline_);
    if (phase_ == phase::moving && next_client_ != nullptr) {
        const auto client = std::move(next_client_);
        client->home().post([client] { client->grant_lost(); });
    }
    phase_ = phase::closed;
    client_ = nullptr;
    if (stream.is_open()) {
        count_traffic();
        if (tls_ && link.idle()) {  // libpq can no longer say it: its TLS ends in our memory
            protocol::outgoing goodbye;
            goodbye.build([](std::string& out) { protocol::append_empty(out, 'X'); });
            stream.send(goodbye);
        }
        stream.close();
    }
    if (service_.log.enabled(config::log_level::info)) {
        const auto fields =
            link.last_error().empty()
                ? protocol::error_fields{}
                : protocol::read_error_fields(
                      protocol::as_bytes(link.last_error()).subspan(protocol::frame_header::size));
        service_.log.info("server connection closed", {{"database", pool_.database},
                                                       {"user", pool_.user},
                                                       {"pid", upstream_.process_id},
                                                       {"why", why},
                                                       {"sqlstate", fields.sqlstate},
                                                       {"age", steady_clock::now() - born_}});
    }
    service_.lost(*this);
}

}  // namespace sluice::daemon
