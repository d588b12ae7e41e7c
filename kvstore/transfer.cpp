#include "kvstore/transfer.hpp"

#include <algorithm>

#include "kvstore/iso_time.hpp"
#include "kvstore/json_string.hpp"
#include "kvstore/json_text.hpp"
#include "kvstore/numbers.hpp"
#include "protocol/base64.hpp"
#include "protocol/bytes.hpp"

namespace sluice::kvstore {

namespace {

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
// Of the file around a project's: an array in an object.
constexpr std::size_t most_nested = json_most_nested + 8;
constexpr const char* which_project =
    "it does not say of which project it is: name one with "
    "--project";

// "name": "…", or "nameBase64" where the bytes are no text.
void append_member(std::string& out, std::string_view name, std::string_view bytes) {
    out += ",\"";
    out += name;
    const auto before = out.size();
    out += "\":";
    if (append_json_string(out, bytes)) return;
    out.resize(before);
    out += "Base64\":\"";
    out += protocol::base64_encode(protocol::as_bytes(bytes));
    out += '"';
}

std::string in_line(std::string_view text, std::size_t offset, std::string_view what) {
    const auto before = text.substr(0, offset);
    return "line " + std::to_string(1 + std::count(before.begin(), before.end(), '\n')) + ": " +
           std::string(what);
}

std::string bytes_of(const json_token& token) {
    if (!token.escaped) return std::string(token.text);
    std::string out;
    append_unescaped(out, token.text);
    return out;
}

bool parse_project_id(std::string_view text, project_id& out) {
    return parse_whole(text, out) && out <= most_project_id;
}

// The members of an object, one after the other: `each` gets the name and reads the value.
template <class Each>
bool members(json_scanner& scanner, Each each) {
    if (!scanner.take('{')) return scanner.fail("an object expected");
    if (scanner.take('}')) return true;
    do {
        json_token name;
        if (scanner.peek() != '"') return scanner.fail("a member's name expected");
        if (!scanner.string(name)) return false;
        if (!scanner.take(':')) return scanner.fail("a colon expected");
        if (!each(bytes_of(name))) return false;
    } while (scanner.take(','));
    return scanner.take('}') || scanner.fail("a comma or } expected");
}

// --- lines ---

class line_reader {
  public:
    explicit line_reader(std::string_view line) : scanner_(line) {}

    std::optional<project_id> project;
    std::optional<std::string> key;
    std::optional<std::string> value;
    kept_value kept;

    // Empty: it went well.
    std::string_view run() {
        if (!members(scanner_, [this](const std::string& name) { return member(name); }) ||
            !scanner_.end_of_text()) {
            return scanner_.fault().what;
        }
        if (!key) return "there is no key";
        if (!value) return "there is no value";
        json_fault fault;
        const auto& bytes = *value;
        if (kept.form == value_form::json &&
            (bytes.empty() || bytes[0] == '"' || !check_json(bytes, json_most_nested, fault))) {
            return "the value is not of the form that the line names";
        }
        kept.value = std::move(*value);
        return {};
    }

  private:
    bool member(const std::string& name) {
        if (name == "project") return read_project_id();
        if (name == "key") return read_text(key);
        if (name == "keyBase64") return read_base64(key);
        if (name == "valueBase64") return read_base64(value);
        if (name == "value") return read_value();
        if (name == "form") return read_form();
        if (name == "expiresAt") return read_time();
        return scanner_.fail("a member that is not known");
    }

    bool read_project_id() {
        std::string_view text;
        project_id id = 0;
        if (!scanner_.number(text)) return false;
        if (!parse_project_id(text, id)) return scanner_.fail("there is no such project");
        project = id;
        return true;
    }

    bool read_text(std::optional<std::string>& out) {
        json_token token;
        if (scanner_.peek() != '"') return scanner_.fail("a string expected");
        if (!scanner_.string(token)) return false;
        out = bytes_of(token);
        return true;
    }

    bool read_base64(std::optional<std::string>& out) {
        if (!read_text(out)) return false;
        out = protocol::base64_decode(*out);
        return out.has_value() || scanner_.fail("that is not base64");
    }

    bool read_value() {
        if (scanner_.peek() == '"') {
            if (kept.form == value_form::undecided) kept.form = value_form::text;
            return read_text(value);
        }
        kept.form = value_form::json;
        return scanner_.value(&value.emplace());
    }

    bool read_form() {
        std::optional<std::string> form;
        if (!read_text(form)) return false;
        if (form != "text" && form != "json") return scanner_.fail("a form that is not known");
        kept.form = form == "json" ? value_form::json : value_form::text;
        return true;
    }

    bool read_time() {
        if (scanner_.peek() == '"') {
            std::optional<std::string> text;
            if (!read_text(text)) return false;
            kept.expires = parse_iso_time(*text);
            return iso_time_text(kept.expires) == text || scanner_.fail("that is not a time");
        }
        std::string_view text;
        if (!scanner_.number(text)) return false;
        return parse_whole(text, kept.expires) || scanner_.fail("that is not a time");
    }

