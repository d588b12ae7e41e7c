// What any thread may call, and the opening. The writer thread's part is write_log_writer.cpp.
#include "kvstore/write_log.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <random>
#include <utility>

#include "kvstore/log_format.hpp"
#include "kvstore/write_log_limits.hpp"

namespace sluice::kvstore {

namespace {

// What a record takes at most: it may be the only one behind its mark.
constexpr std::uint64_t cost_of(std::uint64_t payload_bytes) noexcept {
    return payload_bytes + frame_header_bytes + mark_bytes;
}

std::uint64_t random_salt() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
}

}  // namespace

write_log::write_log(file_env& files, std::string directory, config::fsync_policy policy,
                     std::uint64_t segment_bytes)
    : files_(files),
      directory_(std::move(directory)),
      segment_bytes_(segment_bytes),
      policy_(policy),
      ahead_(log_limits::least_ahead),
      retry_after_(log_limits::first_retry) {}

write_log::~write_log() = default;

std::string write_log::path_of(const std::string& name) const {
    return directory_ + "/" + name;
}

std::error_code write_log::open(log_number next, log_number held) {
    assert(!open_ && next > 0 && held < next);
    if (next == 0 || held >= next) return std::make_error_code(std::errc::invalid_argument);
    if (const auto error = files_.make_directory(directory_)) return error;
    if (const auto error = take_over(next)) return error;
    salt_ = random_salt();
    start_ = next;
    start_after_ = held;
    last_ = safe_ = synced_ = next - 1;
    written_ = next - 1;
    bool in_place = false;
    if (const auto error = make_segment(in_place)) {
        // Reading must go on with a full disk; everything else needs somebody to look at it.
        if (!log_limits::is_full(error)) return error;
        fail("making a segment of the log", error);
        refuse();
    } else {
        refusing_ = false;
    }
    open_ = true;
    return {};
}

// What an earlier run left. It may be in the kernel only: a later power failure must not tear a
// hole before records that this run makes safe.
std::error_code write_log::take_over(log_number next) {
    std::vector<std::string> names;
    if (const auto error = files_.list(directory_, names)) return error;
    std::sort(names.begin(), names.end());
    std::string last;
    const std::lock_guard guard(segments_mutex_);
    segments_.clear();
    for (const auto& name : names) {
        log_number first = 0;
        if (name.ends_with(".new") && parse_segment_name(name.substr(0, 24), first)) {
            (void)files_.remove(path_of(name));  // if it stays, it does no harm
        }
        if (!parse_segment_name(name, first)) continue;
        if (first > next) return std::make_error_code(std::errc::invalid_argument);
        if (first == next) continue;  // holds nothing that counts, and is replaced
        last = name;
        file_status status;
        if (const auto error = files_.status(path_of(name), status)) return error;
        std::unique_ptr<open_file> file;
        if (const auto error = files_.open(path_of(name), file_env::create::append, file)) {
            return error;
        }
        if (const auto error = file->sync()) return error;
        segments_.push_back({first, status.size});
    }
    if (const auto error = files_.sync_directory(directory_)) return error;
    if (!last.empty()) write_anew(last);
    return {};
}

// A sync of the last segment may have failed in the earlier run. The kernel then still shows what
// the disk never got, and a sync of that file claims success: only another file is to be trusted.
// If this one cannot be made, the old one is as good as it was.
void write_log::write_anew(const std::string& name) {
    const auto path = path_of(name);
    const auto draft = path + ".again.new";
    std::string text;
    std::size_t written = 0;
    std::unique_ptr<open_file> file;
    (void)files_.remove(draft);
    auto error = files_.read(path, text);
    if (!error) error = files_.open(draft, file_env::create::fresh, file);
    if (!error) error = file->append(text, written);
    if (!error) error = file->sync();
    file.reset();
    if (!error) error = files_.rename(draft, path);
    if (!error) error = files_.sync_directory(directory_);
    if (error) (void)files_.remove(draft);
}

admission write_log::reserve(std::uint64_t bytes) {
    if (refusing_.load(std::memory_order_acquire) || bytes > most_payload_bytes) {
        return admission::refused;
    }
    const auto cost = cost_of(bytes);
    if (unwritten_.load(std::memory_order_relaxed) >= unwritten_limit) return reserve_slowly(cost);
    const auto wants = static_cast<std::int64_t>(cost);
    if (room_.fetch_sub(wants, std::memory_order_acq_rel) >= wants) return admission::granted;
    room_.fetch_add(wants, std::memory_order_acq_rel);
    return reserve_slowly(cost);
}

admission write_log::reserve_slowly(std::uint64_t cost) {
    const std::lock_guard guard(mutex_);
    if (!open_ || refusing_.load(std::memory_order_acquire)) return admission::refused;
    const auto unfit = unfit_.load(std::memory_order_acquire);
    if (unfit != 0 && cost >= unfit) return admission::refused;
    if (unwritten_.load(std::memory_order_relaxed) < unwritten_limit) {
        wanted_ = std::max(wanted_, cost);
    }
    // The writer looks at this after every step; the waking makes sure that there is one.
    someone_is_busy_ = true;
    woken_ = true;
    wake_.notify_one();
    return admission::busy;
}

