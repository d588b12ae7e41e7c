#include "kvstore/store.hpp"

#include <algorithm>
#include <limits>

#include "kvstore/batch.hpp"
#include "kvstore/log_format.hpp"
#include "kvstore/recovery.hpp"
#include "kvstore/restore.hpp"

namespace sluice::kvstore {

namespace {

constexpr std::size_t expired_at_once = 256;

}  // namespace

store::store(file_env& files, const config::kv_settings& settings, notice say,
             std::uint64_t segment_bytes)
    : files_(files),
      directory_(settings.directory),
      say_(std::move(say)),
      log_(files, settings.directory + "/log", settings.fsync, segment_bytes) {
    configure(settings);
}

store::~store() = default;

std::shared_ptr<const config::kv_settings> store::settings() const {
    const std::lock_guard lock(settings_mutex_);
    return settings_;
}

void store::configure(const config::kv_settings& settings) {
    auto fresh = std::make_shared<const config::kv_settings>(settings);
    {
        const std::lock_guard lock(settings_mutex_);
        settings_ = std::move(fresh);
    }
    fsync_.store(settings.fsync);
    max_memory_.store(settings.max_memory);
    log_.set_policy(settings.fsync);
}

void store::open(time_ms now) {
    opened_ms_ = now;
    if (const auto error = files_.make_directory(directory_)) {
        throw cannot_open("the store's directory " + directory_ + " cannot be made: " +
                          error.message() + ". Set kv.directory to one that can");
    }
    std::string holder;
    if (const auto error = files_.lock(directory_ + "/lock", lock_, holder)) {
        if (error == std::errc::device_or_resource_busy) {
            throw cannot_open("the store's directory " + directory_ +
                              " is in use by another sluice" +
                              (holder.empty() ? "" : " (process " + holder + ")") +
                              ": stop it, or set another kv.directory");
        }
        throw cannot_open("the store's lock " + directory_ +
                          "/lock cannot be taken: " + error.message());
    }
    file_status restoring;
    if (const auto error = files_.status(unfinished_restore(directory_), restoring);
        error || restoring.exists) {
        throw cannot_open("restoring a backup into " + directory_ +
                          " was not finished: run sluice kv restore again, with --force");
    }
    replay(now);
}

// Projects are loaded as the log comes to them; records that their files cover are passed over.
void store::replay(time_ms now) {
    const auto apply = [&](log_number number, const change& what) {
        if (what.kind == change_kind::clear_all) {
            flushed_.store(number);
            flush_is_pending_ = true;
            for (auto& [id, one] : registry_) {
                if (one->state != project::residence::resident || number <= one->covered) continue;
                one->apply(what);
                one->changed_by(number, now);
            }
            return;
        }
        const auto one = find(what.project);
        if (one->state == project::residence::absent)
            (void)install(*one, read_file(one->id()), now);
        if (number <= one->covered) return;
        if (one->state == project::residence::resident) one->apply(what);
        one->changed_by(number, one->updated_ms == 0 ? now : one->updated_ms);
    };
    const auto outcome =
        read_log(files_, directory_ + "/log", [&](log_number number, std::string_view payload) {
            change_reader changes(payload);
            change what;
            while (changes.next(what))
                apply(number, what);
            return changes.ok();
        });
    if (!outcome.ok()) throw cannot_open(outcome.problem);
    for (const auto& dropped : outcome.notices)
        say_("warning", dropped.what);
    held_at_start_ = outcome.held;
    const auto next = log_start_ = above_all_files(outcome.next);
    if (const auto error = log_.open(next, held_at_start_)) {
        throw cannot_open("the write-ahead log in " + directory_ +
                          "/log cannot be begun: " + error.message());
    }
    for (auto& [id, one] : registry_) {
        account(*one);
    }
    if (outcome.records > 0) {
        say_("info", "the log was read: " + std::to_string(outcome.records) + " records, " +
                         std::to_string(outcome.bytes) + " bytes");
    }
}

// A file may be ahead of the log, if that was cut by hand or lost, or if the file is from
// elsewhere: it would hide new records with lower numbers.
log_number store::above_all_files(log_number next) {
    const auto most = std::numeric_limits<log_number>::max() / 2;
    for (const auto& [id, one] : registry_) {
        if (one->covered < most) next = std::max(next, one->covered + 1);
    }
    std::vector<std::string> names;
    if (next != 1 || files_.list(directory_, names)) return next;
    for (const auto& name : names) {  // there is no log: every file counts
        const auto covered = covers(name);
        if (covered < most) next = std::max(next, covered + 1);
    }
    return next;
}

std::shared_ptr<project> store::find(project_id id) {
    const std::lock_guard lock(registry_mutex_);
    auto& place = registry_[id];
    if (place == nullptr) place = std::make_shared<project>(id);
    return place;
}

std::vector<std::shared_ptr<project>> store::all() {
    const std::lock_guard lock(registry_mutex_);
    return all_held();
}

std::vector<std::shared_ptr<project>> store::all_held() {
    std::vector<std::shared_ptr<project>> out;
    out.reserve(registry_.size());
    for (const auto& [id, one] : registry_)
        out.push_back(one);
    return out;
}

// Called with the registry held.
void store::flush_absent(log_number number) noexcept {
    flushed_.store(number);
    last_flush_.store(number);
    flush_is_pending_ = true;
}

void store::account(project& of) noexcept {
    const auto now = of.state == project::residence::resident ? of.memory() : 0;
    memory_.fetch_add(now - of.accounted, std::memory_order_relaxed);
    of.accounted = now;
    of.next_expiry.store(of.expiries().next(), std::memory_order_relaxed);
}

void store::expire(time_ms now) {
    if (log_.refusing()) return;  // their end could not be written down; nobody sees them anyway
    batch changes(*this);
    changes.now = now;
    for (const auto& one : all()) {
        while (one->next_expiry.load(std::memory_order_relaxed) <= now) {
            changes.hold(one);
            if (one->state == project::residence::absent) {
                one->state = project::residence::loading;
                changes.release();
                load(*one, now);
                changes.hold(one);
            }
            if (one->state != project::residence::resident) break;
            std::size_t taken = 0;
            while (one->expiries().next() <= now && taken < expired_at_once) {
                const std::string key(one->expiries().first()->key());
                if (changes.make_room(key.size() + 32) != admission::granted) break;
                change what;
                what.kind = change_kind::erase;
                what.key = key;
                changes.commit(*one, what);
                ++taken;
            }
            changes.release();
            counts.expired_keys.fetch_add(taken, std::memory_order_relaxed);
            if (taken == 0) break;
        }
    }
}

store::totals store::count() {
    totals out;
    const auto warning = settings()->project_size_warning;
    for (const auto& one : all()) {
        const std::lock_guard lock(one->mutex);
        ++out.projects;
        if (one->state == project::residence::refused) ++out.refused;
        if (one->state != project::residence::resident) continue;
        ++out.resident;
        out.keys += one->keys();
        out.bytes += one->bytes();
        if (warning != 0 && one->bytes() > warning) ++out.big;
        if (one->keys() == 0) continue;
        out.spaces.push_back({one->id(), one->keys(), one->expiring(), one->bytes()});
    }
    return out;
}

bool store::close(time_ms now) {
    // First the log, since a file may not be ahead of it. If that fails, the files are what is
    // left.
    const auto last = log_.last();
    auto failed = log_.close();
    is_closing_ = true;
    if (clock != nullptr) close_by_ = clock() + most_closing;
    const auto error = save_all(now, [] {});
    if (!error.empty() || failed) {
        say_("error",
             "not everything could be saved: " + (error.empty() ? failed.message() : error) +
                 "; the log keeps it for the next start");
        return false;
    }
    // Records of projects that are refused wait for a good file.
    if (first_needed() <= last) {
        lock_.reset();
        return true;
    }
    // What is left of the log is empty: a file that somebody puts in a project's place while
    // nothing runs is then taken as it is, and no old record is applied to it.
    write_log empty(files_, directory_ + "/log", config::fsync_policy::always);
    const bool is_unused = last < log_start_;
    failed = empty.open(last + 1, is_unused ? held_at_start_ : last);
    if (!failed) failed = empty.release_before(last + 1);
    if (!failed) failed = empty.close();
    lock_.reset();
    return !failed;
}

bool store::release() {
    const auto failed = log_.close();
    if (failed) say_("error", "the log could not be synced: " + failed.message());
    lock_.reset();
    return !failed;
}

}  // namespace sluice::kvstore
