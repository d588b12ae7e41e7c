// COMMAND: the table of commands as redis-server 7.0 gives it to clients: ten elements a command
// (INFO), documents for redis-cli (DOCS), names (LIST) and the keys of a command line (GETKEYS).

#include <optional>

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"
#include "kvstore/command_syntax.hpp"
#include "kvstore/glob.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::uint32_t usual = loading | stale;

struct shown_flag {
    std::uint32_t bit;
    std::string_view name;
};
constexpr shown_flag shown_flags[] = {
    {write, "write"},
    {readonly, "readonly"},
    {denyoom, "denyoom"},
    {admin, "admin"},
    {pubsub, "pubsub"},
    {noscript, "noscript"},
    {loading, "loading"},
    {stale, "stale"},
    {skip_monitor, "skip_monitor"},
    {skip_slowlog, "skip_slowlog"},
    {fast, "fast"},
    {no_auth, "no_auth"},
    {no_multi, "no_multi"},
};

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> out;
    while (!text.empty()) {
        const auto size = std::min(text.find(at), text.size());
        out.push_back(text.substr(0, size));
        text.remove_prefix(std::min(size + 1, text.size()));
    }
    return out;
}

void put_key_spec(protocol::resp_writer& out, std::string_view flags, int first, int last,
                  int step) {
    out.map(3);
    out.bulk("flags");
    const auto words = split(flags, ' ');
    out.set(words.size());
    for (const auto word : words)
        out.simple(word);
    out.bulk("begin_search");
    out.map(2);
    out.bulk("type");
    out.bulk("index");
    out.bulk("spec");
    out.map(1);
    out.bulk("index");
    out.integer(first);
    out.bulk("find_keys");
    out.map(2);
    out.bulk("type");
    out.bulk("range");
    out.bulk("spec");
    out.map(3);
    out.bulk("lastkey");
    out.integer(last < 0 ? last : last - first);
    out.bulk("keystep");
    out.integer(step);
    out.bulk("limit");
    out.integer(0);
}

void put_key_specs(protocol::resp_writer& out, const command& row) {
    if (row.first_key == 0) return out.array(0);
    const auto specs = split(details_of(row.name).keys, ';');
    if (specs.size() < 2) {
        out.array(1);
        return put_key_spec(out, specs.empty() ? "RW" : specs[0], row.first_key, row.last_key,
                            row.key_step);
    }
    out.array(specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i) {
        const auto at = row.first_key + static_cast<int>(i);
        put_key_spec(out, specs[i], at, at, 1);
    }
}

void put_info(protocol::resp_writer& out, const command& row) {
    out.array(10);
    out.bulk(row.name);
    out.integer(row.arity);
    std::size_t count = 0;
    for (const auto& one : shown_flags)
        count += row.has(one.bit) ? 1 : 0;
    out.set(count);
    for (const auto& one : shown_flags) {
        if (row.has(one.bit)) out.simple(one.name);
    }
    out.integer(row.first_key);
    out.integer(row.last_key);
    out.integer(row.key_step);
    const auto categories = categories_of(row);
    count = 0;
    for (std::size_t i = 0; i < category_names.size(); ++i)
        count += categories >> i & 1U;
    out.set(count);
    for (std::size_t i = 0; i < category_names.size(); ++i) {
        if ((categories >> i & 1U) != 0) out.simple("@" + std::string(category_names[i]));
    }
    out.array(0);  // tips are for clusters
    put_key_specs(out, row);
    if (row.parts == nullptr) return out.array(0);
    out.array(row.parts().size());
    for (const auto& part : row.parts())
        put_info(out, part);
}

void put_arguments(protocol::resp_writer& out, const std::vector<syntax_node>& nodes);

