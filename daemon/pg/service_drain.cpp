// pg_service where it ends its clients before it ends itself: docs/upgrade.md.

#include <algorithm>

#include "daemon/pg/client_session.hpp"
#include "daemon/pg/service.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

constexpr std::int64_t no_bound = std::int64_t{1} << 40;
// What may be saved up, in seconds' worth of the rate.
constexpr double most_saved = 0.2;

}  // namespace

void pg_service::drain(newcomers what) {
    using std::chrono::milliseconds;
    const milliseconds timeout = current_directory()->postgres().shutdown_timeout;
    const auto share = timeout.count() == 0 ? milliseconds::max() : timeout / 4;
    rest_time_ = std::min<milliseconds>(share, std::chrono::seconds(1));
    // Connections for one transaction each end by themselves.
    busy_from_ = steady_clock::now() + std::min<milliseconds>(share, std::chrono::seconds(2));
    if (what == newcomers::refused) refusing_ = true;
    draining_ = true;
}

void pg_service::fill_drain_budget(net::clock_time now) {
    const auto rate = current_directory()->postgres().drain_rate;
    if (rate == 0) {
        drain_budget_ = no_bound;
        return;
    }
    if (drain_filled_ == net::clock_time{}) drain_filled_ = now - net::event_loop::tick_interval;
    const std::chrono::duration<double> passed = now - drain_filled_;
    drain_filled_ = now;
    const double most = std::max(1.0, rate * most_saved);
    const double left = static_cast<double>(std::max<std::int64_t>(drain_budget_.load(), 0));
    const double fresh = std::min(most, left + drain_fraction_ + passed.count() * rate);
    drain_fraction_ = fresh - static_cast<double>(static_cast<std::int64_t>(fresh));
    drain_budget_ = static_cast<std::int64_t>(fresh);
}

void pg_service::drain_some(net::worker& on, net::clock_time now) {
    if (on.number() == 0) fill_drain_budget(now);
    auto& list = sessions_of[on.number()];
    for (const auto round : {drain_round::idle, drain_round::busy, drain_round::pinned}) {
        if (round != drain_round::idle && now < busy_from_) return;
        bool any_left = false;
        for (auto at = list.begin(); at != list.end();) {
            auto& session = *at++;
            if (drain_budget_.load(std::memory_order_relaxed) <= 0) return;
            if (session.drain(round, now)) {
                drain_budget_.fetch_sub(1, std::memory_order_relaxed);
                any_left = true;
            }
        }
        // The next sort has its turn when there are none of this one.
        if (any_left) return;
    }
}

}  // namespace sluice::daemon
