#include "daemon/pg/client_session.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/rand.h>
#include <sys/socket.h>

#include "daemon/pg/server_connection.hpp"
#include "pool/sqlstate.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

constexpr auto last_words = std::chrono::seconds(2);

void set_tcp_options(int descriptor, const config::postgres_settings& from) {
    const auto set = [&](int level, int name, int value) {
        setsockopt(descriptor, level, name, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_KEEPALIVE, from.tcp_keepalive ? 1 : 0);
    if (from.tcp_keepalive) {
        set(IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(from.tcp_keepidle.count() / 1000));
        set(IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(from.tcp_keepintvl.count() / 1000));
        set(IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(from.tcp_keepcnt));
    }
    if (from.tcp_user_timeout.count() > 0) {
        set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(from.tcp_user_timeout.count()));
    }
}

}  // namespace

void client_session::start(pg_service& service, net::worker& home, net::accepted_socket socket) {
    // Whoever lets go of it last (a helper thread, the worker of a connection that it was to get),
    // it ends on its own worker, whose lists it is on.
    const auto end = [&home](client_session* session) {
        if (home.is_current()) {
            delete session;
        } else {
            home.post([session] { delete session; });
        }
    };
    const std::shared_ptr<client_session> self(new client_session(service, home), end);
    const auto from = service.current_directory();
    if (!socket.is_unix) set_tcp_options(socket.descriptor, from->postgres());
    service.counters(home).clients_accepted.add();
    service.sessions_of[home.number()].push_back(*self);
    service.logging_in.fetch_add(1, std::memory_order_relaxed);
    const int descriptor = socket.descriptor;
    self->login_ = std::make_unique<client_login>(*self, service, std::move(socket));
    self->set_deadline();
    self->stream.open(home.loop(), descriptor, net::stream::ownership::ours, *self, self);
}

client_session::client_session(pg_service& service, net::worker& home)
    : client_session(service, home, service.next_serial()) {}

client_session::client_session(pg_service& service, net::worker& home, std::uint64_t serial)
    : service_(service),
      home_(home),
      link_(service.parameters, service.statements, serial),
      born_(steady_clock::now()),
      since_(born_) {
    waiter.worker = home.number();
    waiter.serial = serial;
}

client_session::~client_session() {
    net::deadline_list::cancel(deadline_);
}

void client_session::on_bytes() {
    switch (phase_) {
        case phase::login:
            return login_->on_bytes();
        case phase::welcome:
            if (stream.rx.size() > high_water_mark) stream.pause();
            return;
        case phase::ready:
            return pump();
        case phase::dedicated: {
            protocol::outgoing out;
            out.pass(stream.rx.readable());
            dedicated_->stream.send(out);
            stream.rx.consume(stream.rx.size());
            if (dedicated_->stream.backlog() > high_water_mark) stream.pause();
            return;
        }
        case phase::console:
            return console_->on_bytes();
        case phase::closing:
        case phase::closed:
            return;
    }
}

// Takes what the client has sent as far as it goes.
void client_session::pump() {
    take_messages();
    regulate_reading();
}

// Reading stops while more is held than should be, on either side. Whatever ends a wait calls this
// again (or pump, which does): nobody else would ever read on.
void client_session::regulate_reading() {
    if (phase_ != phase::ready || goodbye_at_ != net::clock_time{}) return;
    // The rest of one message is always read: it is what the link waits for.
    const bool in_need = !is_held_up() && link_.want() == pool::client_want::bytes;
    const bool too_much = !in_need && stream.rx.size() > high_water_mark;
    const bool server_full = server_ != nullptr && server_->stream.is_open() &&
                             server_->stream.backlog() > high_water_mark;
    if (too_much || server_full) {
        stream.pause();
    } else if (stream.paused()) {
        stream.resume();
    }
}

// Its messages wait for something else first.
bool client_session::is_held_up() const noexcept {
    return settings_wait_ || bringing_ || waiting_ || is_busy_with_state() || catching_up_;
}

