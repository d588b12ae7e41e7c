// The deadlines of one worker's sessions and connections, checked by one coarse tick instead of a
// timer each. Moving a deadline to later costs a store: the entry stays where it is in the order
// and is looked at again when its old time comes. Worker-confined.
#pragma once

#include <boost/intrusive/set.hpp>
#include <chrono>

namespace sluice::net {

using clock_time = std::chrono::steady_clock::time_point;

class deadline : public boost::intrusive::set_base_hook<
                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  public:
    static constexpr clock_time never = clock_time::max();

    explicit deadline(void (*passed)(deadline&)) noexcept : passed_(passed) {}
    deadline(const deadline&) = delete;
    deadline& operator=(const deadline&) = delete;

    [[nodiscard]] clock_time due() const noexcept { return due_; }
    bool operator<(const deadline& other) const noexcept { return listed_ < other.listed_; }

  private:
    friend class deadline_list;
    void (*passed_)(deadline&);
    clock_time due_ = never;
    clock_time listed_ = never;
};

class deadline_list {
  public:
    ~deadline_list() { entries_.clear(); }

    void set(deadline& entry, clock_time due) {
        entry.due_ = due;
        if (entry.is_linked() && entry.listed_ <= due) return;  // found late is found in time
        if (due == deadline::never) return;
        entry.unlink();
        entry.listed_ = due;
        entries_.insert(entry);
    }
    static void cancel(deadline& entry) noexcept {
        entry.due_ = deadline::never;
        entry.unlink();
    }

    // Calls back every entry that is due; a callback may change or destroy any entry.
    void tick(clock_time now) {
        while (!entries_.empty()) {
            auto& first = *entries_.begin();
            if (first.listed_ > now) return;
            first.unlink();
            if (first.due_ == deadline::never) continue;
            if (first.due_ > now) {
                first.listed_ = first.due_;
                entries_.insert(first);
                continue;
            }
            first.due_ = deadline::never;
            first.passed_(first);
        }
    }

  private:
    boost::intrusive::multiset<deadline, boost::intrusive::constant_time_size<false>> entries_;
};

}  // namespace sluice::net
