// client_session from the end of authentication to its first ReadyForQuery: limits, the welcome,
// the cancel key; and dedicated (replication) sessions.
#include <fmt/format.h>
#include <openssl/rand.h>

#include <array>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

constexpr std::size_t long_secret = 32;  // protocol 3.2
constexpr std::size_t short_secret = 4;

std::string_view refusal_of(admission result) {
    switch (result) {
        case admission::max_client_conn:
            return "no more connections allowed (max_client_conn)";
        case admission::max_db_client_connections:
            return "client connections exceeded (max_db_client_connections)";
        case admission::max_user_client_connections:
            return "client connections exceeded (max_user_client_connections)";
        case admission::granted:
            break;
    }
    return {};
}

// PostgreSQL before 16 shows what is not printable ASCII in an application_name as '?'.
std::string clean_ascii(std::string text) {
    for (auto& c : text) {
        if (c < ' ' || c > '~') c = '?';
    }
    return text;
}

template <class T>
T first_of(const std::optional<T>& narrow, const T& wide) {
    return narrow.value_or(wide);
}

}  // namespace

void client_session::logged_in() {
    const auto& from = login_->from();
    const auto& request = login_->request();
    const auto& all = from.postgres();
    if (login_->is_for_console()) return start_console();
    if (service_.orders.is_disabled(request.database)) {
        service_.counters(home_).clients_refused.add();
        return fail({.severity = "FATAL",
                     .sqlstate = "57P03",
                     .message = "database \"" + request.database + "\" is disabled",
                     .hint = "An admin has said DISABLE; ENABLE ends it."},
                    "database disabled");
    }
    const auto verdict =
        service_.admit_client(from, login_->target(), request.database, request.user);
    if (verdict != admission::granted) {
        service_.counters(home_).clients_refused.add();
        service_.log.warning("client refused", {{"database", request.database},
                                                {"user", request.user},
                                                {"from", peer_},
                                                {"sqlstate", "53300"},
                                                {"why", refusal_of(verdict)}});
        return fail({.severity = "FATAL",
                     .sqlstate = "53300",
                     .message = refusal_of(verdict),
                     .hint = "Raise the setting named here, or close connections."},
                    "too many clients");
    }
    admitted_ = true;
    names_ = std::make_shared<const std::string>(request.database + '\0' + request.user);
    placed_under_ = service_.directory_number();
    pool_ = service_.pool_for(request.database, request.user, login_->password());
    if (pool_ == nullptr) {  // a reload has just taken it away
        admitted_ = false;
        service_.client_left(request.database, request.user);
        return fail({.severity = "FATAL",
                     .sqlstate = "3D000",
                     .message = "no such database: " + request.database},
                    "no such database");
    }
    pool_->clients.fetch_add(1, std::memory_order_relaxed);
    pool_->counters[home_.number()]->client_logins.add();
    link_.set_statement_counts(&service_.statement_counts_of(home_),
                               service_.tops.scope_of(pool_->database, pool_->user));

    config::user_settings own;
    if (login_->account() != nullptr) own = login_->account()->settings;
    mode_ = first_of(own.pool_mode, first_of(login_->target().settings.pool_mode, all.pool_mode));
    link_.set_max_statements(mode_ == config::pool_mode::session ? 0 : all.max_prepared_statements);
    set_timeouts(all, own, login_->target().settings);
    link_.set_tracking(
        mode_ == config::pool_mode::session
            ? config::session_state::off
            : first_of(own.session_state,
                       first_of(login_->target().settings.session_state, all.session_state)));
    if (link_.tracking() != config::session_state::off) pool_->knowledge()->wanted = true;
    if (request.replication != protocol::replication_kind::none) return start_dedicated();
    link_.startup = service_.parameters.with(service_.parameters.none(), request.settings);
    link_.wanted = link_.startup;
    welcome();
}

void client_session::set_timeouts(const config::postgres_settings& all,
                                  const config::user_settings& own,
                                  const config::database_settings& target) {
    timeouts_ = std::make_shared<const timeouts>(
        timeouts{all.query_wait_timeout, all.query_wait_notify,
                 first_of(own.query_timeout, all.query_timeout),
                 first_of(own.transaction_timeout, all.transaction_timeout),
                 first_of(own.idle_transaction_timeout, all.idle_transaction_timeout),
                 first_of(own.client_idle_timeout, all.client_idle_timeout),
                 first_of(own.pin_timeout, first_of(target.pin_timeout, all.pin_timeout))});
}

// What a server reports for these settings is known from an earlier client, or asked for.
void client_session::welcome() {
    phase_ = phase::welcome;
    const auto key = service_.parameters.without(link_.wanted, "application_name");
    if (const auto known = pool_->welcomes.find(key); known != nullptr) {
        return finish_welcome(known);
    }
    ask_for_server();
}

