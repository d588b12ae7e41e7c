#include "daemon/pg/listening.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "daemon/pg/service.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds first_back_off{100};
constexpr std::chrono::milliseconds longest_back_off{5000};

// How long the connection is kept for nobody.
constexpr auto idle_patience = std::chrono::seconds(10);
// A server that has not answered by then is gone. (While nothing is asked, TCP's keepalives watch:
// a query now and then would keep a server awake that suspends when it is idle.)
constexpr auto answer_patience = std::chrono::seconds(30);
// A client's reply is held back for no longer than this when the connection is away.
constexpr auto catch_up_patience = std::chrono::seconds(2);
// How often deadlines of requests are looked at.
constexpr auto check_interval = std::chrono::milliseconds(500);

// Reading stops while the workers have this many deliveries before them, and one step of reading
// makes no more than some hundred notifications.
constexpr std::size_t most_in_hand = 100000;
constexpr std::size_t few_in_hand = most_in_hand / 2;
constexpr std::size_t bytes_a_step = 4096;

const pool::login_failure too_late{
    "08006", "the server connection that listens for all clients could not be had in time", "", "",
    false};

}  // namespace

// One connection, from login to end.
class listening::link final : public net::stream_owner {
  public:
    link(listening& owner, pool::upstream_connection from)
        : upstream(std::move(from)), owner_(owner) {}

    void open(net::worker& home, std::shared_ptr<void> keep) {
        if (upstream.ssl != nullptr) stream.adopt_tls(static_cast<SSL*>(upstream.ssl));
        stream.open(home.loop(), upstream.descriptor, net::stream::ownership::borrowed, *this,
                    std::move(keep));
    }
    void close() {
        if (!stream.is_open()) return;
        if (upstream.ssl != nullptr) {  // libpq can no longer say it: its TLS ends in our memory
            protocol::outgoing goodbye;
            goodbye.build([](std::string& out) { protocol::append_empty(out, 'X'); });
            stream.send(goodbye);
        }
        stream.close();
    }

    pool::upstream_connection upstream;
    net::stream stream;  // destroyed before the connection that it reads from

  private:
    void on_bytes() override { owner_.feed(); }
    void on_drained() override {}
    void on_end(end) override { owner_.drop("the server closed it"); }

    listening& owner_;
};

listening::listening(pg_service& service, pool_entry& pool, net::worker& home)
    : service_(service), pool_(pool), home_(home), back_off_(first_back_off) {}

listening::~listening() {
    net::deadline_list::cancel(deadline_);
}

std::uint64_t listening::remember(net::worker& on, done_call done) {
    requests_[++last_request_] = {&on, std::move(done)};
    return last_request_;
}

void listening::set_channels(std::weak_ptr<listener> who, net::worker& on, std::uint64_t serial,
                             std::vector<std::string> channels, std::string marker,
                             done_call done) {
    home_.post([self = shared_from_this(), who = std::move(who), &on, serial,
                channels = std::move(channels), marker = std::move(marker),
                done = std::move(done)]() mutable {
        if (self->closed_) return;
        const auto patience = self->service_.current_directory()->postgres().server_connect_timeout;
        const auto deadline =
            steady_clock::now() +
            (patience.count() == 0 ? steady_clock::duration(std::chrono::hours(1)) : patience);
        self->listeners_[serial] = {std::move(who), &on};
        const auto request = self->remember(on, std::move(done));
        self->hub_.set_channels(serial, channels, marker, request, deadline);
        self->proceed();
        if (channels.empty()) self->listeners_.erase(serial);
    });
}

void listening::catch_up(net::worker& on, std::function<void()> done) {
    home_.post([self = shared_from_this(), &on, done = std::move(done)] {
        if (self->closed_) return;
        const auto request = self->remember(on, [done](const pool::login_failure*) { done(); });
        self->hub_.catch_up(request, steady_clock::now() + catch_up_patience);
        self->proceed();
    });
}

void listening::forget(std::uint64_t serial) {
    home_.post([self = shared_from_this(), serial] {
        if (self->closed_) return;
        self->hub_.forget(serial);
        self->listeners_.erase(serial);
        self->proceed();
    });
}

void listening::renew() {
    home_.post([self = shared_from_this()] {
        if (self->closed_) return;
        if (self->pool_.retired) return;  // its clients are about to leave
        ++self->renewals_;
        self->drop("the pool goes on with newer connections");
        self->last_failure_ = {};
        self->back_off_ = first_back_off;
        self->retry_at_ = {};
        self->logging_in_ = false;  // one that is under way is not waited for
        self->proceed();
    });
}

