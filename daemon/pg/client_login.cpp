#include "daemon/pg/client_login.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/passthrough.hpp"
#include "daemon/pg/service.hpp"
#include "protocol/base64.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::daemon {

namespace {

using config::auth_type;
using config::tls_mode;

protocol::tls_offer offer_of(const directory& from) {
    return from.tls() != nullptr ? protocol::tls_offer::yes : protocol::tls_offer::no;
}

protocol::auth_method method_of(auth_type type) {
    switch (type) {
        case auth_type::trust:
            return protocol::auth_method::trust;
        case auth_type::cert:
            return protocol::auth_method::cert;
        case auth_type::cleartext:
        case auth_type::passthrough:
            return protocol::auth_method::cleartext;
        case auth_type::scram_sha_256:
            break;
    }
    return protocol::auth_method::scram;
}

bool requires_tls(tls_mode mode) {
    return mode == tls_mode::require || mode == tls_mode::verify_ca ||
           mode == tls_mode::verify_full;
}

}  // namespace

client_login::client_login(client_session& session, pg_service& service,
                           net::accepted_socket socket)
    : session_(session),
      service_(service),
      socket_(std::move(socket)),
      from_(service.current_directory()),
      opening_(offer_of(*from_)) {}

void client_login::refuse(const protocol::login_error& error) {
    over_ = true;
    service_.counters(session_.home()).client_login_failures.add();
    service_.log.info("client refused", {{"database", request_.database},
                                         {"user", request_.user},
                                         {"from", socket_.peer},
                                         {"sqlstate", error.sqlstate},
                                         {"why", error.message}});
    session_.fail({.severity = "FATAL",
                   .sqlstate = error.sqlstate,
                   .message = error.message,
                   .hint = error.hint},
                  "login refused");
}

void client_login::on_bytes() {
    if (over_) return;
    auto& stream = session_.stream;
    if (stream.tls() != nullptr && !opening_.encrypted()) {
        opening_.tls_started();
        if (direct_tls_ && stream.tls()->selected_alpn() != "postgresql") {
            return refuse({protocol::sqlstate::protocol_violation,
                           "direct TLS needs the ALPN protocol \"postgresql\"",
                           {}});
        }
    }
    if (auth_ == nullptr) open_step();
    if (auth_ != nullptr && !over_) receive_auth();
}

void client_login::open_step() {
    auto& stream = session_.stream;
    while (auth_ == nullptr && !over_ && !stream.rx.empty()) {
        auto step = opening_.step(stream.rx.readable());
        using kind = protocol::opening_step::kind;
        switch (step.what) {
            case kind::need_more:
                stream.expect(2048);
                return;
            case kind::fail:
                service_.counters(session_.home()).protocol_errors.add();
                return refuse(step.error);
            case kind::begin_tls:
                direct_tls_ = true;
                return stream.start_tls(from_->tls()->get(), stream.rx.readable());
            case kind::answer:
                stream.rx.consume(step.consumed);
                session_.send([&](std::string& out) { out += step.byte; });
                if (step.byte == 'S') return stream.start_tls(from_->tls()->get(), {});
                break;
            case kind::cancel:
                over_ = true;
                service_.counters(session_.home()).cancel_requests.add();
                // Whoever waits for the end of this connection may go on: nothing is cancelled
                // after.
                return service_.cancel_request(step.cancel.process_id, step.cancel.secret,
                                               [hold = session_.shared_from_this()] {
                                                   auto& there = hold->home();
                                                   there.post([hold] { hold->end_quietly(); });
                                               });
            case kind::startup:
                stream.rx.consume(step.consumed);
                request_ = std::move(step.startup);
                return authenticate();
        }
    }
}

void client_login::authenticate() {
    const auto& postgres = from_->postgres();
    const bool tls = session_.stream.tls() != nullptr;
    if (requires_tls(postgres.tls.mode) && !tls && !socket_.is_unix) {
        return refuse({protocol::sqlstate::invalid_authorization, "SSL required",
                       "Connect with sslmode=require."});
    }
    if (request_.negotiate) {
        session_.send(
            [&](std::string& out) { out += protocol::negotiate_protocol_version(request_); });
    }
    is_console_ = is_console_database(*from_, request_.database);
    if (!is_console_ && service_.refusing()) {
        return refuse({"57P03", "the database system is shutting down", {}});
    }
    if (!is_console_) target_ = from_->find_database(request_.database);
    account_ = from_->find_user(request_.user);

    std::array<std::uint8_t, protocol::scram_nonce_size> nonce{};
    if (RAND_bytes(nonce.data(), static_cast<int>(nonce.size())) != 1) {
        return refuse({"XX000", "no randomness to be had", {}});
    }
    protocol::auth_request request;
    request.method = method_of(postgres.auth_type);
    if (is_console_ && !admit_to_console(request.method)) return;
    if (console_user_.is_peer) request.method = protocol::auth_method::trust;
    request.user = request_.user;
    if (account_ != nullptr) request.verifier = account_->verifier;
    request.mock_secret = protocol::as_bytes(service_.mock_secret());
    request.nonce = nonce;
    if (tls) {
        request.end_point_hash = from_->tls()->end_point_hash();
        request.certificate_names = session_.stream.tls()->peer_names();
    }
    request.transport = tls || socket_.is_loopback
                            ? protocol::password_transport::protected_or_local
                            : protocol::password_transport::exposed;
    auth_ = std::make_unique<protocol::client_auth>(std::move(request));
    act(auth_->start());
}

