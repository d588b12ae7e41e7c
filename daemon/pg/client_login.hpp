// The beginning of a client's connection: TLS, startup packet, authentication. Drives the state
// machines of protocol/ with the session's stream and ends by telling the session who has come.
// Lives until the client is logged in, on the session's worker.
#pragma once

#include <memory>
#include <string>

#include "daemon/net/listener.hpp"
#include "daemon/pg/console_session.hpp"
#include "daemon/pg/directory.hpp"
#include "protocol/pg_auth.hpp"
#include "protocol/pg_startup.hpp"

namespace sluice::daemon {

class client_session;
class pg_service;

class client_login {
  public:
    client_login(client_session& session, pg_service& service, net::accepted_socket socket);

    void on_bytes();
    void password_checked(bool matches);

    [[nodiscard]] const directory& from() const noexcept { return *from_; }
    [[nodiscard]] const database_target& target() const noexcept { return *target_; }
    [[nodiscard]] const user_account* account() const noexcept { return account_; }
    [[nodiscard]] const protocol::startup_request& request() const noexcept { return request_; }
    [[nodiscard]] const std::string& peer() const noexcept { return socket_.peer; }
    [[nodiscard]] bool is_for_console() const noexcept { return is_console_; }
    [[nodiscard]] const console_user& admin() const noexcept { return console_user_; }
    // What to log in upstream with, if that is the client's own.
    [[nodiscard]] const std::string& password() const noexcept { return password_; }

  private:
    void open_step();
    void authenticate();
    void receive_auth();
    void act(protocol::auth_action action);
    void check(protocol::secret password);
    void check_passthrough(std::string password);
    void authenticated();
    // console_login.cpp
    [[nodiscard]] bool is_own_user() const;
    [[nodiscard]] bool admit_to_console(protocol::auth_method method);
    void refuse(const protocol::login_error& error);

    client_session& session_;
    pg_service& service_;
    net::accepted_socket socket_;
    std::shared_ptr<const directory> from_;
    std::shared_ptr<const directory> proved_by_;  // an earlier one, whose certificate is in use
    protocol::client_opening opening_;
    std::unique_ptr<protocol::client_auth> auth_;
    protocol::startup_request request_;
    const database_target* target_ = nullptr;
    const user_account* account_ = nullptr;
    std::string password_;
    console_user console_user_;
    bool direct_tls_ = false;
    bool is_console_ = false;
    bool may_use_console_ = false;
    bool over_ = false;
};

}  // namespace sluice::daemon
