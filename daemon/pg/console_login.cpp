// client_login for the admin console: who may come, and who needs no password.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/pg/client_login.hpp"
#include "daemon/pg/client_session.hpp"

namespace sluice::daemon {

namespace {

bool is_among(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool wants_password(protocol::auth_method method) {
    return method == protocol::auth_method::scram || method == protocol::auth_method::cleartext;
}

}  // namespace

console_role role_of(const directory& from, const console_user& who) {
    const auto& postgres = from.postgres();
    if (who.is_peer) return console_role::admin;
    if (who.has_password) {
        const auto* account = from.find_user(who.name);
        if (account == nullptr || !account->verifier.has_value()) return console_role::none;
    }
    if (is_among(postgres.admin_users, who.name)) return console_role::admin;
    return is_among(postgres.stats_users, who.name) ? console_role::stats : console_role::none;
}

// As with PgBouncer: whoever the daemon runs as may do what they like with it anyway.
bool client_login::is_own_user() const {
    if (!socket_.is_unix) return false;
    if (request_.user != "pgbouncer" && request_.user != "sluice") return false;
    ucred peer{};
    socklen_t size = sizeof peer;
    return getsockopt(session_.stream.descriptor(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           peer.uid == geteuid();
}

// False: the client has been refused. Who is on neither list is refused only after the password,
// so that nobody learns the lists without one.
bool client_login::admit_to_console(protocol::auth_method method) {
    auto& who = console_user_;
    who.name = request_.user;
    who.is_peer = is_own_user();
    may_use_console_ = role_of(*from_, who) != console_role::none;
    if (who.is_peer || !may_use_console_ || !wants_password(method)) return true;
    who.has_password = true;
    if (account_ != nullptr && account_->verifier.has_value()) return true;
    refuse({protocol::sqlstate::invalid_authorization,
            "user \"" + request_.user + "\" may use the admin console, but has no password",
            "Add it to postgres.users with a password; or, as the user that sluice runs as, "
            "connect over the unix socket as \"pgbouncer\"."});
    return false;
}

}  // namespace sluice::daemon
