// The writer thread's part of write_log: batches, syncs, segments, and what follows a failure.
//
//     pending_ -> writing_ -> unsynced_ -> forgotten
//          taken      written      synced; or all written again into another segment
#include <algorithm>
#include <utility>

#include "kvstore/log_format.hpp"
#include "kvstore/write_log.hpp"
#include "kvstore/write_log_limits.hpp"

namespace sluice::kvstore {

using config::fsync_policy;
using namespace log_limits;

monotonic write_log::step(monotonic now) {
    now_ = now;
    if (!open_) return now + longest_sleep;
    take_pending(policy_.load(std::memory_order_acquire) == fsync_policy::always ||
                 sync_is_asked());
    // A failure's first remedy is tried at once, and if it works, writing goes on.
    for (int round = 0; round < 2; ++round) {
        if (failed_) replace_failed();
        if (failed_) break;
        write_what_is_due();
        if (!failed_) break;
    }
    make_room();
    publish();
    trim();
    if (std::exchange(progressed_, false) && on_progress) on_progress();
    return next_due();
}

std::error_code write_log::close() {
    {
        const std::lock_guard guard(mutex_);
        if (!open_) return {};
        open_ = false;
    }
    refusing_ = true;
    take_pending(true);
    for (int round = 0; round < 2; ++round) {
        if (failed_) {
            retry_at_ = now_;
            replace_failed();
        }
        if (failed_) continue;
        write_what_is_due();
        if (!failed_ && file_->truncate(file_bytes_)) ++write_errors_;  // the blocks kept ready
        if (!failed_ && sync_file()) break;
    }
    refusing_ = true;
    file_.reset();
    publish();
    if (std::exchange(progressed_, false) && on_progress) on_progress();
    return failed_ ? error_ : std::error_code{};
}

void write_log::take_pending(bool all) {
    const std::lock_guard guard(mutex_);
    if (pending_.empty()) {
        if (now_ >= collect_until_) collecting_ = false;
        return;
    }
    if (!all && pending_.size() < many_chunks) {
        if (!std::exchange(collecting_, true)) collect_until_ = now_ + collect_for;
        if (now_ < collect_until_) return;
    }
    // Where records came, more will: while it collects nobody has to wake it.
    collecting_ = !all;
    collect_until_ = now_ + collect_for;
    if (writing_.empty()) {
        writing_.swap(pending_);
        return;
    }
    for (auto& one : pending_)
        writing_.push_back(std::move(one));
    pending_.clear();
}

bool write_log::sync_is_due() const {
    if (unsynced_.empty()) return false;
    if (unsynced_bytes_ >= most_unsynced) return true;
    if (sync_is_asked()) return writing_.empty();
    switch (policy_.load(std::memory_order_acquire)) {
        case fsync_policy::always:
            return writing_.empty();
        case fsync_policy::everysec:
            return now_ >= sync_at_;
        case fsync_policy::never:
            return false;
    }
    return true;
}

void write_log::write_what_is_due() {
    while (!writing_.empty()) {
        if (file_bytes_ >= segment_bytes_ && now_ >= change_retry_at_) change_segment();
        if (failed_ || !write_chunk()) return;
        if (sync_is_due() && !sync_file()) return;
    }
    if (sync_is_due()) (void)sync_file();
}

bool write_log::write_chunk() {
    auto& batch = writing_.front();
    write_mark(batch.bytes.data(), salt_, synced_.load(std::memory_order_relaxed));
    std::size_t moved = 0;
    const auto error = file_->append(batch.bytes, moved);
    if (error || moved != batch.bytes.size()) {
        fail("writing the log", error ? error : std::make_error_code(std::errc::io_error));
        return false;
    }
    const std::uint64_t bytes = batch.bytes.size();
    file_bytes_ += bytes;
    bytes_written_ += bytes;
    used_at_ = now_;
    if (allocates_) allocated_ -= std::min(allocated_, bytes);
    // Records behind one mark paid for a mark each.
    room_.fetch_add(static_cast<std::int64_t>(batch.charged - (allocates_ ? bytes : 0)),
                    std::memory_order_acq_rel);
    {
        const std::lock_guard guard(mutex_);
        unwritten_.store(unwritten_.load(std::memory_order_relaxed) - batch.charged,
                         std::memory_order_relaxed);
    }
    if (unsynced_.empty()) sync_at_ = now_ + sync_each;
    written_ = batch.last;
    unsynced_bytes_ += bytes;
    unsynced_.push_back(std::move(batch));
    writing_.pop_front();
    {
        const std::lock_guard guard(segments_mutex_);
        segments_.back().bytes = file_bytes_;
    }
    return true;
}

std::error_code write_log::sync_timed(open_file& file) {
    const auto before = clock != nullptr ? clock() : monotonic{};
    const auto error = file.sync();
    ++fsyncs_;
    if (clock != nullptr) fsync_seconds_.record(clock() - before);
    return error;
}

bool write_log::sync_file() {
    if (unsynced_.empty()) return true;
    if (const auto error = sync_timed(*file_)) {
        fail("syncing the log", error);
        return false;
    }
    settle_synced();
    return true;
}

void write_log::settle_synced() {
    if (unsynced_.empty()) return;
    synced_.store(unsynced_.back().last, std::memory_order_release);
    {
        const std::lock_guard guard(mutex_);
        for (auto& one : unsynced_) {
            if (spare_.size() < most_spare && one.bytes.capacity() < 2 * chunk_bytes) {
                spare_.push_back(std::move(one.bytes));
            }
        }
    }
    unsynced_.clear();
    unsynced_bytes_ = 0;
}

// A file that failed is closed; the records in it that are not synced stay in unsynced_.
void write_log::fail(const char* doing, std::error_code error) {
    ++write_errors_;
    failed_ = true;
    file_.reset();
    doing_ = doing;
    error_ = error;
    // Not one file after the other where making them works and writing to them does not.
    retry_at_ = std::max(now_, replaced_at_ == monotonic{} ? now_ : replaced_at_ + first_retry);
}

void write_log::refuse() {
    const std::lock_guard guard(mutex_);
    why_ = std::string(doing_) + ": " + error_.message();
    if (!refusing_.exchange(true)) progressed_ = true;
}

void write_log::accept_again() {
    if (open_ && refusing_.exchange(false)) progressed_ = true;
}

// The old segment is synced to its end before there is a next one, so that only the last segment
// of a log can have an unsafe tail.
void write_log::change_segment() {
    if (!sync_file()) return;
    auto old = std::move(file_);
    const auto old_bytes = file_bytes_;
    bool in_place = false;
    const auto error = make_segment(in_place);
    if (!error) {
        if (old->truncate(old_bytes)) ++write_errors_;  // the blocks that it kept ready
        return;
    }
    if (in_place) {
        // It may be there after a crash, and would make void what the old one gets from now on.
        fail("making a segment of the log", error);
        return;
    }
    ++write_errors_;
    file_ = std::move(old);  // it grows longer
    file_bytes_ = old_bytes;
    change_retry_at_ = now_ + change_retry;
}

void write_log::replace_failed() {
    if (now_ < retry_at_) return;
    bool in_place = false;
    if (const auto error = make_segment(in_place)) {
        ++write_errors_;
        doing_ = "making a segment of the log";
        error_ = error;
        retry_at_ = now_ + retry_after_;
        retry_after_ = std::min<std::chrono::milliseconds>(retry_after_ * 2, last_retry);
        refuse();
        return;
    }
    failed_ = false;
    retry_after_ = first_retry;
    replaced_at_ = now_;
    settle_synced();
    full_ = false;
    accept_again();
}

// Makes the segment that begins behind the last synced record and holds all unsynced ones, and
// makes it file_. `in_place`: it has, or may have, its name although there is an error.
std::error_code write_log::make_segment(bool& in_place) {
    in_place = false;
    const auto first = synced_.load(std::memory_order_relaxed) + 1;
    const auto path = path_of(segment_name(first));
    const auto temporary = path + "." + std::to_string(++attempts_) + ".new";
    std::unique_ptr<open_file> file;
    auto error = files_.open(temporary, file_env::create::fresh, file);
    if (error == std::errc::file_exists) (void)files_.remove(temporary);  // for a later attempt
    if (error) return error;
    std::uint64_t bytes = 0;
    error = fill_segment(*file, bytes);
    if (!error) error = sync_timed(*file);
    if (error) {
        file.reset();
        (void)files_.remove(temporary);
        return error;
    }
    in_place = true;
    error = files_.rename(temporary, path);
    if (error) (void)files_.remove(temporary);
    if (!error) error = files_.sync_directory(directory_);
    if (error) return error;
    // Only now are the blocks that were allocated for this file what room_ speaks of.
    if (allocates_) {
        room_.fetch_add(static_cast<std::int64_t>(new_ahead_), std::memory_order_acq_rel);
        allocated_ += new_ahead_;
    }
    file_ = std::move(file);
    file_bytes_ = bytes;
    bytes_written_ += bytes;
    used_at_ = now_;
    if (!unsynced_.empty()) written_ = unsynced_.back().last;
    count_segment(first, bytes);
    return {};
}

std::error_code write_log::fill_segment(open_file& file, std::uint64_t& bytes) {
    const auto synced = synced_.load(std::memory_order_relaxed);
    std::string header;
    append_segment_header(header,
                          {synced + 1, synced + 1 == start_ ? start_after_ : synced, salt_});
    std::uint64_t needed = header.size();
    for (const auto& one : unsynced_)
        needed += one.bytes.size();
    if (const auto error = allocate_all(file, needed + allocated_)) return error;
    std::size_t moved = 0;
    if (const auto error = file.append(header, moved)) return error;
    for (auto& one : unsynced_) {
        write_mark(one.bytes.data(), salt_, synced);
        if (const auto error = file.append(one.bytes, moved)) return error;
    }
    bytes = needed;
    return {};
}

// `bytes`, and as much ahead as there is.
std::error_code write_log::allocate_all(open_file& file, std::uint64_t bytes) {
    new_ahead_ = 0;
    if (!allocates_) return {};
    const auto room = static_cast<std::uint64_t>(std::max<std::int64_t>(room_.load(), 0));
    const auto ahead = ahead_ - std::min(ahead_, room);
    auto error = file.reserve(0, bytes + ahead);
    if (!error) {
        new_ahead_ = ahead;
    } else if (error != std::errc::not_supported && ahead != 0) {
        error = file.reserve(0, bytes);
    }
    if (error == std::errc::not_supported) {
        stop_allocating();
        return {};
    }
    return error;
}

void write_log::stop_allocating() {
    allocates_ = false;
    allocated_ = 0;
    room_.fetch_add(endless_room, std::memory_order_acq_rel);
}

bool write_log::grow(std::uint64_t bytes) {
    bytes = (bytes + block - 1) / block * block;
    const auto error = file_->reserve(allocated_, bytes);
    if (error == std::errc::not_supported) {
        stop_allocating();
        return true;
    }
    if (error) {
        if (!full_) ++write_errors_;
        doing_ = "reserving space for the log";
        error_ = error;
        return false;
    }
    allocated_ += bytes;
    room_.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_acq_rel);
    return true;
}

