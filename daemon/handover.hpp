// The socket pair between a process and its successor: packets of text, each with at most one
// descriptor beside it (docs/upgrade.md has the messages). Blocking, one thread; a deadline or
// stop() ends a wait. Nothing throws: what is broken reads as an end.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::daemon {

class handover_channel {
  public:
    using time = std::chrono::steady_clock::time_point;

    // Takes the descriptor over.
    explicit handover_channel(int descriptor) : descriptor_(descriptor) {}
    ~handover_channel();
    handover_channel(const handover_channel&) = delete;
    handover_channel& operator=(const handover_channel&) = delete;

    // Our end, and the other one, which is the caller's: both close-on-exec. False: errno says why.
    [[nodiscard]] static bool make_pair(int& ours, int& theirs);

    // `descriptor` stays the caller's. False: the other side is gone, or takes nothing any more.
    bool send(std::string_view text, int descriptor = -1);

    struct message {
        std::string word;  // the first of the text
        std::string rest;
        int descriptor = -1;  // the receiver's
    };
    enum class outcome { got, ended, late, stopped };
    [[nodiscard]] outcome receive(message& out, time until);

    // Any thread: a wait ends, now or when it begins.
    void stop() noexcept { stopped_ = true; }

    static constexpr std::size_t most_text = 65536;

  private:
    [[nodiscard]] outcome wait(short event, time until) const;

    int descriptor_;
    std::atomic<bool> stopped_{false};
};

}  // namespace sluice::daemon
