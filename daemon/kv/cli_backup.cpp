// `sluice kv backup` and `sluice kv restore`.

#include <filesystem>
#include <ostream>

#include "daemon/kv/cli_place.hpp"
#include "daemon/kv/service.hpp"
#include "kvstore/backup.hpp"
#include "kvstore/restore.hpp"

namespace sluice::daemon {

namespace {

std::string online_backup(const kv_job& job, control_client& control, const std::string& into) {
    progress_line progress(job.with, "backup");
    return control.call_when_free({"SLUICE", "BACKUP", into}, [&] { progress.tick(); });
}

std::string offline_backup(const kv_job& job, kvstore::store& db, const std::string& into) {
    progress_line progress(job.with, "backup");
    const auto made = kvstore::make_backup(
        db, into, wall_clock_ms(), [] {},
        [&](auto done, auto all) {
            progress.show(done, all, "projects");
            return true;
        });
    if (!made.error.empty()) throw std::runtime_error("no backup was made: " + made.error);
    return made.path;
}

}  // namespace

int make_backup(const kv_job& job) {
    auto into = job.options.output.empty() ? job.settings.backup.directory : job.options.output;
    if (into.empty()) {
        throw wrong_usage("where to? Name a directory with --output, or set kv.backup.directory");
    }
    // The daemon may have been started elsewhere.
    into = std::filesystem::absolute(into).lexically_normal().string();
    while (into.size() > 1 && into.back() == '/')
        into.pop_back();
    kv_place place(job);
    const auto path = place.control() != nullptr ? online_backup(job, *place.control(), into)
                                                 : offline_backup(job, place.db(), into);
    place.close();
    const auto manifest = kvstore::read_manifest(kvstore::posix_files(), path);
    if (!manifest.error.empty()) throw std::runtime_error(manifest.error);
    job.with.out << path << ": " << count_text(manifest.files.size(), "project", "projects") << ", "
                 << bytes_text(manifest.bytes()) << '\n';
    return exit_fine;
}

int restore_backup(const kv_job& job) {
    auto backup = job.options.backup;
    while (backup.size() > 1 && backup.back() == '/')
        backup.pop_back();
    progress_line progress(job.with, "restore");
    const auto done = kvstore::restore_backup(
        kvstore::posix_files(),
        {backup, job.settings.directory, job.options.force, wall_clock_ms()},
        [&](auto count, auto all) {
            progress.show(count, all, "projects");
            return true;
        });
    if (!done.error.empty()) throw std::runtime_error("not restored: " + done.error);
    job.with.out << "restored " << count_text(done.projects, "project", "projects") << ", "
                 << bytes_text(done.bytes) << ", into " << job.settings.directory << '\n';
    if (!done.moved_to.empty()) {
        job.with.out << "what was there before is in " << done.moved_to << '\n';
    }
    if (done.damaged > 0) {
        job.with.err << "warning: " << count_text(done.damaged, "file", "files")
                     << " of the backup were damaged when it was made, and are as they were\n";
    }
    return exit_fine;
}

}  // namespace sluice::daemon