// Keeps blocks ready beyond what is promised. Where that fails, what is left is given out down to
// least_room; then everything is refused until there are blocks again.
void write_log::make_room() {
    if (failed_ || !allocates_) return;
    std::uint64_t wanted = 0;
    {
        const std::lock_guard guard(mutex_);
        wanted = std::exchange(wanted_, 0);
    }
    if (now_ >= room_retry_at_) unfit_ = 0;
    if (wanted != 0) ahead_ = std::min(ahead_ * 2, most_ahead);
    const bool waits = full_ && now_ < room_retry_at_;
    const auto room = [this] {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(room_.load(), 0));
    };
    const auto grow_for = [&] { return grow(wanted - room() + ahead_) || grow(wanted - room()); };
    if (wanted > room() && (waits || !grow_for())) {
        const std::lock_guard guard(mutex_);
        const auto unfit = unfit_.load();
        unfit_ = unfit == 0 ? wanted : std::min(unfit, wanted);
        why_ = std::string(doing_) + ": " + error_.message();
        if (!waits) room_retry_at_ = now_ + first_retry;
    }
    if (!waits) {
        full_ = allocates_ && room() < ahead_ / 2 && !grow(ahead_ - room());
        if (full_) room_retry_at_ = now_ + first_retry;
    }
    if (!full_) {
        accept_again();
    } else if (room_.load() < least_room) {
        refuse();
    }
}