    json_scanner scanner_;
};

std::string read_lines(std::string_view text, std::optional<project_id> into,
                       imported_projects& out) {
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        const auto line = text.substr(at, end - at);
        const auto begin = at;
        at = end + 1;
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        line_reader reader(line);
        if (const auto what = reader.run(); !what.empty()) return in_line(text, begin, what);
        const auto project = into ? into : reader.project;
        if (!project) return in_line(text, begin, which_project);
        auto& to = out[*project];
        to.header.project = *project;
        to.keys.insert_or_assign(std::move(*reader.key), std::move(reader.kept));
    }
    return {};
}

// --- JSON ---

// What can be seen of an object without reading its members' values.
struct outline {
    bool is_whole = false;   // the text's first value is an object, and `end` is behind it
    bool is_single = false;  // nothing follows
    std::size_t end = 0;
    std::size_t members = 0;
    bool has_data = false;      // an object
    bool has_projects = false;  // an array
    bool has_key = false;       // of a line
    bool has_value = false;
    bool has_header = false;  // a member that only a project's file has
    std::size_t projects_at = 0;
    std::optional<project_id> project;
    json_fault fault;
};

outline look_at(std::string_view text) {
    outline out;
    json_scanner scanner(text);
    const auto each = [&](const std::string& name) {
        const char first = scanner.peek();
        ++out.members;
        if (name == "data") out.has_data = first == '{';
        if (name == "projects" && first == '[') {
            out.has_projects = true;
            out.projects_at = scanner.offset();
        }
        if (name == "key" || name == "keyBase64") out.has_key = first == '"';
        if (name == "value" || name == "valueBase64") out.has_value = true;
        if (name == "projectId" || name == "sluice" || name == "createdAt") out.has_header = true;
        if (name != "projectId") return scanner.value(nullptr, most_nested);
        json_token token;
        if (first == '"' ? !scanner.string(token) : !scanner.number(token.text)) return false;
        project_id id = 0;
        if (!parse_project_id(token.text, id)) return scanner.fail("there is no such project");
        out.project = id;
        return true;
    };
    out.is_whole = members(scanner, each);
    out.end = scanner.offset();
    if (out.is_whole) out.is_single = scanner.end_of_text();
    out.fault = scanner.fault();
    return out;
}

// `at`: where the project's object stands in the whole text, for the line that is told.
std::string read_one(std::string_view whole, std::size_t at, std::string_view text,
                     std::optional<project_id> into, imported_projects& out) {
    const auto seen = look_at(text);
    if (!seen.is_whole) return in_line(whole, at + seen.fault.offset, seen.fault.what);
    const auto target = into ? into : seen.project;
    if (!target) return in_line(whole, at, which_project);
    project_content content;
    const auto outcome = read_project(text, seen.project.value_or(*target), content);
    if (outcome.result == project_file_outcome::verdict::damaged) {
        const auto before = whole.substr(0, at);
        const auto line =
            static_cast<std::uint64_t>(std::count(before.begin(), before.end(), '\n'));
        return "line " + std::to_string(line + outcome.line) + ": " + outcome.what;
    }
    auto& to = out[*target];
    to.header.project = *target;
    for (auto& [key, kept] : content.keys)
        to.keys.insert_or_assign(key, std::move(kept));
    return {};
}

std::string read_all(std::string_view text, std::size_t at, std::optional<project_id> into,
                     imported_projects& out) {
    json_scanner scanner(text);
    scanner.seek(at);
    if (!scanner.take('[')) return in_line(text, at, "an array expected");
    if (scanner.take(']')) return {};
    do {
        (void)scanner.peek();
        const auto begin = scanner.offset();
        if (!scanner.value(nullptr, most_nested)) {
            return in_line(text, scanner.fault().offset, scanner.fault().what);
        }
        // A file of sluice's ends with a line's end, and its checksum counts on it.
        const auto one = std::string(text.substr(begin, scanner.offset() - begin)) + "\n";
        auto error = read_one(text, begin, one, into, out);
        if (!error.empty()) return error;
    } while (scanner.take(','));
    return {};
}

// Keys and values are read as those of a project's file are.
std::string read_replit(std::string_view text, std::optional<project_id> into,
                        imported_projects& out) {
    if (!into) return which_project;
    const auto seen = look_at(text);
    if (!seen.is_single) return in_line(text, seen.fault.offset, seen.fault.what);
    const auto wrapped = "{\"data\":" + std::string(text) + "}";
    return read_one(wrapped, 0, wrapped, into, out);
}

transfer_format guess(const outline& seen) {
    using enum transfer_format;
    if (seen.is_whole && !seen.is_single) return lines;
    if (seen.has_key && seen.has_value && !seen.has_data) return lines;
    if (seen.has_projects && seen.members == 1) return json;
    return seen.has_data && (seen.has_header || seen.members == 1) ? json : replit;
}

}  // namespace

void append_key_line(std::string& out, project_id project, std::string_view key,
                     const kept_value& kept) {
    out += "{\"project\":";
    out += std::to_string(project);
    append_member(out, "key", key);
    append_member(out, "value", kept.value);
    if (kept.form == value_form::json) out += ",\"form\":\"json\"";
    if (kept.expires != never) {
        out += ",\"expiresAt\":";
        const auto text = iso_time_text(kept.expires);
        const bool fits = parse_iso_time(text) == kept.expires && kept.expires != 0;
        out += fits ? "\"" + text + "\"" : std::to_string(kept.expires);
    }
    out += "}\n";
}

std::string read_transfer(std::string_view text, transfer_format format,
                          std::optional<project_id> into, imported_projects& out) {
    using enum transfer_format;
    if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
    if (format == lines) return read_lines(text, into, out);
    if (format == replit) return read_replit(text, into, out);
    const auto seen = look_at(text);
    if (!seen.is_whole) {
        return in_line(text, seen.fault.offset,
                       text.empty() ? "the file is empty" : seen.fault.what);
    }
    if (format == automatic) {
        const auto guessed = guess(seen);
        if (guessed != json) return read_transfer(text, guessed, into, out);
    }
    if (!seen.is_single) return in_line(text, seen.fault.offset, seen.fault.what);
    if (seen.has_projects && !seen.has_data) return read_all(text, seen.projects_at, into, out);
    return read_one(text, 0, text, into, out);
}

}  // namespace sluice::kvstore
