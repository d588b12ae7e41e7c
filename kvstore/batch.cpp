#include "kvstore/batch.hpp"

#include <algorithm>
#include <utility>

#include "kvstore/log_format.hpp"

namespace sluice::kvstore {

namespace {

// More than any change needs beside its key and value.
constexpr std::uint64_t change_room = 64;
// What the log takes for a record beside its payload. A reservation pays for it once.
constexpr std::uint64_t record_room = frame_header_bytes + mark_bytes;

}  // namespace

void batch::hold(const std::shared_ptr<project>& one) {
    if (held_.size() == 1 && held_[0] == one && !holds_all()) return;
    release();
    held_.push_back(one);
    one->mutex.lock();
}

void batch::hold_together(std::vector<std::shared_ptr<project>> several) {
    std::sort(several.begin(), several.end(),
              [](const auto& a, const auto& b) { return a->id() < b->id(); });
    several.erase(std::unique(several.begin(), several.end()), several.end());
    if (several == held_) return;
    release();
    held_ = std::move(several);
    for (auto& one : held_)
        one->mutex.lock();
}

void batch::hold_all() {
    if (holds_all()) return;
    release();
    registry_ = store_.hold_registry();
    held_ = store_.all_held();
    for (auto& one : held_)
        one->mutex.lock();
}

std::shared_ptr<project> batch::shared(project_id id) const noexcept {
    for (const auto& one : held_) {
        if (one->id() == id) return one;
    }
    return nullptr;
}

project* batch::held(project_id id) const noexcept {
    for (const auto& one : held_) {
        if (one->id() == id) return one.get();
    }
    return nullptr;
}

admission batch::make_room(std::uint64_t bytes) {
    bytes += change_room + record_room;  // it may become a record of its own
    if (room_ >= payload_.size() + bytes) return admission::granted;
    const auto more = std::max(least_room, payload_.size() + bytes - room_);
    const auto answer = store_.log().reserve(more);
    // Two reservations for one record: what the second one paid for the frame is room too.
    if (answer == admission::granted) room_ += more + (room_ == 0 ? 0 : record_room);
    return answer;
}

void batch::add(project& in, change& what) {
    what.project = in.id();
    append_change(payload_, what);
    if (std::find(changed_.begin(), changed_.end(), &in) == changed_.end()) {
        changed_.push_back(&in);
    }
}

void batch::commit(project& in, change what) {
    add(in, what);
    in.apply(what);
}

void batch::commit_put(project& in, change what, const project::place& at) {
    add(in, what);
    in.put(what, at);
}

void batch::commit_clear_all() {
    change what;
    what.kind = change_kind::clear_all;
    append_change(payload_, what);
    for (auto& one : held_) {
        if (one->state != project::residence::resident) continue;
        one->apply(what);
        changed_.push_back(one.get());
    }
    clears_all_ = true;
}

// The record's number is taken while its projects are still held: a project's records are
// numbered in the order of its changes.
void batch::flush() {
    if (!payload_.empty()) {
        // What is left is a reservation of its own, if it can pay for its frame.
        const auto left = room_ - payload_.size();
        const auto kept = left > record_room ? left - record_room : 0;
        const auto number = store_.log().append(payload_, kept == 0 ? room_ : payload_.size());
        room_ = kept;
        for (auto* const one : changed_) {
            one->changed_by(number, now);
            store_.account(*one);
        }
        if (clears_all_) store_.flush_absent(number);
        payload_.clear();
        if (payload_.capacity() > 4 * long_record) std::string().swap(payload_);
        changed_.clear();
        clears_all_ = false;
        waits_for_ = number;
        appended_ = true;
    }
    if (!store_.waits_for_disk()) return;
    // What was read here may hang on records of others that are not safe yet.
    for (const auto& one : held_)
        waits_for_ = std::max(waits_for_, one->last_change);
}

void batch::let_go() {
    for (auto& one : held_)
        one->mutex.unlock();
    held_.clear();
    if (registry_.owns_lock()) registry_.unlock();
    registry_.release();
}

log_number batch::finish() {
    release();
    if (room_ > 0) store_.log().give_back(std::exchange(room_, 0));
    if (hurries) hurry();
    const auto out = store_.waits_for_disk() ? waits_for_ : 0;
    waits_for_ = 0;
    return out <= store_.log().safe() ? 0 : out;
}

}  // namespace sluice::kvstore