void put_argument(protocol::resp_writer& out, const syntax_node& node) {
    const bool has_flags = node.optional || node.multiple;
    out.map(2U + (node.token.empty() ? 0U : 1U) + (has_flags ? 1U : 0U) +
            (node.inside.empty() ? 0U : 1U));
    out.bulk("name");
    out.bulk(node.name);
    out.bulk("type");
    switch (node.what) {
        case syntax_node::kind::value:
            out.bulk("string");
            break;
        case syntax_node::kind::token:
            out.bulk("pure-token");
            break;
        case syntax_node::kind::one_of:
            out.bulk("oneof");
            break;
        case syntax_node::kind::block:
            out.bulk("block");
            break;
    }
    if (!node.token.empty()) {
        out.bulk("token");
        out.bulk(node.token);
    }
    if (has_flags) {
        out.bulk("flags");
        out.set((node.optional ? 1U : 0U) + (node.multiple ? 1U : 0U));
        if (node.optional) out.simple("optional");
        if (node.multiple) out.simple("multiple");
    }
    if (!node.inside.empty()) {
        out.bulk("arguments");
        put_arguments(out, node.inside);
    }
}

void put_arguments(protocol::resp_writer& out, const std::vector<syntax_node>& nodes) {
    out.array(nodes.size());
    for (const auto& node : nodes)
        put_argument(out, node);
}

void put_docs(protocol::resp_writer& out, const command& row) {
    const auto arguments = parse_syntax(details_of(row.name).syntax);
    out.bulk(row.name);
    out.map(3U + (row.complexity.empty() ? 0U : 1U) + (arguments.empty() ? 0U : 1U) +
            (row.parts == nullptr ? 0U : 1U));
    out.bulk("summary");
    out.bulk(row.summary);
    out.bulk("since");
    out.bulk(row.since);
    out.bulk("group");
    out.bulk(row.group);
    if (!row.complexity.empty()) {
        out.bulk("complexity");
        out.bulk(row.complexity);
    }
    if (!arguments.empty()) {
        out.bulk("arguments");
        put_arguments(out, arguments);
    }
    if (row.parts == nullptr) return;
    out.bulk("subcommands");
    out.map(row.parts().size());
    for (const auto& part : row.parts())
        put_docs(out, part);
}

std::vector<const command*> shown_commands() {
    std::vector<const command*> out;
    for (const auto& row : all_commands()) {
        if (!row.has(hidden)) out.push_back(&row);
    }
    return out;
}

const command* find_shown(std::string_view name) {
    const auto* const row = find_by_full_name(name);
    return row == nullptr || row->has(hidden) ? nullptr : row;
}

void all(call& c) {
    const auto rows = shown_commands();
    c.out.array(rows.size());
    for (const auto* const row : rows)
        put_info(c.out, *row);
}

void info(call& c) {
    if (c.args.size() == 2) return all(c);
    c.out.array(c.args.size() - 2);
    for (const auto name : c.args.subspan(2)) {
        const auto* const row = find_shown(name);
        if (row == nullptr) {
            c.out.nil();
        } else {
            put_info(c.out, *row);
        }
    }
}

void docs(call& c) {
    std::vector<const command*> rows;
    if (c.args.size() == 2) rows = shown_commands();
    for (const auto name : c.args.subspan(2)) {
        const auto* const row = find_shown(name);
        if (row != nullptr) rows.push_back(row);
    }
    c.out.map(rows.size());
    for (const auto* const row : rows)
        put_docs(c.out, *row);
}

void count(call& c) {
    c.out.integer(static_cast<std::int64_t>(shown_commands().size()));
}

void list(call& c) {
    std::vector<std::string_view> names;
    if (c.args.size() == 2) {
        for (const auto* const row : shown_commands())
            names.push_back(row->name);
    } else if (c.args.size() == 5 && c.is(2, "filterby") && c.is(3, "aclcat")) {
        const auto wanted = category(c.arg(4));
        for_each_command([&](const command& row) {
            if ((categories_of(row) & wanted) != 0) names.push_back(row.name);
        });
    } else if (c.args.size() == 5 && c.is(2, "filterby") && c.is(3, "pattern")) {
        for_each_command([&](const command& row) {
            if (glob_matches(c.arg(4), row.name)) names.push_back(row.name);
        });
    } else if (!(c.args.size() == 5 && c.is(2, "filterby") && c.is(3, "module"))) {
        return c.syntax_error();
    }
    c.out.array(names.size());
    for (const auto name : names)
        c.out.bulk(name);
}