void client_session::take_messages() {
    while (phase_ == phase::ready && !goodbye_) {
        if (is_held_up()) return;
        if (stream.rx.empty()) {
            if (server_ == nullptr) stream.trim();
            return set_deadline();
        }
        protocol::outgoing to_server;
        protocol::outgoing to_client;
        if (server_ != nullptr && server_->link.idle()) {
            begin_batch(to_server, to_client);
            if (settings_wait_) {
                server_->stream.send(to_server);
                stream.send(to_client);
                return;
            }
        }
        const auto taken =
            link_.receive(stream.rx.readable(), server_ != nullptr ? &server_->link : nullptr,
                          to_server, to_client);
        if (server_ != nullptr && !to_server.empty()) {
            server_->sent_to = server_->sent_to || taken > 0;  // settings alone do not count
            server_->stream.send(to_server);
        }
        stream.send(to_client);
        stream.rx.consume(taken);
        switch (link_.want()) {
            case pool::client_want::bytes:
                stream.expect(link_.needed());
                // A batch may have been answered without the server.
                if (server_ != nullptr) after_server_bytes();
                return set_deadline();
            case pool::client_want::server:
                ask_for_server();
                break;
            case pool::client_want::patience:
                bringing_ = server_ != nullptr && server_->link.bringing();
                return set_deadline();
            case pool::client_want::goodbye:
                goodbye_ = true;
                if (server_ == nullptr || server_->link.owed.empty()) return close("goodbye");
                return set_deadline();
            case pool::client_want::rejection:
                service_.counters(home_).protocol_errors.add();
                return fail({.severity = "FATAL",
                             .sqlstate = link_.rejection().sqlstate,
                             .message = link_.rejection().message},
                            "broken message");
        }
    }
}

// Between transactions: the connection gets the client's settings before its first message.
void client_session::begin_batch(protocol::outgoing& to_server, protocol::outgoing& to_client) {
    batch_at_ = steady_clock::now();
    if (!server_->link.apply_settings(link_, to_server, to_client)) settings_wait_ = true;
}

void client_session::ask_for_server() {
    waiting_ = false;
    if (!settle_place()) return;
    waiting_ = true;
    notified_ = false;
    since_ = steady_clock::now();
    if (service_.stopping) return;
    waiter.settings = link_.wanted.get();
    service_.acquire(*this);
    if (waiting_) set_deadline();
}

void client_session::granted(server_connection& connection) {
    server_ = &connection;
    const auto now = steady_clock::now();
    if (phase_ != phase::ready && phase_ != phase::welcome) {  // it left meanwhile
        server_ = nullptr;
        return connection.release();
    }
    if (!connection.is_sound(now)) {
        server_ = nullptr;
        connection.close("found dead before it was handed out");
        return grant_lost();
    }
    waiting_ = false;
    leased_at_ = now;
    connection.link.serves_session = mode_ == config::pool_mode::session;
    if (connection.link.serves_session) {  // whatever it runs may notify others
        connection.link.knowledge()->note_notifier(connection.link.process_id(), process_id_);
    }
    queries_seen_ = connection.link.queries;
    pool_->counters[home_.number()]->wait_seconds.record(now - since_);
    if (cancel_wanted_) {
        const auto done = std::move(cancel_wanted_);
        cancel_wanted_ = nullptr;
        give_back_server();
        return cancel_requested(done);
    }
    if (phase_ == phase::welcome) {
        protocol::outgoing to_server;
        protocol::outgoing to_nobody;
        begin_batch(to_server, to_nobody);
        server_->stream.send(to_server);
        if (server_ == nullptr) return;
        if (server_->link.awaiting_settings()) {
            settings_wait_ = true;
        } else {
            settings_done();
        }
        return;
    }
    pump();
}

// The connection that was to come has died on its way.
void client_session::grant_lost() {
    if (phase_ != phase::ready && phase_ != phase::welcome) return;
    if (cancel_wanted_) {
        const auto done = std::move(cancel_wanted_);
        cancel_wanted_ = nullptr;
        waiting_ = false;
        return cancel_requested(done);
    }
    const auto since = since_;
    ask_for_server();
    since_ = since;
}

