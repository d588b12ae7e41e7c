// A worker: one thread, one event loop, its deadlines. Everything that lives on a worker is touched
// by its thread only; other threads reach it through post().
#pragma once

#include <functional>
#include <thread>

#include "daemon/net/deadlines.hpp"
#include "daemon/net/event_loop.hpp"

namespace sluice::net {

class worker {
  public:
    explicit worker(unsigned number) : number_(number) {
        loop_.on_tick([this](clock_time now) { deadlines_.tick(now); });
    }
    ~worker() { join(); }

    [[nodiscard]] unsigned number() const noexcept { return number_; }
    [[nodiscard]] event_loop& loop() noexcept { return loop_; }
    [[nodiscard]] deadline_list& deadlines() noexcept { return deadlines_; }
    // Whether the calling thread is this worker's.
    [[nodiscard]] bool is_current() const noexcept { return current == this; }

    void post(std::function<void()> work) { loop_.post(std::move(work)); }
    // Called on the worker with every tick; add before start().
    void on_tick(std::function<void(clock_time)> call) { loop_.on_tick(std::move(call)); }
    void on_turn_end(std::function<void()> call) { loop_.on_turn_end(std::move(call)); }
    void start();
    void stop() { loop_.stop(); }
    void join() {
        if (thread_.joinable()) thread_.join();
    }

  private:
    unsigned number_;
    deadline_list deadlines_;
    event_loop loop_;  // ends before the deadlines of what it buries
    std::thread thread_;
    static thread_local const worker* current;
};

}  // namespace sluice::net
