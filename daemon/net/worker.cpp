#include "daemon/net/worker.hpp"

#include <pthread.h>

#include <string>

namespace sluice::net {

void worker::start() {
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), ("worker-" + std::to_string(number_)).c_str());
        loop_.run();
    });
}

}  // namespace sluice::net
