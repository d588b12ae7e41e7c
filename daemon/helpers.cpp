#include "daemon/helpers.hpp"

#include <pthread.h>

namespace sluice::daemon {

void helpers::run(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    queue_.push_back(std::move(work));
    if (idle_ >= queue_.size()) {
        wake_.notify_one();
    } else if (threads_.size() < most_) {
        threads_.emplace_back([this] {
            pthread_setname_np(pthread_self(), "helper");
            serve();
        });
    }
}

void helpers::serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        --idle_;
        if (stopping_) return;
        auto work = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        work();
        work = nullptr;
        lock.lock();
    }
}

void helpers::stop() {
    std::vector<std::thread> threads;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        queue_.clear();
        threads.swap(threads_);
    }
    wake_.notify_all();
    for (auto& thread : threads)
        thread.join();
}

}  // namespace sluice::daemon
