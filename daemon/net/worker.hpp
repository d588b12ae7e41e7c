// A worker: one thread, one event loop, its deadlines. Everything that lives on a worker is touched
// by its thread only; other threads reach it through post().
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "daemon/net/deadlines.hpp"

namespace sluice::net {

namespace asio = boost::asio;

class worker {
  public:
    static constexpr auto tick_interval = std::chrono::milliseconds(100);

    explicit worker(unsigned number) : number_(number), io_(1), timer_(io_) {}
    ~worker() { join(); }

    [[nodiscard]] unsigned number() const noexcept { return number_; }
    [[nodiscard]] asio::io_context& io() noexcept { return io_; }
    [[nodiscard]] deadline_list& deadlines() noexcept { return deadlines_; }
    [[nodiscard]] bool is_current() const noexcept {
        return std::this_thread::get_id() == thread_.get_id();
    }

    template <class Function>
    void post(Function&& function) {
        asio::post(io_, std::forward<Function>(function));
    }

    // Called on the worker with every tick; add before start().
    void on_tick(std::function<void(clock_time)> call) { ticks_.push_back(std::move(call)); }
    void start();
    void stop() { io_.stop(); }
    void join() {
        if (thread_.joinable()) thread_.join();
    }

  private:
    void arm();

    unsigned number_;
    asio::io_context io_;
    asio::steady_timer timer_;
    deadline_list deadlines_;
    std::vector<std::function<void(clock_time)>> ticks_;
    std::thread thread_;
};

}  // namespace sluice::net
