#include "kvstore/recovery.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "kvstore/log_format.hpp"

namespace sluice::kvstore {

namespace {

constexpr std::size_t sector = 512;
constexpr log_number all_records = std::numeric_limits<log_number>::max();

struct loaded_segment {
    std::string name;
    std::string text;
    segment_header header;
};

// What is behind the first byte that is not of a whole frame.
struct rest_of_segment {
    bool frames_follow = false;
    std::size_t next_frame = 0;
    log_number marked_safe = 0;
};

// Looks at every byte: after damage nobody knows where frames begin. `expected` is the record that
// should have come. Most bytes are told from a frame by the number alone.
rest_of_segment look_behind(std::string_view text, std::size_t from, std::uint64_t salt,
                            log_number expected) {
    rest_of_segment found;
    const auto highest = expected + text.size() / frame_header_bytes;
    for (auto at = from; at + frame_header_bytes <= text.size();) {
        log_number number = 0;
        for (std::size_t i = 8; i-- > 0;) {
            number = number << 8 | static_cast<unsigned char>(text[at + 8 + i]);
        }
        const bool may_be = number == 0 ? text[at] == 8 : number >= expected && number <= highest;
        const auto here = may_be ? read_frame(text.substr(at), salt) : frame{};
        if (here.what == frame::kind::none) {
            ++at;
            continue;
        }
        if (!found.frames_follow) found.next_frame = at;
        found.frames_follow = true;
        if (here.what == frame::kind::mark) {
            found.marked_safe = std::max(found.marked_safe, here.number);
        }
        at += here.bytes;
    }
    return found;
}

// A part that the disk never got, between the bad frame and the next whole one: a sector of zero
// bytes, or zero bytes from the bad frame to the end of its sector. The latter is a page that was
// written when the file ended there; a write ends where a batch ends.
bool has_hole(std::string_view text, std::size_t bad, std::size_t next) {
    for (auto from = bad, stop = (bad / sector + 1) * sector; stop <= next; stop += sector) {
        const auto bytes = text.substr(from, stop - from);
        if (bytes.find_first_not_of('\0') == std::string_view::npos) return true;
        from = stop;
    }
    return false;
}

class log_reader {
  public:
    log_reader(file_env& files, const std::string& directory, const record_visitor& visitor,
               log_number end)
        : files_(files), directory_(directory), visitor_(visitor), end_(end) {}

    log_outcome run() {
        const auto names = find_segments();
        if (!out_.ok() || names.empty()) return std::move(out_);
        loaded_segment current;
        if (!load(names.front().second, names.front().first, current)) return std::move(out_);
        out_.first = current.header.first;
        out_.held = current.header.after;
        for (std::size_t i = 0;; ++i) {
            loaded_segment following;
            const bool is_last = i + 1 == names.size();
            if (!is_last && !load(names[i + 1].second, names[i + 1].first, following)) break;
            if (!read_segment(current, is_last ? nullptr : &following)) break;
            if (is_last) break;
            current = std::move(following);
        }
        return std::move(out_);
    }

  private:
    [[nodiscard]] std::vector<std::pair<log_number, std::string>> find_segments() {
        std::vector<std::pair<log_number, std::string>> found;
        file_status status;
        auto error = files_.status(directory_, status);
        if (!error && !status.exists) return found;
        std::vector<std::string> names;
        if (!error) error = files_.list(directory_, names);
        if (error) {
            out_.problem = directory_ + ": " + error.message();
            return found;
        }
        for (auto& name : names) {
            log_number first = 0;
            if (parse_segment_name(name, first) && first < end_)
                found.emplace_back(first, std::move(name));
        }
        std::sort(found.begin(), found.end());
        return found;
    }

    [[nodiscard]] bool load(const std::string& name, log_number first, loaded_segment& into) {
        into.name = name;
        if (const auto error = files_.read(path_of(name), into.text)) {
            out_.problem = path_of(name) + ": " + error.message();
            return false;
        }
        out_.bytes += into.text.size();
        std::uint32_t version = 0;
        switch (read_segment_header(into.text, into.header, version)) {
            case header_verdict::good:
                if (into.header.first == first) return true;
                out_.problem = path_of(name) + ": the file begins with record " +
                               std::to_string(into.header.first) +
                               ", not with the one of its name; it was renamed or copied. " +
                               "Give it its name back, or move it away";
                return false;
            case header_verdict::unknown_version:
                out_.problem = path_of(name) + ": the log's format is version " +
                               std::to_string(version) + ", and this sluice knows only version " +
                               std::to_string(log_format_version) +
                               ". Start the newer sluice that wrote it";
                return false;
            case header_verdict::damaged:
                break;
        }
        out_.problem = path_of(name) +
                       ": damaged at byte 0: the segment's header is not what was written. " +
                       what_to_do("move this file and all later segments away");
        return false;
    }

