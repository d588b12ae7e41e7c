#include "daemon/net/worker.hpp"

#include <pthread.h>

#include <string>

namespace sluice::net {

// Not thread_'s id: the first connection may be accepted before start() has stored the thread.
thread_local const worker* worker::current = nullptr;

void worker::start() {
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), ("worker-" + std::to_string(number_)).c_str());
        current = this;
        loop_.run();
    });
}

}  // namespace sluice::net
