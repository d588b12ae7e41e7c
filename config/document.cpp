#include "config/document.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <unordered_map>
#include <utility>

#include "config/error.hpp"

namespace sluice::config {

namespace {

constexpr std::size_t largest_text = 1024 * 1024;
constexpr std::string_view address_hint =
    "plain values (anchors, aliases and tags are not supported; quote a text that begins with *, & "
    "or !)";

// Builds the tree from the parser's events. Works on events because the library's own tree keeps
// only one of two equal keys.
class builder final : public YAML::EventHandler {
  public:
    explicit builder(const std::string& file_name) : file_(file_name) {}

    node take_root() { return std::move(root_); }

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (std::exchange(seen_document_, true)) {
            fail(mark, "a second document (---)", "one document in the file");
        }
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        check_plain(mark, {}, anchor);
        add(make(node::kind::nothing, mark), mark);
    }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        fail(mark, "an alias", address_hint);
    }
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        check_plain(mark, tag, anchor);
        if (value.find('\0') != std::string::npos) fail(mark, "a zero byte", "text without one");
        if (wants_key()) {
            begin_member(value, mark);
        } else {
            auto scalar = make(node::kind::scalar, mark);
            scalar.text = value;
            add(std::move(scalar), mark);
        }
    }
    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value /*style*/) override {
        check_plain(mark, tag, anchor);
        open(make(node::kind::list, mark), mark);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value /*style*/) override {
        check_plain(mark, tag, anchor);
        open(make(node::kind::mapping, mark), mark);
    }
    void OnMapEnd() override { close(); }

  private:
    struct frame {
        node value;
        bool key_pending = false;  // the last member has a key and waits for its value
        std::unordered_map<std::string, int> lines;  // of the keys seen so far
    };

    [[noreturn]] void fail(const YAML::Mark& mark, std::string found, std::string_view expected) {
        throw config_error(file_, line_of(mark), path(), std::move(found), std::string(expected));
    }

    // Of the value that is being read.
    std::string path() const {
        std::string out;
        for (const auto& [value, key_pending, lines] : open_) {
            if (value.type == node::kind::list) {
                out = item_path(out, value.items.size());
            } else if (key_pending) {
                out = key_path(out, value.members.back().key);
            }
        }
        return out;
    }

    static int line_of(const YAML::Mark& mark) { return mark.line + 1; }

    static node make(node::kind kind, const YAML::Mark& mark) {
        node out;
        out.type = kind;
        out.line = line_of(mark);
        return out;
    }

    void check_plain(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
        if (anchor != YAML::NullAnchor) fail(mark, "an anchor", address_hint);
        // The library gives "?" to plain and "!" to quoted scalars that carry no tag.
        if (!tag.empty() && tag != "?" && tag != "!") fail(mark, "a tag", address_hint);
    }

    bool wants_key() const {
        return !open_.empty() && open_.back().value.type == node::kind::mapping &&
               !open_.back().key_pending;
    }

    void begin_member(const std::string& key, const YAML::Mark& mark) {
        auto& top = open_.back();
        top.value.members.push_back({key, line_of(mark), {}});
        top.key_pending = true;
        const auto [first, is_new] = top.lines.emplace(key, line_of(mark));
        if (!is_new) {
            fail(mark, "the key a second time",
                 "it once (it is in line " + std::to_string(first->second) + " already)");
        }
    }

    void add(node value, const YAML::Mark& mark) {
        if (wants_key()) fail(mark, "a key that is not a text", "a name before the colon");
        if (open_.empty()) {
            root_ = std::move(value);
        } else if (auto& top = open_.back(); top.value.type == node::kind::mapping) {
            // The library places a missing value at whatever comes next.
            if (value.type == node::kind::nothing) value.line = top.value.members.back().line;
            top.value.members.back().value = std::move(value);
            top.key_pending = false;
        } else {
            top.value.items.push_back(std::move(value));
        }
    }

    void open(node value, const YAML::Mark& mark) {
        if (wants_key()) fail(mark, "a key that is not a text", "a name before the colon");
        open_.push_back({std::move(value), false, {}});
    }

    void close() {
        auto done = std::move(open_.back().value);
        open_.pop_back();
        add(std::move(done), YAML::Mark::null_mark());
    }

    const std::string& file_;
    node root_;
    std::vector<frame> open_;
    bool seen_document_ = false;
};

// The library's message without what it quotes from the file, which may be a piece of a secret.
std::string found_text(const YAML::Exception& error) {
    if (error.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR)) return "an alias";
    const auto message = error.msg.substr(0, error.msg.find(':'));
    return "no valid YAML (" + message + ")";
}

bool is_about_alias(const YAML::Exception& error) {
    using namespace YAML::ErrorMsg;
    return error.msg.starts_with(UNKNOWN_ANCHOR) || error.msg == ALIAS_NOT_FOUND ||
           error.msg == CHAR_IN_ALIAS || error.msg == ANCHOR_NOT_FOUND ||
           error.msg == CHAR_IN_ANCHOR;
}

}  // namespace

std::string_view kind_name(node::kind kind) noexcept {
    switch (kind) {
        case node::kind::nothing:
            return "nothing";
        case node::kind::scalar:
            return "a text";
        case node::kind::list:
            return "a list";
        case node::kind::mapping:
            return "a mapping";
    }
    return "?";
}

std::string key_path(const std::string& parent, std::string_view key) {
    constexpr std::string_view simple =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-*";
    const bool plain = !key.empty() && key.find_first_not_of(simple) == std::string_view::npos;
    return parent + (parent.empty() ? "" : ".") + (plain ? std::string(key) : quoted(key));
}

std::string item_path(const std::string& parent, std::size_t index) {
    return parent + "[" + std::to_string(index) + "]";
}

node parse_document(std::string_view yaml, const std::string& file_name) {
    if (yaml.size() > largest_text) {
        throw config_error(file_name, 0, {}, "a file over 1 MiB", "a smaller one");
    }
    builder events(file_name);
    try {
        std::istringstream in{std::string(yaml)};
        YAML::Parser parser(in);
        while (parser.HandleNextDocument(events)) {
        }
    } catch (const YAML::Exception& error) {
        throw config_error(file_name, error.mark.line + 1, {}, found_text(error),
                           is_about_alias(error) ? std::string(address_hint) : "valid YAML");
    }
    return events.take_root();
}

}  // namespace sluice::config