void write_log::publish() {
    const bool always = policy_.load(std::memory_order_acquire) == fsync_policy::always;
    const auto safe = always ? synced_.load(std::memory_order_relaxed)
                             : std::max(written_, synced_.load(std::memory_order_relaxed));
    if (safe > safe_.load(std::memory_order_relaxed)) {
        safe_.store(safe, std::memory_order_release);
        progressed_ = progressed_ || always;
    }
    broken_.store(failed_, std::memory_order_release);
    if (failed_ && !refusing_) refuse();
    if (failing_.exchange(failed_) != failed_) progressed_ = true;
    const std::lock_guard guard(mutex_);
    if (someone_is_busy_ && wanted_ == 0 && unwritten_.load() < unwritten_limit / 2) {
        someone_is_busy_ = false;
        progressed_ = true;
    }
}

// The memory of a burst goes back when nothing was written for a while.
void write_log::trim() {
    if (now_ < used_at_ + trim_after) return;
    std::vector<std::string> unused;
    const std::lock_guard guard(mutex_);
    if (pending_.empty()) unused.swap(spare_);
}

monotonic write_log::next_due() {
    const std::lock_guard guard(mutex_);
    auto due = now_ + longest_sleep;
    wake_on_ = wake_on::any_append;
    if (failed_) {
        wake_on_ = wake_on::pressure;
        return std::min(due, retry_at_);
    }
    if (!pending_.empty() && !collecting_) return now_;
    if (collecting_) {
        wake_on_ = wake_on::pressure;
        due = std::min(due, collect_until_);
    }
    const auto policy = policy_.load(std::memory_order_acquire);
    if (!unsynced_.empty() && policy == fsync_policy::everysec) due = std::min(due, sync_at_);
    if (full_ || unfit_ != 0) due = std::min(due, room_retry_at_);
    // While records are collected there is nothing to trim, and waiting for that would be no wait.
    if (!spare_.empty() && pending_.empty()) due = std::min(due, used_at_ + trim_after);
    return due;
}

}  // namespace sluice::kvstore
