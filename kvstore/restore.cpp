#include "kvstore/restore.hpp"

#include <algorithm>

#include "kvstore/project_content.hpp"
#include "kvstore/recovery.hpp"
#include "kvstore/whole_file.hpp"

namespace sluice::kvstore {

namespace {

std::string failure(const std::string& path, const std::error_code& error) {
    return path + ": " + error.message();
}

// A project's file, and what sluice has put aside for it: .damaged, .edited, .new.
bool is_of_a_project(const std::string& name) {
    const auto end = name.find(".json");
    project_id id = 0;
    return end != std::string::npos && parse_project_file_name(name.substr(0, end + 5), id);
}

class restorer {
  public:
    restorer(file_env& files, const restore_request& what, const file_progress& progress)
        : files_(files),
          what_(what),
          progress_(progress),
          draft_(what.directory + "/restore.partial"),
          ready_(unfinished_restore(what.directory)) {}

    restore_result run() {
        out_.error = verify();
        if (out_.error.empty()) out_.error = occupy();
        if (!out_.error.empty()) return out_;
        out_.error = write_draft();
        if (!out_.error.empty()) {
            (void)remove_with_files(files_, draft_);
            return out_;
        }
        out_.error = exchange();
        if (!out_.error.empty()) {
            out_.error +=
                ". The files were being exchanged: sluice does not start until the "
                "restore was run again, with --force";
        }
        return out_;
    }

  private:
    std::string verify() {
        manifest_ = verify_backup(files_, what_.backup, progress_);
        return manifest_.error;
    }

    // Nobody else uses it, and it holds nothing that must not go.
    std::string occupy() {
        const auto& directory = what_.directory;
        if (const auto error = files_.make_directory(directory)) return failure(directory, error);
        std::string holder;
        if (const auto error = files_.lock(directory + "/lock", lock_, holder)) {
            if (error != std::errc::device_or_resource_busy) return failure(directory, error);
            return directory + " is in use by a running sluice" +
                   (holder.empty() ? "" : " (process " + holder + ")") + ": stop it first";
        }
        std::vector<std::string> names;
        if (const auto error = files_.list(directory, names)) return failure(directory, error);
        std::copy_if(names.begin(), names.end(), std::back_inserter(old_), is_of_a_project);
        has_log_ = std::find(names.begin(), names.end(), "log") != names.end();
        if (what_.replaces) return {};
        if (!old_.empty()) {
            return directory + " holds projects already: --force moves them away";
        }
        const auto log = read_log(files_, directory + "/log", [](auto, auto) { return true; });
        if (log.ok() && log.records == 0) return {};
        return directory + "/log holds changes of projects: --force moves it away";
    }

    std::string write_draft() {
        (void)remove_with_files(files_, draft_);
        if (const auto error = files_.make_directory(draft_)) return failure(draft_, error);
        std::uint64_t done = 0;
        for (const auto& one : manifest_.files) {
            std::string text;
            auto error = read_backed_up(files_, what_.backup, one, text);
            if (!error.empty()) return error;
            const auto path = draft_ + "/" + one.name;
            if (const auto failed = write_new_file(files_, path, fresh(one.project, text))) {
                return failure(path, failed);
            }
            ++out_.projects;
            out_.bytes += one.bytes;
            if (progress_ && !progress_(++done, manifest_.files.size())) return "it was given up";
        }
        if (const auto error = files_.sync_directory(draft_)) return failure(draft_, error);
        return {};
    }

    // With a number that no record of the fresh log is covered by.
    std::string fresh(project_id id, const std::string& text) {
        project_content content;
        if (read_project(text, id, content).result == project_file_outcome::verdict::damaged) {
            ++out_.damaged;
            return text;
        }
        content.header.covers = 0;
        return project_text(content);
    }

    std::string exchange() {
        (void)remove_with_files(files_, ready_);  // of a restore that was cut off
        if (const auto error = files_.rename(draft_, ready_)) return failure(ready_, error);
        if (const auto error = files_.sync_directory(what_.directory)) {
            return failure(what_.directory, error);
        }
        auto error = move_old();
        if (!error.empty()) return error;
        for (const auto& one : manifest_.files) {
            const auto to = what_.directory + "/" + one.name;
            if (const auto failed = files_.rename(ready_ + "/" + one.name, to)) {
                return failure(to, failed);
            }
        }
        if (const auto failed = files_.sync_directory(what_.directory)) {
            return failure(what_.directory, failed);
        }
        if (const auto failed = files_.remove_directory(ready_)) return failure(ready_, failed);
        if (const auto failed = files_.sync_directory(what_.directory)) {
            return failure(what_.directory, failed);
        }
        return {};
    }

    // The log goes too: its records must never be applied to what is restored.
    std::string move_old() {
        if (old_.empty() && !has_log_) return {};
        const auto to = what_.directory + "/before-restore-" + time_stamp(what_.now);
        if (const auto error = files_.make_directory(to)) return failure(to, error);
        out_.moved_to = to;
        if (has_log_) {
            if (const auto error = files_.rename(what_.directory + "/log", to + "/log")) {
                return failure(to + "/log", error);
            }
        }
        for (const auto& name : old_) {
            if (const auto error = files_.rename(what_.directory + "/" + name, to + "/" + name)) {
                return failure(to + "/" + name, error);
            }
        }
        for (const auto& directory : {to, what_.directory}) {
            if (const auto error = files_.sync_directory(directory)) {
                return failure(directory, error);
            }
        }
        return {};
    }

    file_env& files_;
    const restore_request& what_;
    const file_progress& progress_;
    std::string draft_;
    std::string ready_;
    backup_manifest manifest_;
    std::unique_ptr<held_lock> lock_;
    std::vector<std::string> old_;
    bool has_log_ = false;
    restore_result out_;
};

}  // namespace

std::string unfinished_restore(const std::string& directory) {
    return directory + "/restore.unfinished";
}

restore_result restore_backup(file_env& files, const restore_request& what,
                              const file_progress& progress) {
    return restorer(files, what, progress).run();
}

}  // namespace sluice::kvstore