// The row of the command line from the second word on, and which of its words are keys.
struct line_keys {
    const command* row = nullptr;
    std::vector<std::string_view> keys;
};

std::optional<line_keys> find_keys(call& c) {
    const auto line = c.args.subspan(2);
    const auto fail = [&c](std::string_view text) {
        c.out.error(text);
        return std::nullopt;
    };
    line_keys out;
    out.row = find_called(line);
    if (out.row == nullptr || out.row->has(hidden)) return fail("ERR Invalid command specified");
    if (out.row->first_key == 0) return fail("ERR The command has no key arguments");
    const auto given = static_cast<std::ptrdiff_t>(line.size());
    if (out.row->arity > 0 ? given != out.row->arity : given < -out.row->arity) {
        return fail("ERR Invalid number of arguments specified for command");
    }
    const auto last = out.row->last_key < 0 ? given + out.row->last_key : out.row->last_key;
    for (auto i = static_cast<std::ptrdiff_t>(out.row->first_key); i <= last;
         i += out.row->key_step) {
        out.keys.push_back(line[static_cast<std::size_t>(i)]);
    }
    return out;
}

void getkeys(call& c) {
    const auto found = find_keys(c);
    if (!found) return;
    c.out.array(found->keys.size());
    for (const auto key : found->keys)
        c.out.bulk(key);
}

// SET is the one whose flags depend on its arguments: with GET it reads the key too.
std::string_view key_flags(const command& row, std::span<const std::string_view> line) {
    if (row.name != "set") return details_of(row.name).keys;
    for (std::size_t i = 3; i < line.size(); ++i) {
        if (equals_in_any_case(line[i], "get")) return "RW access update";
    }
    return "OW update";
}

void getkeysandflags(call& c) {
    const auto found = find_keys(c);
    if (!found) return;
    const auto specs = split(key_flags(*found->row, c.args.subspan(2)), ';');
    c.out.array(found->keys.size());
    for (std::size_t i = 0; i < found->keys.size(); ++i) {
        c.out.array(2);
        c.out.bulk(found->keys[i]);
        const auto words = specs.empty() ? specs : split(specs[std::min(i, specs.size() - 1)], ' ');
        c.out.set(words.size());
        for (const auto word : words)
            c.out.simple(word);
    }
}

constexpr command parts[] = {
    {"command|count", 2, usual, 0, 0, 0, count, "server", "2.8.13",
     "Answers how many commands there are.", "O(1)"},
    {"command|docs", -2, usual, 0, 0, 0, docs, "server", "7.0.0", "Documents commands.",
     "O(N), the commands"},
    {"command|getkeys", -4, usual, 0, 0, 0, getkeys, "server", "2.8.13",
     "Answers which words of a command line are keys.", "O(N), the words"},
    {"command|getkeysandflags", -4, usual, 0, 0, 0, getkeysandflags, "server", "7.0.0",
     "Answers which words of a command line are keys, and what is done to them.",
     "O(N), the words"},
    {"command|help", 2, usual, 0, 0, 0, show_help, "server", "5.0.0", "Prints this help.", "O(1)"},
    {"command|info", -2, usual, 0, 0, 0, info, "server", "2.8.13", "Describes commands.",
     "O(N), the commands"},
    {"command|list", -2, usual, 0, 0, 0, list, "server", "7.0.0", "Lists the commands' names.",
     "O(N), the commands"},
};

std::span<const command> all_parts() {
    return parts;
}

constexpr command rows[] = {
    {"command", -1, usual, 0, 0, 0, all, "server", "2.8.13", "Describes all commands.",
     "O(N), the commands", 0, all_parts},
};

}  // namespace

std::span<const command> command_commands() {
    return rows;
}

}  // namespace sluice::kvstore
