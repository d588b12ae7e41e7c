// The key-value store's directory, without opening the store: nothing is written and no file made.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/doctor.hpp"
#include "daemon/kv/cli_place.hpp"
#include "daemon/kv/control_client.hpp"
#include "kvstore/file_env.hpp"
#include "kvstore/recovery.hpp"

namespace sluice::daemon {

namespace {

constexpr const char* what = "store";
constexpr std::uint64_t too_little = std::uint64_t{64} << 20;
constexpr std::uint64_t little = std::uint64_t{1} << 30;

void examine_space(const std::string& path, doctor_report& report) {
    struct statvfs disk {};
    if (statvfs(path.c_str(), &disk) != 0) return;
    const auto left = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    const auto found = bytes_text(left) + " free on its disk";
    if (left < too_little) {
        report.fail(what, found, "Make room: a full disk refuses every write");
    } else if (left < little) {
        report.warn(what, found, "Make room before it is full: a full disk refuses every write");
    } else {
        report.ok(what, found);
    }
}

std::string info_value(const std::string& info, const std::string& key) {
    const auto at = info.find("\n" + key + ":");
    if (at == std::string::npos) return {};
    const auto from = at + key.size() + 2;
    return info.substr(from, info.find_first_of("\r\n", from) - from);
}

// The daemon says itself how its log is.
void ask_daemon(control_client& daemon, doctor_report& report) {
    try {
        const auto info = "\n" + daemon.call({"INFO"});
        const auto status = info_value(info, "aof_last_write_status");
        const auto version_text = info_value(info, "sluice_version");
        report.ok(what, "a running sluice" + (version_text.empty() ? "" : " " + version_text) +
                            " has it open, process " + info_value(info, "process_id"));
        if (status == "ok") {
            report.ok(what, "its log is being written, " + info_value(info, "aof_current_size") +
                                " bytes");
        } else {
            report.fail(what, "the log cannot be written: clients' writes are refused",
                        "See the daemon's log for the reason, and make room on the disk");
        }
    } catch (const std::exception& error) {
        report.warn(what, std::string("the running sluice does not answer: ") + error.what(), {});
    }
}

// Nobody has it open: the log is read to its end, as a start would.
void read_whole_log(const std::string& directory, doctor_report& report) {
    const auto log = kvstore::read_log(kvstore::posix_files(), directory + "/log",
                                       [](kvstore::log_number, std::string_view) { return true; });
    if (!log.ok()) {
        report.fail(what, "a start would be refused: " + log.problem, "See docs/kv-log.md");
        return;
    }
    for (const auto& notice : log.notices)
        report.warn(what, notice.what, "A start goes on from there");
    report.ok(what, "its log is whole: " + count_text(log.records, "record", "records") + ", " +
                        bytes_text(log.bytes));
}

bool is_held(const std::string& directory, doctor_report& report) {
    kvstore::file_status lock;
    auto& files = kvstore::posix_files();
    // Where there is none it is not made: it would belong to whoever runs this.
    if (files.status(directory + "/lock", lock) || !lock.exists) return false;
    std::unique_ptr<kvstore::held_lock> held;
    std::string holder;
    const auto error = files.lock(directory + "/lock", held, holder);
    if (error == std::errc::device_or_resource_busy) {
        report.warn(what,
                    "process " + (holder.empty() ? std::string("of another user") : holder) +
                        " has it open, and its control socket does not answer",
                    "Run this as the user that sluice runs as");
        return true;
    }
    if (error) {
        report.warn(what, directory + "/lock cannot be taken: " + error.message(),
                    "Run this as the user that sluice runs as");
    }
    return false;
}

}  // namespace

bool examine_store(const config::settings& settings, doctor_report& report) {
    if (settings.kv.listen.empty()) {
        report.ok(what, "off: kv.listen is empty");
        return false;
    }
    const auto& directory = settings.kv.directory;
    std::vector<std::string> names;
    const auto error = kvstore::posix_files().list(directory, names);
    if (error == std::errc::no_such_file_or_directory) {
        const auto cut = directory.find_last_of('/');
        const auto parent = cut == std::string::npos ? "."
                            : cut == 0               ? "/"
                                                     : directory.substr(0, cut);
        if (access(parent.c_str(), W_OK | X_OK) == 0) {
            report.ok(what, directory + " is not there yet, the first start makes it");
        } else {
            report.warn(what, directory + " is not there, and this user cannot make it",
                        "Make it, and give it to the user that sluice runs as");
        }
        examine_space(parent, report);
        return false;
    }
    if (error) {
        report.fail(what, directory + " cannot be read: " + error.message(),
                    "Give it to the user that sluice runs as, or run this as that user");
        return false;
    }
    if (access(directory.c_str(), W_OK | X_OK) == 0) {
        report.ok(what, directory + " is there and can be written");
    } else {
        report.fail(what, directory + " cannot be written by this user",
                    "Give it to the user that sluice runs as, or run this as that user");
    }
    examine_space(directory, report);
    for (const auto& name : names) {
        if (name.find(".json.damaged") != std::string::npos) {
            report.warn(what, directory + "/" + name + " was set aside as damaged",
                        "See docs/kv-files.md for what to do with it");
        }
    }
    std::unique_ptr<control_client> daemon;
    try {
        daemon = control_client::connect(directory + "/control.sock");
    } catch (const std::exception& problem) {
        report.warn(what, problem.what(), "Run this as the user that sluice runs as");
    }
    if (daemon != nullptr) {
        ask_daemon(*daemon, report);
        return true;
    }
    if (is_held(directory, report)) return true;
    read_whole_log(directory, report);
    return false;
}

}  // namespace sluice::daemon