void client_session::finish_welcome(const pool::parameters& reported) {
    const auto& request = login_->request();
    link_.reported = reported;
    if (link_.wanted->find("application_name") != nullptr) {
        link_.reported = service_.parameters.with(reported, "application_name",
                                                  clean_ascii(request.application_name));
    }
    std::array<unsigned char, long_secret + 4> random{};
    if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) {
        return fail({.severity = "FATAL", .sqlstate = "XX000", .message = "no randomness"},
                    "no randomness");
    }
    pool::client_entry entry;
    entry.worker = home_.number();
    entry.serial = waiter.serial;
    entry.secret.assign(reinterpret_cast<char*>(random.data()),
                        request.minor >= 2 ? long_secret : short_secret);
    entry.session = weak_from_this();
    entry.description = fmt::format("{}@{} {}", request.user, login_->peer(),
                                    clean_ascii(request.application_name));
    const auto secret = entry.secret;
    process_id_ =
        service_.registry.add(std::move(entry), protocol::load_u32(random.data() + long_secret));
    link_.set_process_id(process_id_);
    send([&](std::string& out) {
        for (const auto& [name, value] : link_.reported->entries()) {
            protocol::append_parameter_status(out, name, value);
        }
        protocol::append_backend_key(out, process_id_, secret);
        protocol::append_ready(out, 'I');
    });
    service_.log.info("client connected", {{"database", request.database},
                                           {"user", request.user},
                                           {"client", process_id_},
                                           {"from", login_->peer()},
                                           {"tls", stream.tls() != nullptr},
                                           {"application_name", request.application_name}});
    peer_ = login_->peer();
    forget_login();
    phase_ = console_ != nullptr ? phase::console : phase::ready;
    since_ = steady_clock::now();
    if (phase_ == phase::console) return console_->on_bytes();
    if (!settle_place()) return;
    if (!stream.rx.empty()) return pump();
    regulate_reading();
    stream.trim();
    set_deadline();
}

// Counts against no limit but one of its own, and is not waited for at the end.
void client_session::start_console() {
    const auto& request = login_->request();
    if (service_.consoles.load(std::memory_order_relaxed) >= most_consoles) {
        return fail({.severity = "FATAL",
                     .sqlstate = "53300",
                     .message = "too many clients on the admin console"},
                    "too many consoles");
    }
    if (request.replication != protocol::replication_kind::none) {
        return fail({.severity = "FATAL",
                     .sqlstate = "0A000",
                     .message = "the admin console has no replication"},
                    "replication on the console");
    }
    service_.consoles.fetch_add(1, std::memory_order_relaxed);
    service_.clients_on[home_.number()].fetch_sub(1, std::memory_order_relaxed);
    names_ = std::make_shared<const std::string>(request.database + '\0' + request.user);
    console_ =
        std::make_unique<console_session>(*this, service_, login_->admin(), request.database);
    link_.startup = service_.parameters.with(service_.parameters.none(), request.settings);
    link_.wanted = link_.startup;
    finish_welcome(service_.parameters.with(service_.parameters.none(),
                                            console_session::reported_parameters(request.user)));
}

void client_session::start_dedicated() {
    phase_ = phase::welcome;
    pool::login_order order;
    auto terms = pool_->terms();
    order.conninfo = std::move(terms.conninfo);
    order.over = std::move(terms.over);
    const auto& request = login_->request();
    replication_ =
        request.replication == protocol::replication_kind::logical ? "logical" : "physical";
    order.over.emplace_back(
        "replication",
        request.replication == protocol::replication_kind::logical ? "database" : "true");
    std::string options;
    for (const auto& [name, value] : request.settings) {
        if (name == "application_name" || name == "client_encoding") {
            order.over.emplace_back(name, value);
            continue;
        }
        options += options.empty() ? "-c " : " -c ";
        for (const char c : name + "=" + value) {
            if (c == ' ' || c == '\\' || c == '\t' || c == '\n') options += '\\';
            options += c;
        }
    }
    if (!options.empty()) order.over.emplace_back("options", options);
    const auto timeout = login_->from().postgres().server_connect_timeout;
    order.deadline = steady_clock::now() + (timeout.count() == 0 ? std::chrono::hours(1) : timeout);
    order.stop = &service_.stopping;
    service_.threads.run([self = shared_from_this(), order = std::move(order)] {
        auto result = std::make_shared<pool::login_result>(pool::log_in(order));
        auto& there = self->home();
        there.post([self, result] { self->dedicated_opened(result); });
    });
}

void client_session::dedicated_opened(const std::shared_ptr<pool::login_result>& result) {
    if (phase_ != phase::welcome) return;
    if (!result->connection.has_value()) return refused(result->failure);
    std::vector<pool::parameter_set::entry> reported = result->connection->reported;
    dedicated_ = std::make_unique<dedicated_server>(*this, std::move(*result->connection));
    finish_welcome(service_.parameters.with(service_.parameters.none(), reported));
    if (phase_ != phase::ready) return;
    phase_ = phase::dedicated;
    dedicated_->open(home_, shared_from_this());
    if (phase_ == phase::dedicated && !stream.rx.empty()) on_bytes();
}

void client_session::dedicated_bytes(protocol::byte_span bytes) {
    protocol::outgoing out;
    out.pass(bytes);
    stream.send(out);
    if (stream.backlog() > high_water_mark) dedicated_->stream.pause();
}

void client_session::dedicated_ended() {
    stream.finish();
    close("the server closed it");
}

}  // namespace sluice::daemon
