// The statements of a client that have ended on one server connection and are not counted yet:
// those of whole batches, and those of the batch that is under way. Their number is bounded,
// however long a pipeline is. Confined to the worker of the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::pool {

struct ended_statement {
    std::uint32_t text = 0;  // statement_counts::handle
    std::uint32_t calls = 0;
    std::uint32_t errors = 0;
    bool light = false;  // BEGIN: it costs next to nothing, whatever came with it
};

class ended_statements {
  public:
    static constexpr std::size_t most = 64;

    void add(std::uint32_t text, bool failed, bool light) {
        if (list_.size() >= most) {
            text = 0;
            light = false;
        }
        const bool joins =
            list_.size() > whole_ && list_.back().text == text && list_.back().light == light;
        if (!joins && list_.size() <= most) list_.push_back({text, 0, 0, light});
        ++list_.back().calls;
        if (failed) ++list_.back().errors;
    }
    void end_batch() noexcept { whole_ = list_.size(); }

    [[nodiscard]] bool empty() const noexcept { return whole_ == 0; }
    // Gives those of whole batches to `take`; the rest stays.
    template <class Take>
    void drain(Take&& take) {
        std::size_t heavy = 0;
        std::size_t calls = 0;
        for (std::size_t i = 0; i < whole_; ++i) {
            calls += list_[i].calls;
            if (!list_[i].light) heavy += list_[i].calls;
        }
        for (std::size_t i = 0; i < whole_; ++i) {
            const bool shares = heavy == 0 || !list_[i].light;
            take(list_[i], shares ? heavy == 0 ? calls : heavy : std::size_t{0});
        }
        list_.erase(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(whole_));
        whole_ = 0;
    }
    void clear() noexcept {
        list_.clear();
        whole_ = 0;
    }

  private:
    std::vector<ended_statement> list_;
    std::size_t whole_ = 0;
};

}  // namespace sluice::pool