    [[nodiscard]] bool read_segment(const loaded_segment& segment,
                                    const loaded_segment* following) {
        const std::string_view text = segment.text;
        // Above it, records are void: they are in the next segment again, or were dropped.
        const auto bound = following != nullptr ? following->header.after : all_records;
        auto expected = segment.header.first;
        std::size_t at = segment_header_bytes;
        while (at < text.size() && expected <= bound) {
            const auto here = read_frame(text.substr(at), segment.header.salt);
            const bool is_record = here.what == frame::kind::record;
            if (here.what == frame::kind::none || (is_record && here.number != expected)) {
                if (!drop_tail(segment, at, expected, following == nullptr)) return false;
                break;
            }
            if (is_record) {
                if (!visitor_(expected, here.payload)) {
                    out_.problem = path_of(segment.name) + ": record " + std::to_string(expected) +
                                   " at byte " + std::to_string(at) +
                                   " is intact but makes no sense to this sluice; a newer one may "
                                   "have written it. " +
                                   what_to_do(cut_at(segment.name, at));
                    return false;
                }
                ++out_.records;
                out_.held = expected++;
            }
            at += here.bytes;
        }
        out_.next = expected;
        if (following == nullptr || out_.held == bound) return true;
        out_.problem =
            path_of(segment.name) + ": it ends with record " + std::to_string(out_.held) +
            ", but " + path_of(following->name) + " goes on after record " + std::to_string(bound) +
            ": a segment is missing or was shortened. " +
            what_to_do("move " + path_of(following->name) + " and all later segments away");
        return false;
    }

    // True: what begins at `at` was never safe, so it may go. Else it is damage.
    [[nodiscard]] bool drop_tail(const loaded_segment& segment, std::size_t at, log_number expected,
                                 bool is_last) {
        const std::string_view text = segment.text;
        const auto behind = look_behind(text, at, segment.header.salt, expected);
        const bool was_safe = behind.marked_safe >= expected;
        if (is_last && !was_safe &&
            (!behind.frames_follow || has_hole(text, at, behind.next_frame))) {
            log_notice notice{path_of(segment.name), at, text.size() - at, {}};
            notice.what = notice.file + ": dropped the last " + std::to_string(notice.bytes) +
                          " bytes, from byte " + std::to_string(at) + " (record " +
                          std::to_string(expected) +
                          ") on: they were being written when sluice or the machine stopped";
            out_.notices.push_back(std::move(notice));
            return true;
        }
        out_.problem = path_of(segment.name) + ": damaged at byte " + std::to_string(at) +
                       ": record " + std::to_string(expected) + " is not what was written" +
                       (was_safe               ? ", although it was safely on the disk. "
                        : behind.frames_follow ? ", and intact data follows it. "
                                               : ", and a later segment goes on after it. ") +
                       what_to_do(cut_at(segment.name, at));
        return false;
    }

    [[nodiscard]] std::string cut_at(const std::string& name, std::size_t at) const {
        return "cut the file there with `truncate -s " + std::to_string(at) + " " + path_of(name) +
               "` and move later segments away";
    }

    static std::string what_to_do(const std::string& second) {
        return "Nothing was changed. Restore the last backup with `sluice kv restore`, or " +
               second + ", which loses what follows; see docs/kv-log.md";
    }

    [[nodiscard]] std::string path_of(const std::string& name) const {
        return directory_ + "/" + name;
    }

    file_env& files_;
    const std::string& directory_;
    const record_visitor& visitor_;
    log_number end_;
    log_outcome out_;
};

}  // namespace

log_outcome read_log(file_env& files, const std::string& directory, const record_visitor& visitor,
                     log_number end) {
    return log_reader{files, directory, visitor, end}.run();
}

}  // namespace sluice::kvstore