void client_session::settings_done() {
    settings_wait_ = false;
    if (server_->link.settings_failed()) {
        const auto fields = protocol::read_error_fields(
            protocol::as_bytes(server_->link.last_error()).subspan(protocol::frame_header::size));
        const std::string state(fields.sqlstate);
        const std::string text(fields.message);
        return fail({.severity = "FATAL",
                     .sqlstate = state,
                     .message = text,
                     .detail = "The server refused a setting that this session started with."},
                    "settings refused");
    }
    if (phase_ == phase::welcome) {
        const auto reported = server_->link.reported();
        const auto key = service_.parameters.without(link_.wanted, "application_name");
        const auto* preset = server_->link.defaults()->find("application_name");
        auto neutral = service_.parameters.with(reported, "application_name",
                                                preset == nullptr ? std::string() : *preset);
        pool_->welcomes.add(key, neutral, server_->slot.generation);
        give_back_server();
        return finish_welcome(neutral);
    }
    pump();
}

void client_session::server_bytes() {
    protocol::outgoing to_client;
    protocol::outgoing to_server;
    auto& from = *server_;
    from.stream.rx.consume(
        from.link.receive(from.stream.rx.readable(), &link_, to_client, to_server));
    if (phase_ == phase::welcome) to_client.clear();
    if (mode_ == config::pool_mode::statement && from.link.queries != queries_seen_ &&
        from.link.status() != 'I') {
        to_client.clear();
        return fail({.severity = "FATAL",
                     .sqlstate = "0A000",
                     .message = "transaction blocks not allowed in statement pooling mode"},
                    "transaction in statement mode");
    }
    send_to_client(to_client);
    from.stream.send(to_server);
    if (from.link.health() != pool::link_health::fine && server_failed()) return;
    if (settings_wait_ || phase_ == phase::welcome) {
        if (!from.link.awaiting_settings()) settings_done();
        return;
    }
    if (is_busy_with_state()) {
        if (from.link.owed.empty() && (asking_ || !from.link.listens)) answered();
        return;
    }
    if (from.link.settings_failed() && !from.link.awaiting_settings()) return settings_done();
    if (stream.backlog() > high_water_mark) from.stream.pause();
    if (bringing_) {
        if (from.link.bringing() || from.cancelling()) return;
        bringing_ = false;
        return pump();
    }
    after_server_bytes();
}

// True: the session no longer has the server connection.
bool client_session::server_failed() {
    auto& from = *server_;
    const bool told = from.link.health() == pool::link_health::dying;
    if (!told) service_.counters(home_).server_protocol_errors.add();
    const bool client_knows = from.link.end_is_told();
    const bool unsent = !from.sent_to;
    const bool between = from.link.between_transactions() && !link_.in_message() &&
                         mode_ != config::pool_mode::session && phase_ == phase::ready &&
                         pins_ == 0 && !is_busy_with_state();
    const auto hold = from.shared_from_this();
    lose_server();
    from.close(told ? "the server ended it" : "it sent what the protocol does not allow");
    if (between && !unsent) {  // it has all its answers: the end does not concern it
        count_transaction(steady_clock::now());
        if (goodbye_) {
            close("goodbye");
        } else if (!stream.rx.empty()) {
            pump();
        } else {
            set_deadline();
        }
        return true;
    }
    if (unsent && (phase_ == phase::ready || phase_ == phase::welcome)) {
        grant_lost();  // nothing of the client's was sent: it does not notice
        return true;
    }
    constexpr auto server_ended = "the server ended its connection";
    if (told && client_knows) {
        stream.finish();
        close(server_ended);
        return true;
    }
    if (told) {
        fail({.severity = "FATAL",
              .sqlstate = "57P01",
              .message = "the server ended the connection that this session needed",
              .hint = "Connect again."},
             server_ended);
        return true;
    }
    fail({.severity = "FATAL",
          .sqlstate = "08006",
          .message = "the server sent what the protocol does not allow",
          .hint = "The connection was closed; whether the statement was carried out is not known."},
         "server protocol error");
    return true;
}

