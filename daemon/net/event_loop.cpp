#include "daemon/net/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace sluice::net {

event_loop::event_loop()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      scratch_(std::make_unique_for_overwrite<std::uint8_t[]>(scratch_size)) {
    if (epoll_ < 0 || wake_ < 0) {
        throw std::runtime_error(std::string("no event loop to be had: ") + std::strerror(errno));
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
}

event_loop::~event_loop() {
    graves_.clear();
    close(wake_);
    close(epoll_);
}

// NOLINTNEXTLINE(readability-make-member-function-const): the set of descriptors is its state
void event_loop::add(int descriptor, watcher& who) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &who;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
}

void event_loop::remove(int descriptor, watcher& who) {
    epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr);
    for (auto& event : turn_) {
        if (event.data.ptr == &who) event.events = 0;
    }
    std::replace(again_.begin(), again_.end(), &who, static_cast<watcher*>(nullptr));
}

void event_loop::again(watcher& who) {
    if (std::find(again_.begin(), again_.end(), &who) == again_.end()) again_.push_back(&who);
}

void event_loop::wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(write(wake_, &one, sizeof one));
}

void event_loop::post(std::function<void()> work) {
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = inbox_.empty();
        inbox_.push_back(std::move(work));
    }
    if (first) wake();
}

void event_loop::stop() {
    stopped_ = true;
    wake();
}

void event_loop::take_posted() {
    std::uint64_t count = 0;
    static_cast<void>(read(wake_, &count, sizeof count));
    std::vector<std::function<void()>> work;
    {
        const std::lock_guard lock(mutex_);
        work.swap(inbox_);
    }
    for (auto& one : work) {
        one();
        one = nullptr;
    }
}

void event_loop::dispatch(std::span<epoll_event> found) {
    turn_ = found;
    bool posted = false;
    for (auto& event : found) {
        if (event.events == 0) continue;  // removed meanwhile
        if (event.data.ptr == nullptr) {
            posted = true;
            continue;
        }
        const bool ended = (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        static_cast<watcher*>(event.data.ptr)
            ->on_ready(
                {(event.events & EPOLLIN) != 0 || ended, (event.events & EPOLLOUT) != 0, ended});
    }
    turn_ = {};
    if (posted) take_posted();
}

void event_loop::end_turn() {
    // NOLINTNEXTLINE(modernize-loop-convert): whoever is called may ask again, and again_ grows
    for (std::size_t i = 0; i < again_.size(); ++i) {
        auto* who = again_[i];
        again_[i] = nullptr;  // it may ask again, for the next turn's end
        if (who != nullptr) who->on_again();
    }
    std::erase(again_, nullptr);
    for (const auto& call : turn_ends_)
        call();
    // Destructors may bury more.
    while (!graves_.empty()) {
        const auto dead = std::move(graves_);
        graves_.clear();
    }
}

void event_loop::run() {
    std::array<epoll_event, 128> events{};
    auto next_tick = std::chrono::steady_clock::now() + tick_interval;
    while (!stopped_) {
        const auto now = std::chrono::steady_clock::now();
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next_tick - now);
        const int wait = again_.empty()
                             ? static_cast<int>(std::clamp<std::int64_t>(left.count() + 1, 0, 1000))
                             : 0;
        const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), wait);
        if (n > 0) dispatch({events.data(), static_cast<std::size_t>(n)});
        const auto after = std::chrono::steady_clock::now();
        if (after >= next_tick) {
            next_tick = after + tick_interval;
            for (const auto& call : ticks_)
                call(after);
        }
        end_turn();
    }
    finish();
}

bool event_loop::finish() {
    bool left = !graves_.empty() || !again_.empty();
    {
        const std::lock_guard lock(mutex_);
        left = left || !inbox_.empty();
    }
    take_posted();
    end_turn();
    return left;
}

}  // namespace sluice::net
