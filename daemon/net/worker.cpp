#include "daemon/net/worker.hpp"

#include <pthread.h>

#include <string>

namespace sluice::net {

void worker::arm() {
    timer_.expires_after(tick_interval);
    timer_.async_wait([this](const boost::system::error_code& ec) {
        if (ec) return;
        const auto now = std::chrono::steady_clock::now();
        deadlines_.tick(now);
        for (const auto& call : ticks_) call(now);
        arm();
    });
}

void worker::start() {
    arm();
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), ("worker-" + std::to_string(number_)).c_str());
        io_.run();
    });
}

}  // namespace sluice::net
