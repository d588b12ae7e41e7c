// A project that was refused because of its file, and whose file somebody has put right: how it
// comes back while others are served. Records of earlier runs that its file lacks are still in the
// log, which keeps them for it; this run has written none for it.
#include "kvstore/log_format.hpp"
#include "kvstore/recovery.hpp"
#include "kvstore/store.hpp"

namespace sluice::kvstore {

namespace {

// A file that was written to more recently may not be whole yet.
constexpr time_ms settling = 1000;

}  // namespace

// Without reading the file: it may be big, and damaged still.
bool store::may_look_again(project_id id, time_ms now) {
    file_status there;
    if (files_.status(path_of(id), there) || !there.exists) return true;
    if (there.modified_ms <= now && now - there.modified_ms < settling) return false;
    const std::lock_guard lock(unmoved_mutex_);
    const auto known = unmoved_.find(id);
    return known == unmoved_.end() || known->second != there;
}

// The damaged file could not be given another name: it is not looked at again as it is.
void store::remember_unmoved(project_id id) {
    file_status there;
    if (files_.status(path_of(id), there) || !there.exists) return;
    const std::lock_guard lock(unmoved_mutex_);
    unmoved_[id] = there;
}

// The project is `loading`, and only this thread touches its data. Its log records are read once
// more, as a start does. Empty: done, else why not; then nothing of it may be used.
std::string store::catch_up(project& which, caught_up& out) {
    const auto apply = [&](log_number number, const change& what) {
        const bool is_meant = what.kind == change_kind::clear_all || what.project == which.id();
        if (!is_meant || number <= which.covered || number > held_at_start_) return;
        const std::lock_guard lock(which.mutex);  // others may ask how it is
        which.apply(what);
        if (out.first == 0) out.first = number;
        out.last = number;
    };
    const auto outcome = read_log(
        files_, directory_ + "/log",
        [&](log_number number, std::string_view payload) {
            change_reader changes(payload);
            change what;
            while (changes.next(what))
                apply(number, what);
            return changes.ok();
        },
        log_start_);
    return outcome.problem;
}

// The project's lock is held. From now on the log keeps for it what its file lacks, and no more.
void store::come_back(project& which, const caught_up& from, time_ms now) {
    which.first_unsaved = 0;
    const auto flushed = last_flush_.load();
    if (which.covered < flushed) {  // emptied in this run, with every other one
        which.make_resident(table(), 0);
        which.changed_by(flushed, which.updated_ms == 0 ? now : which.updated_ms);
        return;
    }
    if (from.first == 0) return;
    which.changed_by(from.first, which.updated_ms == 0 ? now : which.updated_ms);
    which.last_change = from.last;
}

}  // namespace sluice::kvstore