void client_session::after_server_bytes() {
    auto& link = server_->link;
    if (link.queries != queries_seen_) {
        const auto now = steady_clock::now();
        auto& counters = *pool_->counters[home_.number()];
        counters.query_seconds.record(now - batch_at_);
        if (!link.ended.empty()) link_.count_statements(link.ended, now - batch_at_);
        queries_seen_ = link.queries;
        batch_at_ = quiet_at_ = now;
    }
    if (catching_up_) return;  // until then
    if (goodbye_ && link.owed.empty()) return close("goodbye");
    if (link.idle() && !link_.in_message() && !server_->cancelling()) {
        timed_out_ = false;
        link.cancelled = pool::cancel_reason::none;
        if (draining_ && !has_asked()) return end_drained();
        if (!settle_place()) return;
        if (mode_ != config::pool_mode::session) return end_transaction(false);
        if (!stream.rx.empty() && link_.want() == pool::client_want::patience) return pump();
        return set_deadline();
    }
    if (link_.want() == pool::client_want::patience && !stream.rx.empty() &&
        link.owed.size() < 8192) {
        pump();
        return;
    }
    set_deadline();
}

void client_session::count_transaction(net::clock_time now) {
    auto& counters = *pool_->counters[home_.number()];
    counters.transactions.add();
    counters.transaction_seconds.record(now - leased_at_);
    counters.client_bytes_received.add(stream.bytes_in() - counted_in_);
    counters.client_bytes_sent.add(stream.bytes_out() - counted_out_);
    counted_in_ = stream.bytes_in();
    counted_out_ = stream.bytes_out();
}

void client_session::release_server() {
    const auto now = steady_clock::now();
    count_transaction(now);
    since_ = now;
    give_back_server();
}

void client_session::give_back_server() {
    auto* connection = server_;
    server_ = nullptr;
    connection->release();
}

// The client is leaving; its server connection is cleaned and kept.
void client_session::leave_server(bool cut_short) {
    if (server_ == nullptr) return;
    auto* connection = server_;
    lose_server();
    count_transaction(steady_clock::now());
    // The server still reads that message: whatever came next would be taken for the rest of it.
    if (cut_short) return connection->abandon(true);
    if (mode_ == config::pool_mode::session) {
        // It would hit the reset.
        if (connection->link.idle() && connection->cancelling()) {
            return connection->close("a cancel was under way");
        }
        connection->link.reset_session_later(
            service_.current_directory()->postgres().server_reset_query);
    }
    if (connection->link.idle() && !connection->cancelling()) return connection->release();
    connection->abandon(cut_short);
}

void client_session::server_lost() {
    const bool unsent = server_ != nullptr && !server_->sent_to;
    lose_server();
    if (phase_ != phase::ready && phase_ != phase::welcome) return;
    if (unsent) {
        home_.post([self = shared_from_this()] { self->grant_lost(); });
        waiting_ = true;  // until then
        return;
    }
    fail({.severity = "FATAL",
          .sqlstate = "08006",
          .message = "server closed the connection unexpectedly",
          .hint = "Whether the statement was carried out is not known."},
         "server lost");
}

void client_session::server_drained() {
    if (dedicated_ != nullptr) {
        if (stream.paused()) stream.resume();
        return;
    }
    regulate_reading();
}

void client_session::on_drained() {
    if (server_ != nullptr && server_->stream.paused()) server_->stream.resume();
    if (dedicated_ != nullptr && dedicated_->stream.paused()) dedicated_->stream.resume();
    if (phase_ == phase::console) console_->on_bytes();
}

// An end may be half of one: PostgreSQL answers a client that has only finished sending. One that
// is gone for good looks the same, so what runs gets a moment to end by itself.
void client_session::on_end(end how) {
    const bool answers_owed = phase_ == phase::ready && server_ != nullptr &&
                              !is_busy_with_state() && !server_->link.owed.empty() &&
                              !link_.in_message() && !server_->link.copy_in;
    if (how == end::broken || !answers_owed || goodbye_at_ != net::clock_time{}) {
        return close("the client is gone");
    }
    goodbye_ = true;
    goodbye_at_ = steady_clock::now();
    stream.pause();
    set_deadline();
}

void client_session::password_checked(bool matches) {
    if (phase_ != phase::login) return;
    login_->password_checked(matches);
    if (phase_ == phase::ready && !stream.rx.empty()) pump();
}