// After whatever may have changed something: does what is to be done now.
void listening::proceed() {
    const auto now = steady_clock::now();
    // A client that is about to hand its channels over keeps its own connection until it has.
    if (link_ != nullptr && pool_.paused && hub_.pending() == 0) {
        back_off_ = first_back_off;
        return drop("PAUSE");
    }
    if (link_ != nullptr) {
        if (!hub_.close_wanted().empty()) {
            if (hub_.desynced()) service_.counters(home_).server_protocol_errors.add();
            return drop(hub_.close_wanted());
        }
        protocol::outgoing out;
        out.build([this](std::string& to) { to += hub_.take_output(); });
        if (!out.empty()) answer_by_ = now + answer_patience;
        link_->stream.send(out);
        if (!hub_.awaiting_reply()) answer_by_ = net::deadline::never;
        if (hub_.restored()) back_off_ = first_back_off;
    }
    hand_out();
    pool_.listening_clients.store(static_cast<std::uint32_t>(hub_.listeners()),
                                  std::memory_order_relaxed);
    if (hub_.wanted()) {
        idle_until_ = net::deadline::never;
        if (link_ == nullptr && !logging_in_ && now >= retry_at_) log_in();
    } else if (link_ != nullptr && idle_until_ == net::deadline::never) {
        idle_until_ = pool_.retired ? now : now + idle_patience;
    }
    arm(now);
}

// Everything for one worker goes in one piece.
void listening::hand_out() {
    const auto events = hub_.take_events();
    if (events.empty()) return;
    struct load {
        parcels all;
        const pool::listen_event* last = nullptr;
        std::size_t deliveries = 0;
    };
    std::map<net::worker*, load> loads;
    std::uint64_t notifications = 0;
    for (const auto& event : events) {
        if (event.what == pool::listen_event::kind::done) {
            auto request = requests_.extract(event.request);
            if (request.empty()) continue;
            loads[request.mapped().on].all.push_back(
                {event.what, nullptr, {}, std::move(request.mapped().done), event.error});
            continue;
        }
        if (event.frame != nullptr) notifications += event.to.size();
        for (const auto serial : event.to) {
            const auto known = listeners_.find(serial);
            if (known == listeners_.end()) continue;
            auto& load = loads[known->second.on];
            if (std::exchange(load.last, &event) != &event) {
                load.all.push_back({event.what, event.frame, {}, nullptr, std::nullopt});
            }
            load.all.back().to.push_back(known->second.who);
            ++load.deliveries;
        }
    }
    pool_.counters[home_.number()]->notifications_delivered.add(notifications);
    for (auto& [on, load] : loads)
        post_to(*on, std::move(load.all), load.deliveries);
}

void listening::post_to(net::worker& on, parcels what, std::size_t deliveries) {
    in_hand_.fetch_add(deliveries, std::memory_order_relaxed);
    on.post(
        [self = shared_from_this(), all = std::make_shared<parcels>(std::move(what)), deliveries] {
            for (const auto& one : *all)
                open_parcel(one);
            const auto before = self->in_hand_.fetch_sub(deliveries, std::memory_order_relaxed);
            if (before <= few_in_hand || before - deliveries > few_in_hand) return;
            self->home_.post([self] {
                if (self->link_ == nullptr || !self->link_->stream.paused()) return;
                self->link_->stream.resume();
                self->feed();
            });
        });
}

void listening::open_parcel(const parcel& one) {
    if (one.what == pool::listen_event::kind::done) {
        return one.done(one.error.has_value() ? &*one.error : nullptr);
    }
    for (const auto& weak : one.to) {
        const auto client = weak.lock();
        if (client == nullptr) continue;
        if (one.what == pool::listen_event::kind::missed) {
            client->on_missed();
        } else {
            client->on_notification(one.frame);
        }
    }
}

void listening::reconnect() {
    home_.post([self = shared_from_this()] {
        if (self->closed_ || self->link_ == nullptr) return;
        self->back_off_ = first_back_off;
        self->drop("PAUSE or RECONNECT");
    });
}

void listening::log_in() {
    if (service_.stopping) return;
    if (pool_.paused && hub_.pending() == 0) {
        retry_at_ = steady_clock::now() + check_interval;
        return;
    }
    logging_in_ = true;
    service_.log_in_with(
        pool_, pool_.terms(), home_,
        [self = shared_from_this(), renewals = renewals_](pool::login_result result, auto) {
            self->logged_in(std::move(result), renewals);
        });
}

