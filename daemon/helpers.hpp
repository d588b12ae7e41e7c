// Threads for what blocks: upstream logins, cancel requests, password hashing. A thread is started
// when work comes and none is idle, up to `most`; more work waits in order. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::daemon {

class helpers {
  public:
    explicit helpers(unsigned most) : most_(most) {}
    ~helpers() { stop(); }

    void run(std::function<void()> work);
    // Drops what has not begun and waits for the rest.
    void stop();

  private:
    void serve();

    unsigned most_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> queue_;
    std::vector<std::thread> threads_;
    unsigned idle_ = 0;
    bool stopping_ = false;
};

}  // namespace sluice::daemon