void client_session::fail(const protocol::error_report& error, const char* why) {
    if (phase_ == phase::closing || phase_ == phase::closed) return;
    if (pool_ != nullptr) {
        const auto index = static_cast<std::size_t>(pool::class_of(error.sqlstate));
        pool_->counters[home_.number()]->errors_by_class[index].add();
    }
    const bool within = server_ != nullptr && server_->link.in_frame();
    if (!within) {  // an error in the middle of a row would be read as a part of it
        send([&](std::string& out) { protocol::append_error(out, error); });
    }
    stream.finish();
    close(why);
}

void client_session::end_quietly() {
    if (phase_ == phase::closing || phase_ == phase::closed) return;
    stream.finish();
    close("done");
}

// The protocol side ends here. If last words are being sent, the stream goes on until they are.
void client_session::close(const char* why) {
    if (phase_ == phase::closed) return;
    const auto hold = shared_from_this();
    if (phase_ != phase::closing) {
        const bool was_in = process_id_ != 0;
        if (waiting_ && pool_ != nullptr && service_.book.leave(*pool_->book, waiter)) {
            const auto release = std::move(waiter.keep);
        }
        waiting_ = false;
        phase_ = phase::closing;
        leave_server(link_.in_message());
        forget_channels();
        if (dedicated_ != nullptr) dedicated_->close();
        forget_login();
        if (was_in) {
            service_.registry.remove(process_id_);
            service_.log.info("client disconnected", {{"database", names_->c_str()},
                                                      {"client", process_id_},
                                                      {"from", peer_},
                                                      {"why", why}});
        }
        if (admitted_) {
            const auto cut = names_->find('\0');
            service_.client_left(names_->substr(0, cut), names_->substr(cut + 1));
            pool_->clients.fetch_sub(1, std::memory_order_relaxed);
            admitted_ = false;
        }
        if (console_ == nullptr) {
            service_.clients_on[home_.number()].fetch_sub(1, std::memory_order_relaxed);
        } else {
            service_.consoles.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    if (stream.is_finishing()) {
        home_.deadlines().set(deadline_, steady_clock::now() + last_words);
        return;
    }
    phase_ = phase::closed;
    net::deadline_list::cancel(deadline_);
    stream.close();
}

void client_session::forget_login() {
    if (login_ == nullptr) return;
    service_.logging_in.fetch_sub(1, std::memory_order_relaxed);
    // It may be what is calling, and it refers to the session: it ends first.
    using both = std::pair<std::shared_ptr<client_session>, std::shared_ptr<client_login>>;
    home_.loop().bury(std::make_shared<both>(shared_from_this(), std::move(login_)));
}

// Its server connection goes with it, whatever it is doing.
bool client_session::kill() {
    if (phase_ == phase::closing || phase_ == phase::closed) return false;
    const auto hold = shared_from_this();
    const bool within = server_ != nullptr && server_->link.in_frame();
    if (server_ != nullptr) {
        auto* connection = server_;
        count_transaction(steady_clock::now());
        lose_server();
        connection->close("an admin has ended its client");
    }
    if (within) {  // an error in the middle of a row would be read as a part of it
        stream.finish();
        close("admin forced disconnect");
        return true;
    }
    fail({.severity = "FATAL", .sqlstate = "57P01", .message = "admin forced disconnect"},
         "admin forced disconnect");
    return true;
}

bool client_session::is_client_of(const std::string& database) const {
    if (phase_ == phase::console || pool_ == nullptr) return false;
    return database.empty() || pool_->database == database;
}

void client_session::stop() {
    const bool within = server_ != nullptr && server_->link.in_frame();
    if (server_ != nullptr) {
        auto* connection = server_;
        lose_server();
        connection->close("shutdown");
    }
    if (phase_ == phase::ready && !within) end_drained();
    if (phase_ == phase::login || phase_ == phase::welcome) refuse_late();
    close("shutdown");
    net::deadline_list::cancel(deadline_);
    phase_ = phase::closed;
    stream.close();
    unlink();
}

}  // namespace sluice::daemon
