// The keys of one project that expire, soonest first: a binary heap in which each entry knows its
// place, so that a new expiry costs log n and nothing is ever searched. Guarded by the project's
// lock; the entries are the table's.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "kvstore/entry.hpp"

namespace sluice::kvstore {

class expiry_queue {
  public:
    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
    [[nodiscard]] entry* first() const noexcept { return heap_.empty() ? nullptr : heap_[0].which; }
    [[nodiscard]] time_ms next() const noexcept { return heap_.empty() ? never : heap_[0].at; }

    void add(entry* which) {
        heap_.push_back({which->expiry(), which});
        rise(heap_.size() - 1);
    }
    void remove(const entry* which) {
        const auto at = which->queue_index();
        const auto last = heap_.back();
        heap_.pop_back();
        if (at == heap_.size()) return;
        place(at, last);
        settle(at);
    }
    // `fresh` has taken the place of `old`, perhaps with another expiry.
    void replace(const entry* old, entry* fresh) {
        const auto at = old->queue_index();
        place(at, {fresh->expiry(), fresh});
        settle(at);
    }
    void clear() { std::vector<item>().swap(heap_); }

  private:
    struct item {
        time_ms at;
        entry* which;
    };
    void place(std::size_t at, item what) {
        heap_[at] = what;
        what.which->set_queue_index(at);
    }
    void settle(std::size_t at) {
        rise(at);
        sink(heap_[at].which->queue_index());
    }
    void rise(std::size_t at) {
        const auto what = heap_[at];
        while (at > 0 && heap_[(at - 1) / 2].at > what.at) {
            place(at, heap_[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        place(at, what);
    }
    void sink(std::size_t at) {
        const auto what = heap_[at];
        for (;;) {
            auto child = at * 2 + 1;
            if (child >= heap_.size()) break;
            if (child + 1 < heap_.size() && heap_[child + 1].at < heap_[child].at) ++child;
            if (heap_[child].at >= what.at) break;
            place(at, heap_[child]);
            at = child;
        }
        place(at, what);
    }

    std::vector<item> heap_;
};

}  // namespace sluice::kvstore
