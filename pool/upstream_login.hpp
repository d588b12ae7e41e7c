// Logging in to a Postgres server with libpq, so that every connection string, TLS mode, service
// and password file that libpq knows works here; the only file that knows libpq.
// log_in() blocks (DNS, key derivation, the network): call it on a helper thread, never on a
// worker. Afterwards the descriptor, or the SSL*, is read and written by us and libpq only keeps it
// open: the handle must live as long as the connection and closes it.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pool/function_survey.hpp"

struct pg_conn;

namespace sluice::pool {

// What a libpq connection string says, with libpq's environment and defaults applied where it is
// silent, except that `user` is empty when the string names none.
struct upstream_address {
    std::string user;
    std::string password;
    std::string database;
    std::string host;
    std::string port;
};

// nullopt: not a connection string that libpq takes. (Its message may quote a password: not given.)
[[nodiscard]] std::optional<upstream_address> parse_address(const std::string& conninfo);
[[nodiscard]] bool is_address(const std::string& conninfo);

// When a login had got so far; what never came stays zero.
struct login_times {
    std::chrono::steady_clock::time_point resolved;   // addresses are known
    std::chrono::steady_clock::time_point connected;  // TCP, or the unix socket
    std::chrono::steady_clock::time_point encrypted;  // TLS; zero without
    std::chrono::steady_clock::time_point done;
};

struct login_order {
    std::string conninfo;
    // Where the connection string is silent: keepalives, tcp_user_timeout.
    std::vector<std::pair<std::string, std::string>> under;
    // Set over what the connection string says: dbname, user, password, replication, options.
    std::vector<std::pair<std::string, std::string>> over;
    std::chrono::steady_clock::time_point deadline;
    const std::atomic<bool>* stop = nullptr;
    login_times* times = nullptr;
    bool survey = false;  // look through the database's functions before anything else is done
};

struct pg_conn_deleter {
    void operator()(pg_conn* connection) const noexcept;
};

// Where and with which key to ask for a cancel; outlives the connection.
struct cancel_target {
    std::string address;  // a sockaddr: the same server process's, not just the same host name
    int process_id = 0;
    int secret = 0;
};

// A logged-in connection. Destroying it sends Terminate and closes it.
struct upstream_connection {
    std::unique_ptr<pg_conn, pg_conn_deleter> handle;
    std::shared_ptr<const cancel_target> cancel;
    int descriptor = -1;
    void* ssl = nullptr;  // SSL* of the connection, or null; owned by the handle
    int process_id = 0;
    std::vector<std::pair<std::string, std::string>> reported;  // ParameterStatus of the login
};

struct login_failure {
    std::string sqlstate;  // the server's, or 08006/08001 for what never reached one
    std::string message;
    std::string detail;
    std::string hint;
    bool hopeless = false;  // trying again will not help: wrong password, no such database, ...
};

struct login_result {
    std::optional<upstream_connection> connection;
    login_failure failure;
    std::optional<survey_result> survey;  // if it was asked for and did not fail
    std::string survey_failure;           // the SQLSTATE if it did
};

[[nodiscard]] login_result log_in(const login_order& order);

// The first row of a query's answer, for tools; null values are empty. Blocks.
struct answer_row {
    std::vector<std::string> values;
    std::string sqlstate;  // not empty: it failed
    std::string message;
};
[[nodiscard]] answer_row ask(const upstream_connection& connection, const std::string& sql,
                             std::chrono::steady_clock::time_point deadline);

// Reads libpq's verbose error text. Exposed for its tests.
[[nodiscard]] login_failure read_failure(std::string_view text);

// Asks the server to cancel what the connection is running and waits until the server has taken
// note, which it shows by closing. Blocks, until `deadline` at most. In the clear, as libpq 15 does
// it: the request holds nothing but the key. False: could not be delivered.
// (Not PQcancel: that one waits for ever for a server that does not answer.)
bool send_cancel(const cancel_target& target, std::chrono::steady_clock::time_point deadline);

}  // namespace sluice::pool
