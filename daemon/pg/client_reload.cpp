// client_session when the configuration changes while it is logged in (docs/reload.md): timeouts at
// once; another pool, or the end, between transactions.
#include "daemon/pg/client_session.hpp"
#include "daemon/pg/server_connection.hpp"

namespace sluice::daemon {

namespace {

std::string detail_of(const std::string& database, bool is_gone) {
    if (is_gone) return "Database \"" + database + "\" is no longer in the configuration.";
    return "Clients of database \"" + database + "\" now have to log in with their own password.";
}

}  // namespace

// Not within the walk over all sessions: it may end this one and others.
void client_session::reconfigure() {
    if (const auto self = weak_from_this().lock()) {
        home_.post([self] { self->adopt_configuration(); });
    }
}

void client_session::adopt_configuration() {
    if (phase_ == phase::console) return console_->reconfigure();
    if (!admitted_ || phase_ == phase::closing || phase_ == phase::closed) return;
    const auto from = service_.current_directory();
    const auto cut = names_->find('\0');
    const auto* target = from->find_database(names_->substr(0, cut));
    const auto* account = from->find_user(names_->substr(cut + 1));
    set_timeouts(from->postgres(), account == nullptr ? config::user_settings{} : account->settings,
                 target == nullptr ? config::database_settings{} : target->settings);
    if (phase_ == phase::dedicated) {
        if (target == nullptr) close("database removed");
        return;
    }
    const bool is_within = server_ != nullptr &&
                           (!server_->link.idle() || link_.in_message() || server_->cancelling());
    if (is_within || (is_held_up() && !waiting_)) return set_deadline();
    if (waiting_) {
        // Its place in the queue is kept if it may stay.
        const auto place =
            service_.place_again(*pool_, names_->substr(0, cut), names_->substr(cut + 1));
        if (place.pool == pool_ || !service_.book.leave(*pool_->book, waiter)) {
            return set_deadline();
        }
        const auto release = std::move(waiter.keep);
        return grant_lost();
    }
    if (settle_place()) set_deadline();
}

// False: the session has ended.
bool client_session::find_place() {
    const auto number = service_.directory_number();
    const auto cut = names_->find('\0');
    const auto database = names_->substr(0, cut);
    const auto place = service_.place_again(*pool_, database, names_->substr(cut + 1));
    if (place.pool == nullptr) {
        const bool is_gone = service_.current_directory()->find_database(database) == nullptr;
        fail({.severity = "FATAL",
              .sqlstate = "57P01",
              .message = place.why,
              .detail = detail_of(database, is_gone)},
             place.why);
        return false;
    }
    if (place.pool != pool_) {
        if (server_ != nullptr) return true;  // when it has given it back
        move_channels(*place.pool);
        pool_->clients.fetch_sub(1, std::memory_order_relaxed);
        pool_ = place.pool;
        pool_->clients.fetch_add(1, std::memory_order_relaxed);
        if (link_.tracking() != config::session_state::off) pool_->knowledge()->wanted = true;
        if (phase_ == phase::ready) send_pending();
    }
    placed_under_ = number;
    return true;
}

}  // namespace sluice::daemon
