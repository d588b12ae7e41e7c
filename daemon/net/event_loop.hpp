// The loop of one worker: an epoll set, an inbox for work from other threads, a coarse tick.
// Hand-driven, because a pooler does little else than receive and send: Asio's reactor tries a
// receive that fails before each wait and keeps a buffer and an operation for every idle socket
// (docs/performance.md has the figures). Everything but post() and stop() happens on its thread.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

struct epoll_event;

namespace sluice::net {

using clock_time = std::chrono::steady_clock::time_point;

// A descriptor's owner. `readable` includes an end or an error, which a read will tell.
class watcher {
  public:
    struct readiness {
        bool readable = false;
        bool writable = false;
        bool ended = false;  // read until the end: it will not be announced again
    };
    virtual void on_ready(readiness what) = 0;
    // From again(), at the end of the turn.
    virtual void on_again() {}

  protected:
    ~watcher() = default;
};

class event_loop {
  public:
    static constexpr auto tick_interval = std::chrono::milliseconds(100);
    static constexpr std::size_t scratch_size = 65536;

    event_loop();
    ~event_loop();
    event_loop(const event_loop&) = delete;
    event_loop& operator=(const event_loop&) = delete;

    // Announces edges: a watcher reads until there is less than it asked for.
    void add(int descriptor, watcher& who);
    // Nothing is announced any more, not even what was found in this turn already.
    void remove(int descriptor, watcher& who);
    // Calls on_again() at the end of this turn (once), unless removed by then.
    void again(watcher& who);
    // Lets go of it at the end of this turn.
    void bury(std::shared_ptr<void> what) { graves_.push_back(std::move(what)); }
    // Memory for one receive; whoever uses it is done before the loop calls anybody else.
    [[nodiscard]] std::span<std::uint8_t> scratch() noexcept {
        return {scratch_.get(), scratch_size};
    }

    // From any thread.
    void post(std::function<void()> work);
    void stop();

    void on_tick(std::function<void(clock_time)> call) { ticks_.push_back(std::move(call)); }
    // Called at the end of every turn, after all watchers.
    void on_turn_end(std::function<void()> call) { turn_ends_.push_back(std::move(call)); }
    void run();
    // For one thread that is alone, after run(): does what has been left. False: there was nothing.
    bool finish();

  private:
    void dispatch(std::span<epoll_event> found);
    void take_posted();
    void end_turn();
    void wake() const;

    int epoll_ = -1;
    int wake_ = -1;
    std::unique_ptr<std::uint8_t[]> scratch_;
    std::vector<watcher*> again_;
    std::vector<std::shared_ptr<void>> graves_;
    std::vector<std::function<void(clock_time)>> ticks_;
    std::vector<std::function<void()>> turn_ends_;
    std::span<epoll_event> turn_;  // what is being dispatched
    std::mutex mutex_;
    std::vector<std::function<void()>> inbox_;
    std::atomic<bool> stopped_{false};
};

}  // namespace sluice::net