void listening::logged_in(pool::login_result result, std::uint32_t renewals) {
    if (renewals != renewals_) return;  // it went to an earlier server; another one is under way
    logging_in_ = false;
    if (closed_ || service_.stopping) return;
    if (!result.connection.has_value()) {
        pool_.counters[home_.number()]->upstream_login_failures.add();
        service_.log.warning("login of the listening connection failed",
                             {{"database", pool_.database},
                              {"user", pool_.user},
                              {"sqlstate", result.failure.sqlstate},
                              {"error", result.failure.message},
                              {"retried", hub_.wanted()}});
        last_failure_ = result.failure;
        retry_at_ = steady_clock::now() + back_off_;
        back_off_ = std::min(back_off_ * 2, longest_back_off);
        if (result.failure.hopeless) hub_.refuse(result.failure);
        return proceed();
    }
    last_failure_ = {};
    link_ = std::make_shared<link>(*this, std::move(*result.connection));
    counted_in_ = counted_out_ = 0;
    pool_.listen_connections.store(1, std::memory_order_relaxed);
    service_.log.info("listening connection opened", {{"database", pool_.database},
                                                      {"user", pool_.user},
                                                      {"pid", link_->upstream.process_id},
                                                      {"clients", hub_.listeners()}});
    link_->open(home_, link_);
    hub_.connected();
    proceed();
    if (link_ != nullptr) link_->stream.announce_pending();
}

void listening::feed() {
    const auto open = link_;
    auto& rx = open->stream.rx;
    while (link_ == open && !rx.empty()) {
        if (in_hand_.load(std::memory_order_relaxed) > most_in_hand) {
            open->stream.pause();
            break;
        }
        const auto bytes = rx.readable();
        auto taken = hub_.receive(bytes.first(std::min(bytes.size(), bytes_a_step)));
        if (taken == 0) taken = hub_.receive(bytes);  // a long one
        rx.consume(taken);
        proceed();
        if (taken == 0) break;
    }
    if (link_ == open) count_traffic();
}

void listening::count_traffic() {
    auto& counters = *pool_.counters[home_.number()];
    counters.server_bytes_received.add(link_->stream.bytes_in() - counted_in_);
    counters.server_bytes_sent.add(link_->stream.bytes_out() - counted_out_);
    counted_in_ = link_->stream.bytes_in();
    counted_out_ = link_->stream.bytes_out();
}

// The connection is of no use any more.
void listening::drop(std::string_view why) {
    if (link_ == nullptr) return;
    count_traffic();
    service_.log.info("listening connection closed", {{"database", pool_.database},
                                                      {"user", pool_.user},
                                                      {"pid", link_->upstream.process_id},
                                                      {"why", why},
                                                      {"clients", hub_.listeners()}});
    const auto hold = std::exchange(link_, nullptr);
    hold->close();
    pool_.listen_connections.store(0, std::memory_order_relaxed);
    idle_until_ = answer_by_ = net::deadline::never;
    retry_at_ = steady_clock::now() + back_off_;
    back_off_ = std::min(back_off_ * 2, longest_back_off);
    hub_.lost();
    proceed();
}

void listening::arm(net::clock_time now) {
    auto due = std::min(idle_until_, answer_by_);
    if (hub_.pending() > 0) due = std::min(due, now + check_interval);
    if (link_ == nullptr && !logging_in_ && hub_.wanted()) due = std::min(due, retry_at_);
    home_.deadlines().set(deadline_, due);
}

void listening::deadline_passed(net::deadline& entry) {
    static_cast<timed&>(entry).owner.check_deadlines();
}

void listening::check_deadlines() {
    if (closed_) return;
    const auto now = steady_clock::now();
    if (hub_.pending() > 0) {
        hub_.expire(now, last_failure_.sqlstate.empty() ? too_late : last_failure_);
    }
    if (link_ != nullptr && now >= answer_by_) return drop("it did not answer");
    if (link_ != nullptr && now >= idle_until_ && !hub_.wanted()) {
        drop("nobody listens");
        retry_at_ = now;
        return;
    }
    proceed();
}

void listening::close() {
    closed_ = true;
    net::deadline_list::cancel(deadline_);
    listeners_.clear();
    requests_.clear();
    const auto hold = std::exchange(link_, nullptr);
    if (hold != nullptr) hold->close();
    pool_.listen_connections.store(0, std::memory_order_relaxed);
}

}  // namespace sluice::daemon
