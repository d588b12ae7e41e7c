// What commands of one client do in one go: it holds the locks of their projects, applies their
// changes and, at the end, makes one record of all of them, so that a batch is never torn.
// A worker has one and uses it for its clients, one after the other; nothing is held in between.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kvstore/store.hpp"

namespace sluice::kvstore {

class batch {
  public:
    explicit batch(store& of) noexcept : store_(of) {}
    ~batch() { finish(); }
    batch(const batch&) = delete;
    batch& operator=(const batch&) = delete;

    time_ms now = 0;      // of the commands that come next
    bool hurries = true;  // finish() calls hurry(); otherwise the owner does

    // Locks these, in addition to nothing: what was held and is not among them is finished first.
    // `ids` in any order. A span of one that is held already costs a comparison.
    void hold(const std::shared_ptr<project>& one);
    void hold_together(std::vector<std::shared_ptr<project>> several);
    void hold_all();  // every project that there is, until the next hold() or finish()
    [[nodiscard]] bool holds_all() const noexcept { return registry_.owns_lock(); }
    // Of those that are held; null for another.
    [[nodiscard]] project* held(project_id id) const noexcept;
    [[nodiscard]] std::shared_ptr<project> shared(project_id id) const noexcept;
    [[nodiscard]] const std::vector<std::shared_ptr<project>>& held() const noexcept {
        return held_;
    }

    // Room in the log for changes of up to that many bytes, before anything is changed. It stays
    // while other projects are held, until it is used or finish().
    [[nodiscard]] admission make_room(std::uint64_t bytes);
    // Needs room made before.
    void commit(project& in, change what);
    // A put whose key was looked up already.
    void commit_put(project& in, change what, const project::place& at);
    // With hold_all(): empties also what is not in memory.
    void commit_clear_all();

    // Ends the record and lets go of the locks, in the middle of a client's turn.
    void release() {
        flush();
        let_go();
    }
    // At its end: the reply to what was done, and to what was read,
    // may go out when log().safe() has reached the result (0: at once).
    log_number finish();
    // Wakes the log's writer if there are new records for it: once for many clients' batches.
    void hurry() {
        if (std::exchange(appended_, false)) store_.log().hurry();
    }
    // Ends the record when it has become long; between commands.
    void breathe() {
        if (payload_.size() > long_record) flush();
    }

  private:
    static constexpr std::size_t long_record = std::size_t{1} << 20;
    static constexpr std::uint64_t least_room = 4096;

    void add(project& in, change& what);
    void flush();
    void let_go();

    store& store_;
    std::vector<std::shared_ptr<project>> held_;
    std::vector<project*> changed_;
    std::unique_lock<std::mutex> registry_;
    std::string payload_;
    std::uint64_t room_ = 0;  // bytes of payload that the log has promised
    log_number waits_for_ = 0;
    bool clears_all_ = false;
    bool appended_ = false;  // since the last hurry()
};

}  // namespace sluice::kvstore
