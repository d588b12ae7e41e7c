#include "kvstore/backup.hpp"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "kvstore/iso_time.hpp"
#include "kvstore/json_text.hpp"
#include "kvstore/numbers.hpp"
#include "kvstore/whole_file.hpp"

namespace sluice::kvstore {

namespace {

constexpr std::string_view name_front = "sluice-";
constexpr std::string_view unfinished = ".partial";
constexpr std::string_view manifest_name = "manifest.json";
// The manifest's last lines, around the digits of its own checksum.
constexpr std::string_view before_checksum = "  \"checksum\": \"";
constexpr std::string_view behind_checksum = "\"\n}\n";

std::uint64_t checksum_of(std::string_view bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

std::string failure(const std::string& path, const std::error_code& error) {
    return path + ": " + error.message();
}

std::string manifest_text(time_ms created, const std::vector<backed_up_file>& files) {
    std::string out =
        "{\n  \"format\": 1,\n  \"createdAt\": \"" + iso_time_text(created) + "\",\n  \"files\": [";
    for (std::size_t i = 0; i < files.size(); ++i) {
        const auto& one = files[i];
        out += i == 0 ? "\n" : ",\n";
        out += "    {\"name\": \"" + one.name + "\", \"bytes\": " + std::to_string(one.bytes) +
               ", \"xxh3\": \"" + hexadecimal(one.checksum) + "\"}";
    }
    out += files.empty() ? "],\n" : "\n  ],\n";
    const auto sum = hexadecimal(checksum_of(out));
    out += before_checksum;
    out += sum;
    out += behind_checksum;
    return out;
}

class manifest_reader {
  public:
    manifest_reader(std::string_view text, backup_manifest& out) : scanner_(text), out_(out) {}

    bool run() {
        json_token name;
        if (!scanner_.take('{')) return false;
        do {
            if (!scanner_.string(name) || !scanner_.take(':')) return false;
            if (name.text == "format") {
                if (!read_format()) return false;
            } else if (name.text == "createdAt") {
                json_token time;
                if (!scanner_.string(time)) return false;
                out_.created_ms = parse_iso_time(time.text);
            } else if (name.text == "files") {
                if (!read_files()) return false;
            } else if (!scanner_.value(nullptr)) {
                return false;
            }
        } while (scanner_.take(','));
        return scanner_.take('}') && scanner_.end_of_text() && has_format_;
    }

  private:
    bool read_format() {
        std::string_view text;
        if (!scanner_.number(text)) return false;
        has_format_ = text == "1";
        if (!has_format_) out_.error = "it was made by a newer sluice";
        return has_format_;
    }

    bool read_files() {
        if (!scanner_.take('[')) return false;
        if (scanner_.take(']')) return true;
        do {
            if (!read_file()) return false;
        } while (scanner_.take(','));
        return scanner_.take(']');
    }

    bool read_file() {
        backed_up_file one;
        json_token name;
        if (!scanner_.take('{')) return false;
        do {
            json_token text;
            std::string_view number;
            if (!scanner_.string(name) || !scanner_.take(':')) return false;
            if (name.text == "bytes") {
                if (!scanner_.number(number) || !parse_whole(number, one.bytes)) return false;
            } else if (!scanner_.string(text)) {
                return false;
            } else if (name.text == "name") {
                one.name = text.text;
            } else if (name.text == "xxh3" && !parse_whole(text.text, one.checksum, 16)) {
                return false;
            }
        } while (scanner_.take(','));
        // Never a path that leads out of the directory.
        if (!scanner_.take('}') || !parse_project_file_name(one.name, one.project)) return false;
        out_.files.push_back(std::move(one));
        return true;
    }

    json_scanner scanner_;
    backup_manifest& out_;
    bool has_format_ = false;
};

bool is_complete_name(std::string_view name) {
    constexpr std::size_t stamp = 20;
    return name.starts_with(name_front) && name.size() == name_front.size() + stamp &&
           name.back() == 'Z';
}

bool is_unfinished_name(std::string_view name) {
    return name.ends_with(unfinished) &&
           is_complete_name(name.substr(0, name.size() - unfinished.size()));
}

// Names of complete ones, the oldest first.
std::vector<std::string> complete_ones(const std::vector<std::string>& names) {
    std::vector<std::string> out;
    std::copy_if(names.begin(), names.end(), std::back_inserter(out),
                 [](const auto& name) { return is_complete_name(name); });
    std::sort(out.begin(), out.end());
    return out;
}

class backup_maker {
  public:
    backup_maker(store& of, const std::string& into, const store::pause_call& pause,
                 const file_progress& progress)
        : store_(of), files_(of.files()), into_(into), pause_(pause), progress_(progress) {}

    backup_result run(time_ms now) {
        backup_result out;
        out.error = prepare(now);
        if (out.error.empty()) out.error = copy_all();
        if (out.error.empty()) out.error = finish();
        if (!out.error.empty()) {
            if (!draft_.empty()) (void)remove_with_files(files_, draft_);
            return out;
        }
        out.path = path_;
        out.projects = copied_.size();
        for (const auto& one : copied_)
            out.bytes += one.bytes;
        return out;
    }

  private:
    std::string prepare(time_ms now) {
        if (const auto error = files_.make_directory(into_)) return failure(into_, error);
        created_ = now;
        for (;; ++created_) {  // two within a millisecond
            path_ = into_ + "/" + std::string(name_front) + time_stamp(created_);
            file_status there;
            if (const auto error = files_.status(path_, there)) return failure(path_, error);
            if (!there.exists) break;
        }
        auto error = store_.save_all(now, pause_);
        if (!error.empty()) return error;
        draft_ = path_ + std::string(unfinished);
        (void)remove_with_files(files_, draft_);
        if (const auto made = files_.make_directory(draft_)) return failure(draft_, made);
        return {};
    }

    std::string copy_all() {
        std::vector<std::string> names;
        const auto& from = store_.directory();
        if (const auto error = files_.list(from, names)) return failure(from, error);
        std::vector<project_id> ids;
        for (const auto& name : names) {
            project_id id = 0;
            if (parse_project_file_name(name, id)) ids.push_back(id);
        }
        std::sort(ids.begin(), ids.end());
        for (std::size_t i = 0; i < ids.size(); ++i) {
            auto error = copy(ids[i]);
            if (!error.empty()) return error;
            if (progress_ && !progress_(i + 1, ids.size())) return "it was given up";
            pause_();
        }
        return {};
    }

    std::string copy(project_id id) {
        const auto name = project_file_name(id);
        std::string text;
        const auto error = files_.read(store_.directory() + "/" + name, text);
        // A client was the first to use a damaged file: it has another name now.
        if (error == std::errc::no_such_file_or_directory) return {};
        if (error) return failure(store_.directory() + "/" + name, error);
        const auto copy = draft_ + "/" + name;
        if (const auto failed = write_new_file(files_, copy, text)) return failure(copy, failed);
        copied_.push_back({name, id, text.size(), checksum_of(text)});
        return {};
    }

    std::string finish() {
        const auto manifest = draft_ + "/" + std::string(manifest_name);
        auto error = write_new_file(files_, manifest, manifest_text(created_, copied_));
        if (!error) error = files_.sync_directory(draft_);
        if (error) return failure(manifest, error);
        error = files_.rename(draft_, path_);
        if (!error) draft_.clear();
        if (!error) error = files_.sync_directory(into_);
        return error ? failure(path_, error) : std::string();
    }

    store& store_;
    file_env& files_;
    const std::string& into_;
    const store::pause_call& pause_;
    const file_progress& progress_;
    time_ms created_ = 0;
    std::string path_;
    std::string draft_;  // empty: there is none to remove
    std::vector<backed_up_file> copied_;
};

}  // namespace

std::string time_stamp(time_ms time) {
    auto text = iso_time_text(time);
    std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
    return text;
}

backup_result make_backup(store& of, const std::string& into, time_ms now,
                          const store::pause_call& pause, const file_progress& progress) {
    auto out = backup_maker(of, into, pause, progress).run(now);
    if (!out.error.empty()) {
        of.counts.backup_failures.fetch_add(1);
        return out;
    }
    of.counts.backups.fetch_add(1);
    of.counts.last_backup_ms.store(now);
    of.counts.last_backup_bytes.store(out.bytes);
    return out;
}

// An old one gets the name of an unfinished one first: what a crash leaves of it is no backup.
std::error_code prune_backups(file_env& files, const std::string& into, std::uint64_t keep) {
    std::vector<std::string> names;
    if (const auto error = files.list(into, names)) return error;
    auto complete = complete_ones(names);
    complete.resize(complete.size() - std::min<std::size_t>(complete.size(), keep));
    for (const auto& name : complete) {
        const auto draft = into + "/" + name + std::string(unfinished);
        if (const auto error = files.rename(into + "/" + name, draft)) return error;
        if (const auto error = files.sync_directory(into)) return error;
        if (const auto error = remove_with_files(files, draft)) return error;
    }
    for (const auto& name : names) {
        if (!is_unfinished_name(name)) continue;
        if (const auto error = remove_with_files(files, into + "/" + name)) return error;
    }
    return files.sync_directory(into);
}

std::uint64_t backup_manifest::bytes() const noexcept {
    return std::accumulate(files.begin(), files.end(), std::uint64_t{0},
                           [](auto sum, const auto& one) { return sum + one.bytes; });
}

backup_manifest read_manifest(file_env& files, const std::string& directory) {
    backup_manifest out;
    const auto path = directory + "/" + std::string(manifest_name);
    std::string text;
    if (const auto error = files.read(path, text)) {
        out.error = failure(path, error) + "; this is no backup, or it is not complete";
        return out;
    }
    const auto tail = before_checksum.size() + hexadecimal_size + behind_checksum.size();
    const auto body = std::string_view(text).substr(0, text.size() - std::min(text.size(), tail));
    const auto end = std::string(before_checksum) + hexadecimal(checksum_of(body)) +
                     std::string(behind_checksum);
    if (std::string_view(text).substr(body.size()) != end) {
        out.error = path + " is damaged: its checksum does not fit";
        return out;
    }
    if (!manifest_reader(text, out).run()) {
        out.error = path + (out.error.empty() ? " is not a manifest" : ": " + out.error);
    }
    return out;
}

latest_backup find_latest_backup(file_env& files, const std::string& into) {
    std::vector<std::string> names;
    if (files.list(into, names)) return {};
    auto complete = complete_ones(names);
    std::reverse(complete.begin(), complete.end());
    for (const auto& name : complete) {
        const auto path = into + "/" + name;
        const auto manifest = read_manifest(files, path);
        if (manifest.error.empty()) return {path, manifest.created_ms, manifest.bytes()};
    }
    return {};
}

std::string read_backed_up(file_env& files, const std::string& directory,
                           const backed_up_file& which, std::string& text) {
    const auto path = directory + "/" + which.name;
    if (const auto error = files.read(path, text)) return failure(path, error);
    if (text.size() != which.bytes) {
        return path + " is damaged: it has " + std::to_string(text.size()) + " bytes, not " +
               std::to_string(which.bytes);
    }
    if (checksum_of(text) != which.checksum) {
        return path + " is damaged: its checksum does not fit";
    }
    return {};
}

backup_manifest verify_backup(file_env& files, const std::string& directory,
                              const file_progress& progress) {
    auto out = read_manifest(files, directory);
    if (!out.error.empty()) return out;
    std::string text;
    for (std::size_t i = 0; i < out.files.size(); ++i) {
        out.error = read_backed_up(files, directory, out.files[i], text);
        if (!out.error.empty()) return out;
        if (progress && !progress(i + 1, out.files.size())) {
            out.error = "it was given up";
            return out;
        }
    }
    return out;
}

}  // namespace sluice::kvstore
