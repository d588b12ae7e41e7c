#include "kvstore/project_file.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <charconv>
#include <deque>
#include <optional>
#include <system_error>
#include <vector>

#include "kvstore/iso_time.hpp"
#include "kvstore/json_string.hpp"
#include "kvstore/json_text.hpp"
#include "kvstore/numbers.hpp"
#include "protocol/base64.hpp"

namespace sluice::kvstore {

namespace {

constexpr std::string_view mark = "$base64";
constexpr std::string_view key_mark = "$base64:";
constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

// The last lines of a file, around the checksum's digits.
constexpr std::string_view before_checksum = "    \"checksum\": \"";
constexpr std::string_view behind_checksum = "\"\n  }\n}\n";
constexpr std::size_t tail_size =
    before_checksum.size() + hexadecimal_size + behind_checksum.size();

std::string checksum_text(std::string_view bytes) {
    return hexadecimal(XXH3_64bits(bytes.data(), bytes.size()));
}

template <class Integer>
void append_number(std::string& out, Integer value) {
    std::array<char, 24> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    out.append(text.data(), end);
}

std::string base64(std::string_view bytes) {
    return protocol::base64_encode(
        {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

// What a string token stands for: a view into the text, or into `scratch` if it has escapes.
std::string_view bytes_of(const json_token& token, std::string& scratch) {
    if (!token.escaped) return token.text;
    scratch.clear();
    append_unescaped(scratch, token.text);
    return scratch;
}

// The bytes of {"$base64": "…"} if that is what comes next: the scanner is behind it then, else
// where it was.
std::optional<std::string> take_marked(json_scanner& scanner) {
    json_scanner ahead = scanner;
    json_token token;
    std::string scratch;
    if (!ahead.take('{') || ahead.peek() != '"' || !ahead.string(token)) return std::nullopt;
    if (bytes_of(token, scratch) != mark || !ahead.take(':')) return std::nullopt;
    if (ahead.peek() != '"' || !ahead.string(token) || !ahead.take('}')) return std::nullopt;
    auto bytes = protocol::base64_decode(bytes_of(token, scratch));
    if (bytes) scanner = ahead;
    return bytes;
}

void append_key(std::string& out, std::string_view key) {
    if (!key.starts_with(key_mark) && append_json_string(out, key)) return;
    out += '"';
    out += key_mark;
    out += base64(key);
    out += '"';
}

// False, and `out` as it was, if these bytes would not come back from a JSON value.
bool append_json_value(std::string& out, std::string_view value) {
    if (value.empty() || value.front() == '"') return false;
    if (value.front() == '{') {
        json_scanner scanner(value);
        if (take_marked(scanner)) return false;
    }
    if (pretty_json(value, 2, out, value.size() * 16 + 256)) return true;
    std::string compact;
    json_fault fault;
    if (!compact_json(value, compact, fault) || compact != value) return false;
    out += value;  // its lines would be too long
    return true;
}

void append_value(std::string& out, const stored_entry& entry) {
    const bool json = entry.form == value_form::json ||
                      (entry.form == value_form::undecided && is_canonical_json(entry.value));
    if (json && append_json_value(out, entry.value)) return;
    if (append_json_string(out, entry.value)) return;
    out += "{\n      \"$base64\": \"";
    out += base64(entry.value);
    out += "\"\n    }";
}

struct key_hash {
    using is_avalanching = void;
    std::size_t operator()(std::string_view key) const noexcept {
        return XXH3_64bits(key.data(), key.size());
    }
};

struct expiring_key {
    std::string_view key;
    time_ms time;
};

class file_reader {
  public:
    file_reader(std::string_view text, project_id expected, project_header& header,
                entry_sink& sink) noexcept
        : text_(text), scanner_(text), expected_(expected), header_(header), sink_(sink) {}

    project_file_outcome run();

  private:
    enum class member : std::uint8_t { project, data, created, updated, sluice, unknown };

    // The member `data` is passed over first: what `sluice` says about expiry stands behind it.
    bool read_frame();
    bool read_member();
    bool read_project();
    bool read_time(time_ms& out);
    bool read_sluice();
    bool read_format();
    bool read_covers();
    bool read_expires();
    bool read_data();
    bool read_value(stored_entry& entry);
    time_ms expiry_of(std::string_view key);
    std::string_view key_of(const json_token& token, std::string& scratch);

    // `each` is called before each value and reads it; the scanner is at the object.
    template <class Each>
    bool members(json_token& name, Each each);

    static member member_of(std::string_view name) noexcept;
    [[nodiscard]] bool is_as_written() const;
    [[nodiscard]] project_file_outcome damage(const json_fault& fault) const;

    std::string_view text_;
    json_scanner scanner_;
    project_id expected_;
    project_header& header_;
    entry_sink& sink_;
    std::array<bool, 5> seen_{};
    bool format_known_ = false;
    bool covers_known_ = false;
    std::size_t data_begin_ = 0;
    std::size_t data_end_ = 0;
    // What expires, in the order of the file, and by key once the data comes in another order.
    std::vector<expiring_key> expires_;
    std::size_t next_expiring_ = 0;
    boost::unordered_flat_map<std::string_view, std::size_t, key_hash> expires_by_key_;
    std::deque<std::string> unescaped_;  // keys of expires_ that are not in the text as they are
    std::string key_scratch_;
    std::string value_scratch_;
};

template <class Each>
bool file_reader::members(json_token& name, Each each) {
    if (!scanner_.take('{')) return scanner_.fail("an object expected");
    if (scanner_.take('}')) return true;
    do {
        if (scanner_.peek() != '"') return scanner_.fail("a member's name expected");
        if (!scanner_.string(name)) return false;
        if (!scanner_.take(':')) return scanner_.fail("a colon expected");
        if (!each()) return false;
    } while (scanner_.take(','));
    return scanner_.take('}') || scanner_.fail("a comma or } expected");
}

project_file_outcome file_reader::run() {
    using enum project_file_outcome::verdict;
    header_ = {.project = expected_};
    if (text_.starts_with(byte_order_mark)) scanner_.seek(byte_order_mark.size());
    const auto start = scanner_.offset();
    if (!read_frame()) {
        // A quote too many in `data` shows only somewhere behind it: name the first mistake.
        auto fault = scanner_.fault();
        json_fault syntax;
        if (!check_json(text_.substr(start), json_most_nested + 2, syntax) &&
            start + syntax.offset < fault.offset) {
            fault = {start + syntax.offset, syntax.what};
        }
        return damage(fault);
    }
    scanner_.seek(data_begin_);
    if (!read_data()) return damage(scanner_.fault());
    return {is_as_written() ? intact : edited, 0, {}};
}

project_file_outcome file_reader::damage(const json_fault& fault) const {
    const auto before = text_.substr(0, fault.offset);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    return {project_file_outcome::verdict::damaged, static_cast<std::uint64_t>(line),
            text_.empty() ? "the file is empty" : std::string(fault.what)};
}

// A single flipped bit can hide either the member `sluice` or the lines at the end, not both.
bool file_reader::is_as_written() const {
    const bool ours = seen_[static_cast<std::size_t>(member::sluice)];
    const auto body = text_.substr(0, text_.size() - std::min(text_.size(), tail_size));
    const auto tail = text_.substr(body.size());
    const bool has_tail = tail.size() == tail_size && tail.starts_with(before_checksum) &&
                          tail.ends_with(behind_checksum);
    if (!ours || !has_tail) return ours == has_tail;
    return tail.substr(before_checksum.size(), hexadecimal_size) == checksum_text(body);
}

file_reader::member file_reader::member_of(std::string_view name) noexcept {
    using enum member;
    if (name == "projectId") return project;
    if (name == "data") return data;
    if (name == "createdAt") return created;
    if (name == "updatedAt") return updated;
    return name == "sluice" ? sluice : unknown;
}

bool file_reader::read_frame() {
    json_token name;
    const auto each = [&] {
        const auto which = member_of(bytes_of(name, key_scratch_));
        if (which != member::unknown) {
            auto& seen = seen_[static_cast<std::size_t>(which)];
            if (seen) return scanner_.fail("a member of the file that was there before");
            seen = true;
        }
        switch (which) {
            case member::project:
                return read_project();
            case member::data:
                if (scanner_.peek() != '{') return scanner_.fail("the data is not an object");
                data_begin_ = scanner_.offset();
                if (!scanner_.skip_unchecked()) return false;
                data_end_ = scanner_.offset();
                return true;
            case member::created:
                return read_time(header_.created_ms);
            case member::updated:
                return read_time(header_.updated_ms);
            case member::sluice:
                return read_sluice();
            case member::unknown:
                break;
        }
        return scanner_.value(nullptr);
    };
    if (!members(name, each) || !scanner_.end_of_text()) return false;
    if (data_end_ != 0) return true;
    scanner_.seek(0);
    return scanner_.fail("there is no member data");
}

bool file_reader::read_project() {
    const char first = scanner_.peek();
    const auto at = scanner_.offset();
    json_token token;
    if (first == '"' ? !scanner_.string(token) : !scanner_.number(token.text)) return false;
    project_id found = 0;
    if (parse_whole(token.text, found) && found == expected_) return true;
    scanner_.seek(at);
    return scanner_.fail("the projectId is not that of the file's name");
}

bool file_reader::read_time(time_ms& out) {
    if (scanner_.peek() != '"') return scanner_.value(nullptr);
    json_token token;
    if (!scanner_.string(token)) return false;
    out = parse_iso_time(token.text);
    return true;
}

bool file_reader::read_sluice() {
    if (scanner_.peek() != '{') return scanner_.fail("the member sluice is not an object");
    json_token name;
    const auto each = [&] {
        const auto which = bytes_of(name, key_scratch_);
        if (which == "format") return read_format();
        if (which == "covers") return read_covers();
        if (which == "expires") return read_expires();
        return scanner_.value(nullptr);  // the checksum is looked for at the end of the text
    };
    if (!members(name, each)) return false;
    if (!format_known_) return scanner_.fail("the member sluice has no format");
    return covers_known_ || scanner_.fail("the member sluice has no covers");
}

bool file_reader::read_format() {
    constexpr std::uint64_t newest = 1;
    (void)scanner_.peek();
    const auto at = scanner_.offset();
    std::string_view text;
    std::uint64_t format = 0;
    if (!scanner_.number(text)) return false;
    const bool whole = parse_whole(text, format) && format != 0;
    format_known_ = whole && format <= newest;
    if (format_known_) return true;
    scanner_.seek(at);
    return scanner_.fail(whole ? "the format is newer than this sluice"
                               : "there is no such format");
}

bool file_reader::read_covers() {
    (void)scanner_.peek();
    const auto at = scanner_.offset();
    json_token token;
    if (!scanner_.string(token)) return false;
    covers_known_ = parse_whole(token.text, header_.covers);
    if (covers_known_) return true;
    scanner_.seek(at);
    return scanner_.fail("covers is not the number of a log record");
}

bool file_reader::read_expires() {
    if (scanner_.peek() != '{') return scanner_.fail("expires is not an object");
    json_token name;
    return members(name, [&] {
        std::string scratch;
        auto key = key_of(name, scratch);
        if (key.data() != name.text.data()) key = unescaped_.emplace_back(key);
        (void)scanner_.peek();
        const auto at = scanner_.offset();
        std::string_view text;
        if (!scanner_.number(text)) return false;
        time_ms time = never;
        if (!parse_whole(text, time)) {
            scanner_.seek(at);
            return scanner_.fail("an expiry that is not a time in milliseconds");
        }
        expires_.push_back({key, time});
        return true;
    });
}

bool file_reader::read_data() {
    json_token name;
    const auto each = [&] {
        stored_entry entry;
        entry.key = key_of(name, key_scratch_);
        if (!read_value(entry)) return false;
        if (!expires_.empty()) entry.expires = expiry_of(entry.key);
        sink_.on_entry(entry);
        return true;
    };
    if (!members(name, each)) return false;
    return scanner_.offset() == data_end_ || scanner_.fail("the data does not end");
}

time_ms file_reader::expiry_of(std::string_view key) {
    if (next_expiring_ == expires_.size() || expires_[next_expiring_].key != key) {
        if (expires_by_key_.empty()) {
            expires_by_key_.reserve(expires_.size());
            for (std::size_t i = 0; i < expires_.size(); ++i)
                expires_by_key_[expires_[i].key] = i;
        }
        const auto found = expires_by_key_.find(key);
        if (found == expires_by_key_.end()) return never;
        next_expiring_ = found->second;
    }
    return expires_[next_expiring_++].time;
}

bool file_reader::read_value(stored_entry& entry) {
    entry.form = value_form::json;
    const char first = scanner_.peek();
    switch (first) {
        case '"': {
            json_token token;
            if (!scanner_.string(token)) return false;
            entry.value = bytes_of(token, value_scratch_);
            entry.form = value_form::text;
            return true;
        }
        case '{':
            if (auto bytes = take_marked(scanner_)) {
                value_scratch_ = std::move(*bytes);
                entry.value = value_scratch_;
                entry.form = value_form::undecided;
                return true;
            }
            [[fallthrough]];
        case '[':
            value_scratch_.clear();
            if (!scanner_.value(&value_scratch_)) return false;
            entry.value = value_scratch_;
            return true;
        default:
            if (first == '-' || (first >= '0' && first <= '9')) {
                return scanner_.number(entry.value);
            }
            return scanner_.literal(entry.value);
    }
}

std::string_view file_reader::key_of(const json_token& token, std::string& scratch) {
    const auto key = bytes_of(token, scratch);
    if (!key.starts_with(key_mark)) return key;
    auto bytes = protocol::base64_decode(key.substr(key_mark.size()));
    if (!bytes) return key;
    scratch = std::move(*bytes);
    return scratch;
}

}  // namespace

project_file_writer::project_file_writer(std::string& out, const project_header& header)
    : out_(out), header_(header) {
    out_ = "{\n  \"projectId\": ";
    append_number(out_, header_.project);
    out_ += ",\n  \"data\": {";
}

void project_file_writer::add(const stored_entry& entry) {
    out_ += entries_++ == 0 ? "\n    " : ",\n    ";
    append_key(out_, entry.key);
    out_ += ": ";
    append_value(out_, entry);
    if (entry.expires == never) return;
    expires_ += expires_.empty() ? "\n      " : ",\n      ";
    append_key(expires_, entry.key);
    expires_ += ": ";
    append_number(expires_, entry.expires);
}

void project_file_writer::finish() {
    if (entries_ != 0) out_ += "\n  ";
    out_ += "},\n  \"createdAt\": \"";
    out_ += iso_time_text(header_.created_ms);
    out_ += "\",\n  \"updatedAt\": \"";
    out_ += iso_time_text(header_.updated_ms);
    out_ += "\",\n  \"sluice\": {\n    \"format\": 1,\n    \"covers\": \"";
    append_number(out_, header_.covers);
    out_ += "\",\n    \"expires\": {";
    out_ += expires_;
    if (!expires_.empty()) out_ += "\n    ";
    out_ += "},\n";
    const auto checksum = checksum_text(out_);
    out_ += before_checksum;
    out_ += checksum;
    out_ += behind_checksum;
}

project_file_outcome read_project_file(std::string_view text, project_id expected,
                                       project_header& header, entry_sink& sink) {
    return file_reader(text, expected, header, sink).run();
}

std::string project_file_name(project_id project) {
    return "project-" + std::to_string(project) + ".json";
}

bool parse_project_file_name(std::string_view name, project_id& out) {
    constexpr std::string_view front = "project-";
    constexpr std::string_view back = ".json";
    if (!name.starts_with(front) || !name.ends_with(back)) return false;
    if (name.size() < front.size() + back.size()) return false;
    project_id found = 0;
    const auto digits = name.substr(front.size(), name.size() - front.size() - back.size());
    if (!parse_whole(digits, found) || found > most_project_id) return false;
    if (project_file_name(found) != name) return false;
    out = found;
    return true;
}

}  // namespace sluice::kvstore
