// The store's side of projects' files: reading them when a project is used, writing them when it
// has changed, and letting go of what is not needed.

#include <algorithm>
#include <chrono>

#include "kvstore/project_file.hpp"
#include "kvstore/snapshot.hpp"
#include "kvstore/store.hpp"

namespace sluice::kvstore {

namespace {

// A slice of a copy: its project's commands wait no longer than for this.
constexpr std::size_t slice_bytes = std::size_t{64} << 10;
constexpr time_ms retry_after = 1000;
constexpr int surveyed_a_round = 32;
constexpr time_ms empty_stay = 5000;  // in memory, of a project that has no keys
// A project is not saved again before this many times the time that saving it took.
constexpr time_ms rest_after_saving = 20;
// To find no FLUSHALL whose files are still there.
constexpr int most_attempts = 3000;

class table_builder final : public entry_sink {
  public:
    table keys;
    std::uint64_t bytes = 0;

    void on_entry(const stored_entry& entry) override {
        const auto hash = table::hash_of(entry.key);
        if (auto* const old = keys.find(hash, entry.key)) {
            bytes -= old->key_size() + old->value_size();
            keys.remove(old);
            entry::destroy(old);
        }
        keys.insert(
            kvstore::entry::make(hash, {entry.key, entry.value, entry.expires, entry.form}));
        bytes += entry.key.size() + entry.value.size();
    }
};

std::string refusal(project_id id, const std::string& why) {
    return "ERR project " + std::to_string(id) + " is not available: " + why;
}

std::string kept_as(project_id id, const std::string& name) {
    return refusal(id, "its file was damaged and is kept as " + name + ". Put a good " +
                           project_file_name(id) +
                           " in its place (sluice kv restore or import), or remove the kept file "
                           "to begin with an empty project");
}

}  // namespace

std::string store::path_of(project_id id) const {
    return directory_ + "/" + project_file_name(id);
}

void store::refuse(project& which, std::string why, time_ms now) {
    which.state = project::residence::refused;
    which.why = std::move(why);
    which.retry_at = now + retry_after;
}

// Damaged: it gets another name, so that nothing ever writes over it. The reason for clients.
std::string store::set_aside(project_id id, const std::string& what) {
    const auto usual = project_file_name(id);
    auto name = usual + ".damaged";
    for (int i = 2;; ++i) {
        file_status there;
        if (files_.status(directory_ + "/" + name, there) || !there.exists) break;
        name = usual + ".damaged-" + std::to_string(i);
    }
    auto error = files_.rename(path_of(id), directory_ + "/" + name);
    if (!error) error = files_.sync_directory(directory_);
    if (error) {
        name = usual;
        remember_unmoved(id);
    }
    counts.damaged_projects.fetch_add(1);
    say_("error", "the file of project " + std::to_string(id) + " is damaged (" + what +
                      ") and is kept as " + directory_ + "/" + name +
                      "; the project is refused until a good file is in its place");
    return kept_as(id, name);
}

void store::keep_edited(project_id id) {
    const auto path = path_of(id);
    (void)files_.remove(path + ".edited");
    const auto error = files_.link_or_copy(path, path + ".edited");
    say_("warning", "the file of project " + std::to_string(id) +
                        " is not as sluice wrote it: it was edited, or it is damaged in a way that "
                        "left it readable. It is used as it is" +
                        (error ? std::string() : ", and kept as " + path + ".edited"));
}

store::file_content store::read_file(project_id id) {
    file_content out;
    const auto path = path_of(id);
    std::string text;
    const auto error = files_.read(path, text);
    if (error == std::errc::no_such_file_or_directory) {
        file_status kept;
        if (!files_.status(path + ".damaged", kept) && kept.exists) {
            out.refused = kept_as(id, project_file_name(id) + ".damaged");
        }
        return out;
    }
    if (error) {
        say_("error", "the file " + path + " cannot be read: " + error.message());
        out.refused = refusal(id, "its file cannot be read: " + error.message());
        return out;
    }
    table_builder builder;
    const auto outcome = read_project_file(text, id, out.header, builder);
    if (outcome.result == project_file_outcome::verdict::damaged) {
        out.refused = set_aside(id, "line " + std::to_string(outcome.line) + ": " + outcome.what);
        return out;
    }
    if (outcome.result == project_file_outcome::verdict::edited) keep_edited(id);
    out.exists = true;
    out.keys = std::move(builder.keys);
    out.bytes = builder.bytes;
    return out;
}

bool store::install(project& which, file_content&& content, time_ms now) {
    if (!content.refused.empty()) {
        refuse(which, std::move(content.refused), now);
        return false;
    }
    which.created_ms = content.header.created_ms;
    which.updated_ms = content.header.updated_ms;
    which.covered = content.header.covers;
    const auto flushed = flushed_.load();
    if (content.exists && content.header.covers < flushed) {
        // Emptied since, with every other one; its file is to say so before the log forgets it.
        which.make_resident(table(), 0);
        which.changed_by(flushed, which.updated_ms == 0 ? now : which.updated_ms);
    } else {
        which.make_resident(std::move(content.keys), content.bytes);
    }
    counts.loads.fetch_add(1, std::memory_order_relaxed);
    return true;
}

// Commands find it `loading` and go on waiting: the lock is not held while the file is read.
void store::load(project& which, time_ms now) {
    std::string refused_for;
    log_number first_unsaved = 0;
    {
        const std::lock_guard lock(which.mutex);
        refused_for = which.why;
        first_unsaved = which.first_unsaved;
    }
    file_content content;
    if (!refused_for.empty() && !may_look_again(which.id(), now)) {
        content.refused = refused_for;
    } else {
        content = read_file(which.id());
    }
    const bool is_foreign = content.refused.empty() && content.header.covers > log_.last();
    bool is_there = false;
    snapshot renumbered;
    {
        const std::lock_guard lock(which.mutex);
        is_there = install(which, std::move(content), now);
        // Nobody may change it yet, nor save it.
        if (is_there && (is_foreign || first_unsaved != 0)) {
            which.state = project::residence::loading;
        }
        if (is_there && is_foreign) {
            // Its number is from another log and would hide records that are to come: it is
            // written anew, with a number of ours, before anybody may change it. Until then the
            // log keeps what it has for it.
            which.covered = 0;
            which.changed_by(std::max(log_.synced(), flushed_.load()), which.updated_ms);
            renumbered.begin(which);
        }
    }
    std::string error;
    caught_up records;
    if (is_there && is_foreign) {
        error = copy_slices(which, renumbered, 0, now, [] {});
        if (!error.empty()) error = "its file cannot be written: " + error;
    } else if (is_there && first_unsaved != 0) {
        error = catch_up(which, records);
    }
    std::vector<std::function<void()>> waiting;
    {
        const std::lock_guard lock(which.mutex);
        which.used_ms = now;
        if (is_there) which.state = project::residence::resident;
        if (is_there && is_foreign && error.empty() && which.covered < flushed_.load()) {
            // A FLUSHALL came while it was written.
            which.make_resident(table(), 0);
            which.changed_by(flushed_.load(), which.updated_ms);
        }
        if (!error.empty()) {
            which.leave_memory();
            which.first_unsaved = first_unsaved;
            refuse(which, refusal(which.id(), error), now);
        } else if (is_there && !is_foreign && first_unsaved != 0) {
            come_back(which, records, now);
        }
        if (is_there && error.empty()) which.why.clear();
        account(which);
        waiting.swap(which.waiting);
    }
    if (is_there && error.empty() && !refused_for.empty()) {
        say_("info", "project " + std::to_string(which.id()) + " is served again");
    }
    for (const auto& wake : waiting)
        wake();
}

// A file may not be ahead of the log: if the power went then, the log would end below the number
// that the file covers, and a transaction over two projects would be in the one's file only.
std::string store::wait_for_log(log_number number, const pause_call& pause) {
    if (is_closing_) return {};  // the log has been written as far as it could be
    log_.sync_up_to(number);
    while (log_.synced() < number) {
        if (log_.is_broken()) return "the log is not safe yet: " + log_.why();
        pause();
    }
    return {};
}

std::string store::write_file(snapshot& from, log_number safe_up_to, const pause_call& pause) {
    const auto id = from.header().project;
    std::string text;
    text.reserve(from.bytes() + 4096);
    project_file_writer writer(text, from.header());
    for (const auto& entry : from.sorted())
        writer.add(entry);
    writer.finish();

    const auto path = path_of(id);
    const auto draft = path + ".new";
    std::string unsafe;
    const auto attempt = [&]() -> std::error_code {
        (void)files_.remove(draft);
        std::unique_ptr<open_file> file;
        if (const auto error = files_.open(draft, file_env::create::fresh, file)) return error;
        std::size_t written = 0;
        if (const auto error = file->append(text, written)) return error;
        if (const auto error = file->sync()) return error;
        file.reset();
        unsafe = wait_for_log(safe_up_to, pause);
        if (!unsafe.empty()) return std::make_error_code(std::errc::operation_canceled);
        if (const auto error = files_.rename(draft, path)) return error;
        if (is_closing_) return {};  // once for all, in save_all()
        return files_.sync_directory(directory_);
    };
    const auto error = attempt();
    if (!error) {
        counts.last_checkpoint_bytes.store(text.size());
        return {};
    }
    (void)files_.remove(draft);
    return path + ": " + (unsafe.empty() ? error.message() : unsafe);
}

std::string store::copy_slices(project& which, snapshot& from, log_number safe_up_to, time_ms now,
                               const pause_call& pause) {
    for (;;) {
        {
            const std::lock_guard lock(which.mutex);
            if (from.step(which, slice_bytes)) break;
        }
        pause();
    }
    auto error = write_file(from, safe_up_to, pause);
    if (!error.empty()) {
        counts.checkpoint_failures.fetch_add(1, std::memory_order_relaxed);
        return error;
    }
    counts.checkpoints.fetch_add(1, std::memory_order_relaxed);
    counts.last_checkpoint_ms.store(now);
    const std::lock_guard lock(which.mutex);
    which.covered = std::max(which.covered, from.header().covers);
    which.first_unsaved = which.last_change > which.covered ? which.covered + 1 : 0;
    return {};
}

std::string store::save(project& which, time_ms now, const pause_call& pause) {
    snapshot content;
    {
        const std::lock_guard lock(which.mutex);
        if (which.state != project::residence::resident || !which.is_unsaved()) return {};
        content.begin(which);
    }
    return copy_slices(which, content, content.header().covers, now, pause);
}

std::string store::save_all(time_ms now, const pause_call& pause) {
    std::vector<std::shared_ptr<project>> unsaved;
    std::vector<std::unique_ptr<snapshot>> contents;
    for (int attempt = 1;; ++attempt) {
        remove_flushed(pause);
        auto registry = hold_registry();
        // A FLUSHALL has come in between, or a project is being read, or a file cannot be removed:
        // it would be a file of another moment.
        if (flush_is_pending_ && attempt < most_attempts) {
            registry.unlock();
            pause();
            continue;
        }
        if (flush_is_pending_) return directory_ + ": files of emptied projects are not removed";
        const auto every = all_held();
        for (const auto& one : every)
            one->mutex.lock();
        for (const auto& one : every) {
            if (one->state != project::residence::resident || !one->is_unsaved()) continue;
            unsaved.push_back(one);
            contents.push_back(std::make_unique<snapshot>());
            contents.back()->begin(*one);
        }
        for (const auto& one : every)
            one->mutex.unlock();
        break;
    }
    std::string first_error;
    std::size_t left_to_log = 0;
    for (std::size_t i = 0; i < unsaved.size(); ++i) {
        if (is_closing_ && clock != nullptr && clock() >= close_by_) {
            const std::lock_guard lock(unsaved[i]->mutex);
            contents[i]->abandon(*unsaved[i]);
            ++left_to_log;
            continue;
        }
        const auto error =
            copy_slices(*unsaved[i], *contents[i], contents[i]->header().covers, now, pause);
        if (first_error.empty()) first_error = error;
        contents[i].reset();
    }
    if (is_closing_) {
        if (const auto error = files_.sync_directory(directory_)) {
            return directory_ + ": " + error.message();
        }
    }
    if (left_to_log > 0) {
        say_("warning", "the files of " + std::to_string(left_to_log) +
                            " changed projects were not written in time; the log keeps their "
                            "changes, and the next start reads them from there");
    }
    release_log();
    if (first_error.empty()) counts.last_checkpoint_ms.store(now);
    return first_error;
}

void store::maintain(time_ms now, const pause_call& pause) {
    const auto interval = settings()->checkpoint_interval.count();
    bool saved = false;
    for (const auto& one : all()) {
        {
            const std::lock_guard lock(one->mutex);
            if (one->state != project::residence::resident || !one->is_unsaved()) continue;
            if (one->save_at == 0) one->save_at = std::max(now + interval, one->save_earliest);
            if (one->save_at > now) continue;
        }
        const auto began = clock == nullptr ? monotonic() : clock();
        const auto error = save(*one, now, pause);
        const auto took = (clock == nullptr ? monotonic() : clock()) - began;
        counts.checkpoint_ns.fetch_add(static_cast<std::uint64_t>(took.count()));
        if (!error.empty()) say_("error", "a project's file was not written: " + error);
        saved = saved || error.empty();
        const std::lock_guard lock(one->mutex);
        one->save_at = 0;
        one->save_earliest = now + took / std::chrono::milliseconds(1) * rest_after_saving;
    }
    remove_flushed(pause);
    send_out(now, pause);
    if (saved) release_log();
    prune_registry();
    survey();
}

// The first record that some project's file lacks. One that is appended meanwhile has a higher
// number than `last`, or its project, or for a FLUSHALL the registry, is still locked.
log_number store::first_needed() {
    auto needed = log_.last() + 1;
    for (const auto& one : all()) {
        const std::lock_guard lock(one->mutex);
        if (one->is_unsaved()) needed = std::min(needed, one->first_unsaved);
    }
    const std::lock_guard lock(registry_mutex_);
    if (flush_is_pending_) needed = std::min(needed, flushed_.load());
    return needed;
}

void store::release_log() {
    if (const auto error = log_.release_before(first_needed())) {
        say_("warning", "old parts of the log were not removed: " + error.message());
    }
}

// The number that a file says it covers; what cannot be read is left alone.
log_number store::covers(const std::string& name) {
    class nobody final : public entry_sink {
        void on_entry(const stored_entry&) override {}
    } sink;
    std::string text;
    project_header header;
    project_id id = 0;
    if (!parse_project_file_name(name, id) || files_.read(directory_ + "/" + name, text) ||
        read_project_file(text, id, header, sink).result ==
            project_file_outcome::verdict::damaged) {
        return std::numeric_limits<log_number>::max();
    }
    return header.covers;
}

// After a FLUSHALL: the files of projects that are not in memory. Those that are get new files.
void store::remove_flushed(const pause_call& pause) {
    log_number number = 0;
    {
        const std::lock_guard lock(registry_mutex_);
        if (!flush_is_pending_) return;
        number = flushed_.load();
    }
    if (!wait_for_log(number, pause).empty()) return;
    bool is_done = true;
    std::vector<std::string> names;
    if (files_.list(directory_, names)) return;
    for (const auto& name : names) {
        project_id id = 0;
        if (!parse_project_file_name(name, id)) continue;
        const auto one = find(id);
        const std::lock_guard lock(one->mutex);
        if (one->state == project::residence::resident) continue;
        if (one->state == project::residence::loading) {
            is_done = false;  // somebody may have read it already
            continue;
        }
        if (covers(name) >= number) continue;
        if (files_.remove(directory_ + "/" + name)) return;
    }
    if (files_.sync_directory(directory_)) return;
    const std::lock_guard lock(registry_mutex_);
    if (!is_done || flushed_.load() != number) return;
    flush_is_pending_ = false;
    flushed_.store(0);  // a file that somebody puts there from now on is not meant
}

void store::send_out(time_ms now, const pause_call& pause) {
    const auto idle_after = settings()->project_idle_timeout.count();
    std::vector<std::pair<time_ms, std::shared_ptr<project>>> candidates;
    for (auto& one : all()) {
        const std::lock_guard lock(one->mutex);
        if (one->state != project::residence::resident || one->is_watched()) continue;
        if (one->keys() == 0 && !one->is_unsaved() && now - one->used_ms >= empty_stay) {
            one->leave_memory();  // somebody looked for something that is not there
            account(*one);
            counts.unloads.fetch_add(1, std::memory_order_relaxed);
            continue;
        }
        candidates.emplace_back(one->used_ms, one);
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [used, one] : candidates) {
        const bool is_idle = idle_after != 0 && now - used >= idle_after;
        if (!is_idle && !is_over_memory()) return;
        if (!save(*one, now, pause).empty()) continue;
        const std::lock_guard lock(one->mutex);
        if (one->is_unsaved() || one->is_watched() || one->state != project::residence::resident) {
            continue;
        }
        const auto next = one->expiries().next();
        one->leave_memory();
        account(*one);
        one->next_expiry.store(next, std::memory_order_relaxed);  // it is read again for that
        counts.unloads.fetch_add(1, std::memory_order_relaxed);
    }
}

// Which projects that nobody has used since the start have keys that expire: some files a round, so
// that a start depends on the log only and the disk is left to clients.
void store::survey() {
    class soonest final : public entry_sink {
      public:
        time_ms at = never;
        void on_entry(const stored_entry& entry) override { at = std::min(at, entry.expires); }
    };
    if (!survey_has_begun_) {
        survey_has_begun_ = true;
        if (files_.list(directory_, to_survey_)) return;
    }
    for (int i = 0; i < surveyed_a_round && !to_survey_.empty(); to_survey_.pop_back()) {
        project_id id = 0;
        const auto& name = to_survey_.back();
        if (!parse_project_file_name(name, id)) continue;
        ++i;
        soonest first;
        std::string text;
        project_header header;
        if (files_.read(directory_ + "/" + name, text)) continue;
        const auto outcome = read_project_file(text, id, header, first);
        if (outcome.result == project_file_outcome::verdict::damaged || first.at == never) {
            continue;  // whoever uses it will be told
        }
        const auto one = find(id);
        const std::lock_guard lock(one->mutex);
        if (one->state == project::residence::absent) one->next_expiry.store(first.at);
    }
}

void store::prune_registry() {
    const std::lock_guard lock(registry_mutex_);
    std::erase_if(registry_, [](const auto& item) {
        const auto& one = item.second;
        if (one.use_count() != 1) return false;
        const std::lock_guard of_project(one->mutex);  // use_count() orders nothing
        return one->state == project::residence::absent && !one->is_unsaved() &&
               one->next_expiry.load() == never;
    });
}

}  // namespace sluice::kvstore
