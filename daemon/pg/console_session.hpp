// The admin console's side of a client: feeds pool/console_protocol from the session's stream, and
// runs the commands. Lives as long as its session, on its worker. What it waits for (other workers,
// a reload, a PAUSE) comes back by post; a session that has left meanwhile gets nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/net/deadlines.hpp"
#include "pool/console_protocol.hpp"

namespace sluice::daemon {

class client_session;
class directory;
class pg_service;

// What a client of the admin console may do. none: it is a client of a database.
enum class console_role { none, stats, admin };

// Who asks for the console, and how they have proved who they are.
struct console_user {
    std::string name;
    bool is_peer = false;       // our own user, over a unix socket
    bool has_password = false;  // an entry in postgres.users
};
[[nodiscard]] console_role role_of(const directory& from, const console_user& who);

// Clients of the console at a time; they count against no other limit.
constexpr std::uint32_t most_consoles = 100;

class console_session {
  public:
    console_session(client_session& session, pg_service& service, console_user user,
                    const std::string& database);

    // What a client is told when it has logged in.
    [[nodiscard]] static std::vector<std::pair<std::string, std::string>> reported_parameters(
        const std::string& user);

    // More came, or what was to be sent has been: goes on.
    void on_bytes();
    // Ends what a command waits for; what it has ordered stays in force.
    void cancel();
    [[nodiscard]] net::clock_time due() const noexcept { return due_; }
    void on_deadline();
    // There is a new directory: who has lost the console by it is told, and leaves; at once, or
    // when a command that is about to be answered has been.
    void reconfigure();

  private:
    // False: the session has ended.
    [[nodiscard]] bool check_rights();
    void run(const pool::console_command& command);
    void run_order(const pool::console_command& command);
    void show(pool::show_kind what);
    void set(const pool::console_command& command);
    void lacks_rights();
    void reload();
    void shut_down(const std::string& mode);
    void kill_client(const std::string& id);
    void kill(const std::string& database);
    // Answers with the tag when `over` says so; it is asked again and again.
    void wait_until(std::function<bool()> over, std::function<bool()> hopeless);
    void done(pool::console_answer answer);
    void done() { done(pool::console_answer()); }
    // For other threads to call: does `work` here if the command still waits for it.
    template <class Argument>
    [[nodiscard]] std::function<void(const Argument&)> back_here(
        std::function<void(console_session&, const Argument&)> work);

    client_session& session_;
    pg_service& service_;
    console_user user_;
    console_role role_ = console_role::none;
    std::uint32_t rights_of_ = 0;  // the directory that they are from
    pool::console_protocol protocol_;
    std::function<bool()> over_;      // while a command waits
    std::function<bool()> hopeless_;  // it will never be over
    net::clock_time due_ = net::deadline::never;
    std::uint64_t commands_ = 0;  // so far: answers to an earlier one come too late
    bool running_ = false;        // the last of them
    bool in_pump_ = false;
};

}  // namespace sluice::daemon
