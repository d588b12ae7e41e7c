#include "daemon/kv/cli_place.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>

#include "daemon/kv/service.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

constexpr auto first_progress = std::chrono::seconds(1);
constexpr auto between_on_terminal = std::chrono::milliseconds(200);
constexpr auto between_elsewhere = std::chrono::seconds(5);

kvstore::file_env& files() {
    return kvstore::posix_files();
}

}  // namespace

progress_line::progress_line(const command_line& with, std::string what)
    : to_(with.err),
      what_(std::move(what)),
      terminal_(&with.err == &std::cerr && ::isatty(STDERR_FILENO) == 1),
      began_(steady_clock::now()),
      next_(began_ + first_progress) {}

progress_line::~progress_line() {
    if (shown_ && terminal_) to_ << "\r\x1b[K" << std::flush;
}

void progress_line::say(const std::string& text) {
    const auto now = steady_clock::now();
    if (now < next_) return;
    next_ = now + (terminal_ ? steady_clock::duration(between_on_terminal)
                             : steady_clock::duration(between_elsewhere));
    shown_ = true;
    if (terminal_) {
        to_ << "\r\x1b[K" << what_ << ": " << text << std::flush;
    } else {
        to_ << what_ << ": " << text << std::endl;
    }
}

void progress_line::show(std::uint64_t done, std::uint64_t all, const char* of) {
    say(std::to_string(done) + " of " + std::to_string(all) + " " + of);
}

void progress_line::tick() {
    const auto took = steady_clock::now() - began_;
    say(std::to_string(std::chrono::duration_cast<std::chrono::seconds>(took).count()) + " s");
}

kv_place::kv_place(const kv_job& job) : job_(job), directory_(job.settings.directory) {
    std::vector<std::string> there;
    if (const auto error = files().list(directory_, there)) {
        throw std::runtime_error("the store's directory " + directory_ + " cannot be read: " +
                                 error.message() + ". Name it with --directory or --config");
    }
    if (std::find(there.begin(), there.end(), "manifest.json") != there.end()) {
        throw std::runtime_error(directory_ +
                                 " is a backup. Restore it into another directory first: sluice "
                                 "kv restore " +
                                 directory_ + " --directory DIR");
    }
    control_ = control_client::connect(directory_ + "/control.sock");
    if (control_ != nullptr) return;
    db_ = std::make_unique<kvstore::store>(files(), job_.settings,
                                           [this](std::string_view level, const std::string& text) {
                                               if (level != "info")
                                                   job_.with.err << level << ": " << text << '\n';
                                           });
    db_->open(wall_clock_ms());
}

kv_place::~kv_place() = default;

void kv_place::save() {
    progress_line progress(job_.with, "saving");
    if (control_ != nullptr) {
        control_->call_when_free({"SLUICE", "SAVE"}, [&] { progress.tick(); });
        return;
    }
    // There is no thread for the log here: files wait for it in these pauses.
    const auto error = db_->save_all(wall_clock_ms(), [&] {
        (void)db_->log().step(std::chrono::steady_clock::now());
        progress.tick();
    });
    if (!error.empty()) throw std::runtime_error("the projects cannot be saved: " + error);
}

void kv_place::close() {
    if (db_ != nullptr && !db_->close(wall_clock_ms())) {
        throw std::runtime_error("the store could not be closed well");
    }
    db_.reset();
}

std::vector<std::string> kv_place::names() const {
    std::vector<std::string> out;
    if (const auto error = files().list(directory_, out)) {
        throw std::runtime_error(directory_ + ": " + error.message());
    }
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<kvstore::project_id> kv_place::projects() const {
    std::vector<kvstore::project_id> out;
    kvstore::project_id id = 0;
    for (const auto& name : names()) {
        if (kvstore::parse_project_file_name(name, id)) out.push_back(id);
    }
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<std::string> kv_place::set_aside() const {
    auto out = names();
    std::erase_if(out, [](const auto& name) {
        return name.find(".json.damaged") == std::string::npos &&
               name.find(".json.edited") == std::string::npos;
    });
    return out;
}

bool kv_place::read(kvstore::project_id id, kvstore::project_content& out, std::string& damage,
                    std::uint64_t* file_bytes) const {
    damage.clear();
    out = {};
    std::string text;
    const auto path = directory_ + "/" + kvstore::project_file_name(id);
    if (const auto error = files().read(path, text)) {
        if (error == std::errc::no_such_file_or_directory) return false;
        throw std::runtime_error(path + ": " + error.message());
    }
    if (file_bytes != nullptr) *file_bytes = text.size();
    const auto outcome = kvstore::read_project(text, id, out);
    if (outcome.result == kvstore::project_file_outcome::verdict::damaged) {
        damage = path + " is damaged: line " + std::to_string(outcome.line) + ": " + outcome.what;
        out = {};
        return true;
    }
    const auto now = wall_clock_ms();
    std::erase_if(out.keys, [now](const auto& one) { return one.second.expires <= now; });
    return true;
}

std::uint64_t kv_place::log_bytes() const {
    std::vector<std::string> segments;
    if (files().list(directory_ + "/log", segments)) return 0;
    std::uint64_t sum = 0;
    for (const auto& name : segments) {
        kvstore::file_status status;
        if (!files().status(directory_ + "/log/" + name, status)) sum += status.size;
    }
    return sum;
}

std::string bytes_text(std::uint64_t bytes) {
    constexpr std::array units{"bytes", "KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) return count_text(bytes, "byte", "bytes");
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < units.size(); ++unit)
        value /= 1024;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f %s", value, units[unit]);
    return text.data();
}

std::string count_text(std::uint64_t count, const char* one, const char* many) {
    return std::to_string(count) + " " + (count == 1 ? one : many);
}

}  // namespace sluice::daemon