void write_log::give_back(std::uint64_t bytes) {
    room_.fetch_add(static_cast<std::int64_t>(cost_of(bytes)), std::memory_order_acq_rel);
}

// Where a small record goes; with the lock held.
write_log::chunk& write_log::chunk_for(std::size_t bytes) {
    if (!pending_.empty() && pending_.back().bytes.size() + bytes <= log_limits::chunk_bytes) {
        return pending_.back();
    }
    auto& made = pending_.emplace_back();
    if (spare_.empty()) {
        made.bytes.reserve(log_limits::chunk_bytes);
    } else {
        made.bytes = std::move(spare_.back());
        spare_.pop_back();
    }
    made.bytes.assign(mark_bytes, '\0');
    return made;
}

log_number write_log::append(std::string_view payload, std::uint64_t reserved) {
    const auto hash = payload_hash(payload);
    const auto cost = cost_of(payload.size());
    assert(payload.size() <= reserved);
    room_.fetch_add(static_cast<std::int64_t>(reserved) - static_cast<std::int64_t>(payload.size()),
                    std::memory_order_acq_rel);
    std::array<char, frame_header_bytes> header;
    const bool small = payload.size() < log_limits::own_chunk_bytes;
    chunk own;
    if (!small) {
        own.bytes.reserve(mark_bytes + header.size() + payload.size());
        own.bytes.assign(mark_bytes + header.size(), '\0');
        own.bytes.append(payload);
        own.charged = cost;
    }
    bool wakes = false;
    log_number number = 0;
    {
        const std::lock_guard guard(mutex_);
        number = last_.load(std::memory_order_relaxed) + 1;
        write_frame_header(header.data(), salt_, number, payload.size(), hash);
        if (small) {
            auto& to = chunk_for(header.size() + payload.size());
            to.bytes.append(header.data(), header.size());
            to.bytes.append(payload);
            to.charged += cost;
            to.last = number;
        } else {
            std::copy(header.begin(), header.end(), own.bytes.begin() + mark_bytes);
            own.last = number;
            pending_.push_back(std::move(own));
        }
        last_.store(number, std::memory_order_release);
        unwritten_.store(unwritten_.load(std::memory_order_relaxed) + cost,
                         std::memory_order_relaxed);
        wakes = sleeping_ && !woken_ && pending_.size() >= log_limits::many_chunks;
        if (wakes) woken_ = true;
    }
    if (wakes) wake_.notify_one();
    return number;
}

void write_log::hurry() {
    {
        const std::lock_guard guard(mutex_);
        if (!sleeping_ || woken_ || wake_on_ == wake_on::pressure || pending_.empty()) return;
        woken_ = true;
    }
    wake_.notify_one();
}

std::string write_log::why() const {
    const std::lock_guard guard(mutex_);
    return why_;
}

void write_log::sync_up_to(log_number n) {
    auto asked = sync_asked_.load(std::memory_order_relaxed);
    while (asked < n && !sync_asked_.compare_exchange_weak(asked, n, std::memory_order_acq_rel)) {
    }
    if (synced() < n) stop_waiting();
}

void write_log::set_policy(config::fsync_policy policy) {
    policy_.store(policy, std::memory_order_release);
    stop_waiting();
}

void write_log::wait(monotonic until) {
    std::unique_lock lock(mutex_);
    if (!woken_ && (wake_on_ != wake_on::any_append || pending_.empty())) {
        sleeping_ = true;
        wake_.wait_until(lock, until, [this] { return woken_; });
        sleeping_ = false;
    }
    woken_ = false;
}

void write_log::stop_waiting() {
    {
        const std::lock_guard guard(mutex_);
        woken_ = true;
    }
    wake_.notify_all();
}

// The directory is synced after each: if a later removal were on the disk and an earlier were not,
// the log would have a gap.
std::error_code write_log::release_before(log_number n) {
    for (;;) {
        log_number oldest = 0;
        {
            const std::lock_guard guard(segments_mutex_);
            if (segments_.size() < 2 || segments_[1].first > n) return {};
            oldest = segments_.front().first;
        }
        const auto error = files_.remove(path_of(segment_name(oldest)));
        if (error && error != std::errc::no_such_file_or_directory) return error;
        if (const auto unsafe = files_.sync_directory(directory_)) return unsafe;
        const std::lock_guard guard(segments_mutex_);
        segments_.erase(segments_.begin());
    }
}

void write_log::count_segment(log_number first, std::uint64_t bytes) {
    const std::lock_guard guard(segments_mutex_);
    if (segments_.empty() || segments_.back().first != first) {
        segments_.push_back({first, bytes});
    } else {
        segments_.back().bytes = bytes;
    }
}

log_stats write_log::stats() const {
    log_stats result;
    result.bytes_written = bytes_written_.load(std::memory_order_relaxed);
    result.fsyncs = fsyncs_.load(std::memory_order_relaxed);
    result.write_errors = write_errors_.load(std::memory_order_relaxed);
    result.unwritten_bytes = unwritten_.load(std::memory_order_relaxed);
    const std::lock_guard guard(segments_mutex_);
    result.segments = segments_.size();
    for (const auto& one : segments_)
        result.bytes_on_disk += one.bytes;
    return result;
}

}  // namespace sluice::kvstore