void client_login::receive_auth() {
    auto& stream = session_.stream;
    while (!over_ && !stream.rx.empty()) {
        protocol::frame_header header;
        const auto status = protocol::read_header(stream.rx.readable(), header);
        if (status == protocol::header_status::partial) return;
        if (status == protocol::header_status::broken || header.body > auth_->payload_limit()) {
            service_.counters(session_.home()).protocol_errors.add();
            return refuse({protocol::sqlstate::protocol_violation,
                           "invalid message length during authentication",
                           {}});
        }
        if (stream.rx.size() < header.total()) return stream.expect(header.total());
        const auto frame = stream.rx.readable().first(header.total());
        auto action = auth_->receive(header.type, frame.subspan(protocol::frame_header::size));
        stream.rx.consume(header.total());
        act(std::move(action));
    }
}

void client_login::act(protocol::auth_action action) {
    using kind = protocol::auth_action::kind;
    if (!action.bytes.empty() && action.what == kind::send) {
        session_.send([&](std::string& out) { out += action.bytes; });
    }
    switch (action.what) {
        case kind::send:
            return;
        case kind::rejected:
            return refuse(action.error);
        case kind::check_password:
            return check(std::move(action.password));
        case kind::accepted:
            break;
    }
    over_ = true;
    session_.send([&](std::string& out) { out += action.bytes; });
    authenticated();
}

void client_login::password_checked(bool matches) {
    act(auth_->password_checked(matches));
    // What the client sent meanwhile belongs to the session if it is in, and is an error if not.
}

void client_login::check(protocol::secret password) {
    std::string text(password.view());
    if (from_->postgres().auth_type == auth_type::passthrough && !is_console_) {
        return check_passthrough(std::move(text));
    }
    if (account_ != nullptr && !account_->password.empty()) {
        const bool matches = protocol::same_password(text, account_->password);
        protocol::wipe(text);
        return password_checked(matches);
    }
    auto verifier =
        account_ != nullptr && account_->verifier.has_value()
            ? *account_->verifier
            : protocol::mock_verifier(request_.user, protocol::as_bytes(service_.mock_secret()));
    service_.threads.run([text, verifier, hold = session_.shared_from_this()]() mutable {
        const bool matches = protocol::verify_password(text, verifier);
        protocol::wipe(text);
        auto& there = hold->home();
        there.post([hold, matches] { hold->password_checked(matches); });
    });
}

// Proved by logging in upstream; for a while after that, by comparing.
void client_login::check_passthrough(std::string password) {
    if (target_ == nullptr) return password_checked(false);
    password_ = password;
    pool::login_order order;
    order.conninfo = target_->settings.url;
    if (target_->address.database.empty()) order.over.emplace_back("dbname", request_.database);
    order.over.emplace_back("user", request_.user);
    order.over.emplace_back("password", password);
    const auto timeout = from_->postgres().server_connect_timeout;
    order.deadline =
        std::chrono::steady_clock::now() + (timeout.count() == 0 ? std::chrono::hours(1) : timeout);
    order.stop = &service_.stopping;
    service_.threads.run(
        [&service = service_, order = std::move(order), password,
         name = request_.database + '\0' + request_.user + '\0' + target_->settings.url,
         believed = from_->postgres().passthrough_cache,
         hold = session_.shared_from_this()]() mutable {
            const auto proof = service.passthrough.check(name, password, order, believed);
            protocol::wipe(password);
            auto& there = hold->home();
            there.post([hold, proof] {
                if (proof.unreachable.has_value()) return hold->refused(*proof.unreachable);
                hold->password_checked(proof.matches);
            });
        });
}

void client_login::authenticated() {
    const auto& postgres = from_->postgres();
    const bool tls = session_.stream.tls() != nullptr;
    if (postgres.tls.mode == tls_mode::verify_full && tls && !console_user_.is_peer) {
        const auto names = session_.stream.tls()->peer_names();
        if (std::find(names.begin(), names.end(), request_.user) == names.end()) {
            return refuse({protocol::sqlstate::invalid_authorization,
                           "certificate authentication failed for user \"" + request_.user + "\"",
                           "tls.mode verify-full wants a client certificate whose common name is "
                           "the user's name."});
        }
    }
    if (is_console_) {
        if (may_use_console_) return session_.logged_in();
        return refuse({protocol::sqlstate::invalid_authorization,
                       "user \"" + request_.user + "\" is not allowed to use the admin console",
                       "postgres.admin_users and postgres.stats_users name who is."});
    }
    // A reload since the beginning of the login counts.
    if (auto latest = service_.current_directory(); latest != from_) {
        proved_by_ = std::exchange(from_, std::move(latest));
        target_ = from_->find_database(request_.database);
        const auto* account = from_->find_user(request_.user);
        if (account_ != nullptr && account == nullptr) {
            return refuse({protocol::sqlstate::invalid_password,
                           "password authentication failed for user \"" + request_.user + "\"",
                           {}});
        }
        account_ = account;
    }
    if (target_ == nullptr) {
        return refuse({"3D000", "no such database: " + request_.database, {}});
    }
    if (password_.empty() && account_ != nullptr) password_ = account_->password;
    session_.logged_in();
}

}  // namespace sluice::daemon
