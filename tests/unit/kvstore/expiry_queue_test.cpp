#include "kvstore/expiry_queue.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace sluice::kvstore {
namespace {

struct destroyer {
    void operator()(entry* which) const noexcept { entry::destroy(which); }
};
using owned = std::unique_ptr<entry, destroyer>;

owned ends_at(time_ms at) {
    return owned(entry::make(1, {"key", "value", at, value_form::undecided, nullptr}));
}

// The entries of a queue, and their times as they should be.
class model {
  public:
    expiry_queue queue;

    void add(time_ms at) {
        entries_.push_back(ends_at(at));
        queue.add(entries_.back().get());
        times_.insert(at);
    }
    void remove(std::size_t which) {
        times_.erase(times_.find(entries_[which]->expiry()));
        queue.remove(entries_[which].get());
        entries_[which] = std::move(entries_.back());
        entries_.pop_back();
    }
    void replace(std::size_t which, time_ms at, bool in_place) {
        times_.erase(times_.find(entries_[which]->expiry()));
        times_.insert(at);
        if (in_place) {
            entries_[which]->set_expiry(at);
            queue.replace(entries_[which].get(), entries_[which].get());
        } else {
            auto fresh = ends_at(at);
            queue.replace(entries_[which].get(), fresh.get());
            entries_[which] = std::move(fresh);
        }
    }
    void expect_right() const {
        ASSERT_EQ(queue.size(), times_.size());
        ASSERT_EQ(queue.next(), times_.empty() ? never : *times_.begin());
        ASSERT_EQ(queue.first() == nullptr, times_.empty());
        if (queue.first() != nullptr) {
            ASSERT_EQ(queue.first()->expiry(), queue.next());
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
    void remove_first() {
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (entries_[i].get() == queue.first()) return remove(i);
        }
        FAIL() << "the first is none of those that were added";
    }

  private:
    std::vector<owned> entries_;
    std::multiset<time_ms> times_;
};

TEST(expiry_queue, nothing_in_it_never_ends) {
    const expiry_queue queue;
    EXPECT_EQ(queue.size(), 0U);
    EXPECT_EQ(queue.first(), nullptr);
    EXPECT_EQ(queue.next(), never);
}

TEST(expiry_queue, random_changes_keep_the_soonest_first) {
    const auto seed = std::random_device()();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    model all;
    // Few different times, so that many are the same; then many.
    for (const unsigned times : {5U, 1000000U}) {
        for (int i = 0; i < 5000; ++i) {
            const time_ms at = random() % times;
            const auto action = random() % 10;
            if (all.size() == 0 || action < 4) {
                all.add(at);
            } else if (action < 7) {
                all.remove(random() % all.size());
            } else {
                all.replace(random() % all.size(), at, action == 9);
            }
            ASSERT_NO_FATAL_FAILURE(all.expect_right());
        }
    }
    time_ms last = 0;
    while (all.size() > 0) {
        ASSERT_GE(all.queue.next(), last);
        last = all.queue.next();
        ASSERT_NO_FATAL_FAILURE(all.remove_first());
        ASSERT_NO_FATAL_FAILURE(all.expect_right());
    }
}

TEST(expiry_queue, clear_forgets_all) {
    model all;
    for (time_ms at = 1; at < 10; ++at)
        all.add(at);
    all.queue.clear();
    EXPECT_EQ(all.queue.size(), 0U);
    EXPECT_EQ(all.queue.next(), never);
}

}  // namespace
}  // namespace sluice::kvstore
