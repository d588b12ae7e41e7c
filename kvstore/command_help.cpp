#include "kvstore/command_help.hpp"

#include <algorithm>

#include "kvstore/client.hpp"

namespace sluice::kvstore {

namespace {

constexpr command_details details[] = {
    {"acl|cat", "[category]", ""},
    {"acl|deluser", "username...", ""},
    {"acl|getuser", "username", ""},
    {"acl|log", "[count | RESET]", ""},
    {"acl|setuser", "username [rule]...", ""},
    {"append", "key value", "RW insert"},
    {"auth", "[username] password", ""},
    {"bgsave", "[SCHEDULE]", ""},
    {"client|caching", "(YES | NO)", ""},
    {"client|kill",
     "(address | (ID client-id | TYPE (NORMAL | MASTER | REPLICA | PUBSUB) | ADDR address | "
     "LADDR address | USER username | SKIPME (YES | NO))...)",
     ""},
    {"client|list", "[TYPE (NORMAL | MASTER | REPLICA | PUBSUB) | ID client-id...]", ""},
    {"client|no-evict", "(ON | OFF)", ""},
    {"client|no-touch", "(ON | OFF)", ""},
    {"client|pause", "timeout [WRITE | ALL]", ""},
    {"client|reply", "(ON | OFF | SKIP)", ""},
    {"client|setinfo", "(LIB-NAME name | LIB-VER version)", ""},
    {"client|setname", "connection-name", ""},
    {"client|tracking", "(ON | OFF) [option]...", ""},
    {"client|unblock", "client-id [TIMEOUT | ERROR]", ""},
    {"command|docs", "[command-name]...", ""},
    {"command|getkeys", "command [arg]...", ""},
    {"command|getkeysandflags", "command [arg]...", ""},
    {"command|info", "[command-name]...", ""},
    {"command|list", "[FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern)]", ""},
    {"config|get", "parameter...", ""},
    {"config|set", "(parameter value)...", ""},
    {"copy", "source destination [DB destination-db] [REPLACE]", "RO access;OW update"},
    {"debug", "subcommand [arg]...", ""},
    {"decr", "key", "RW access update"},
    {"decrby", "key decrement", "RW access update"},
    {"del", "key...", "RM delete"},
    {"echo", "message", ""},
    {"exists", "key...", "RO"},
    {"expire", "key seconds [NX | XX | GT | LT]", "RW update"},
    {"expireat", "key unix-time-seconds [NX | XX | GT | LT]", "RW update"},
    {"expiretime", "key", "RO access"},
    {"flushall", "[ASYNC | SYNC]", ""},
    {"flushdb", "[ASYNC | SYNC]", ""},
    {"get", "key", "RO access"},
    {"getdel", "key", "RW access delete"},
    {"getex",
     "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | "
     "PERSIST]",
     "RW access update"},
    {"getrange", "key start end", "RO access"},
    {"getset", "key value", "RW access update"},
    {"hello", "[protover [AUTH username password] [SETNAME clientname]]", ""},
    {"incr", "key", "RW access update"},
    {"incrby", "key increment", "RW access update"},
    {"incrbyfloat", "key increment", "RW access update"},
    {"info", "[section]...", ""},
    {"keys", "pattern", ""},
    {"latency|graph", "event", ""},
    {"latency|histogram", "[command]...", ""},
    {"latency|history", "event", ""},
    {"latency|reset", "[event]...", ""},
    {"lcs", "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", "RO access"},
    {"lolwut", "[VERSION version]", ""},
    {"memory|usage", "key [SAMPLES count]", "RO"},
    {"mget", "key...", "RO access"},
    {"module|load", "path [arg]...", ""},
    {"module|loadex", "path [arg]...", ""},
    {"module|unload", "name", ""},
    {"move", "key db", "RW access update"},
    {"mset", "(key value)...", "OW update"},
    {"msetnx", "(key value)...", "OW insert"},
    {"object|encoding", "key", "RO"},
    {"object|freq", "key", "RO"},
    {"object|idletime", "key", "RO"},
    {"object|refcount", "key", "RO"},
    {"persist", "key", "RW update"},
    {"pexpire", "key milliseconds [NX | XX | GT | LT]", "RW update"},
    {"pexpireat", "key unix-time-milliseconds [NX | XX | GT | LT]", "RW update"},
    {"pexpiretime", "key", "RO access"},
    {"ping", "[message]", ""},
    {"psetex", "key milliseconds value", "OW update"},
    {"pttl", "key", "RO access"},
    {"rename", "key newkey", "RW access delete;OW update"},
    {"renamenx", "key newkey", "RW access delete;OW insert"},
    {"scan", "cursor [MATCH pattern] [COUNT count] [TYPE type]", ""},
    {"select", "index", ""},
    {"set",
     "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
     "PXAT unix-time-milliseconds | KEEPTTL]",
     "RW access update variable_flags"},
    {"setex", "key seconds value", "OW update"},
    {"setnx", "key value", "OW insert"},
    {"setrange", "key offset value", "RW update"},
    {"shutdown", "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", ""},
    {"slowlog|get", "[count]", ""},
    {"sluice|backup", "directory", ""},
    {"sluice|put", "key value (UNDECIDED | TEXT | JSON) expires-milliseconds", "OW update"},
    {"strlen", "key", "RO"},
    {"substr", "key start end", "RO access"},
    {"swapdb", "index1 index2", ""},
    {"touch", "key...", "RO"},
    {"ttl", "key", "RO access"},
    {"type", "key", "RO"},
    {"unlink", "key...", "RM delete"},
    {"wait", "numreplicas timeout", ""},
    {"watch", "key...", "RO"},
};

constexpr bool is_sorted() {
    for (std::size_t i = 1; i < std::size(details); ++i) {
        if (!(details[i - 1].name < details[i].name)) return false;
    }
    return true;
}
static_assert(is_sorted());  // details_of searches it by halves

constexpr std::uint32_t bit(std::string_view name) {
    for (std::size_t i = 0; i < category_names.size(); ++i) {
        if (category_names[i] == name) return 1U << i;
    }
    return 0;
}

bool is_dangerous(std::string_view name) {
    constexpr std::string_view names[] = {"flushall", "flushdb", "info",  "keys",
                                          "lastsave", "role",    "swapdb"};
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

command_details details_of(std::string_view full_name) noexcept {
    const auto* const at =
        std::lower_bound(std::begin(details), std::end(details), full_name,
                         [](const auto& one, std::string_view name) { return one.name < name; });
    if (at == std::end(details) || at->name != full_name) return {full_name, "", ""};
    return *at;
}

void for_each_command(const std::function<void(const command&)>& what) {
    for (const auto& row : all_commands()) {
        if (row.has(flag::hidden)) continue;
        what(row);
        if (row.parts == nullptr) continue;
        for (const auto& part : row.parts())
            what(part);
    }
}

// As redis-server derives them from flags, and the few that it gives by name.
std::uint32_t categories_of(const command& row) noexcept {
    std::uint32_t out = row.has(flag::fast) ? bit("fast") : bit("slow");
    if (row.has(flag::write)) out |= bit("write");
    if (row.has(flag::readonly)) out |= bit("read");
    if (row.has(flag::admin)) out |= bit("admin") | bit("dangerous");
    if (row.has(flag::pubsub)) out |= bit("pubsub");
    if (is_dangerous(row.name)) out |= bit("dangerous");
    if (row.name == "lastsave" || row.name == "role") out |= bit("admin");
    const bool is_part = row.name.find('|') != std::string_view::npos;
    if (row.parts != nullptr) return out;
    if (row.group == "string") out |= bit("string");
    if (row.group == "transactions") out |= bit("transaction");
    if (row.group == "connection" || row.name == "wait" || row.name.starts_with("command")) {
        out |= bit("connection");
    }
    const bool is_whole_project = row.name == "dbsize" || row.name == "flushall" ||
                                  row.name == "flushdb" || row.name == "swapdb";
    if ((row.group == "generic" && row.name != "wait" && row.name != "object") ||
        is_whole_project || (is_part && row.name.starts_with("object|"))) {
        out |= bit("keyspace");
    }
    return out;
}

std::uint32_t category(std::string_view name) noexcept {
    for (std::size_t i = 0; i < category_names.size(); ++i) {
        if (equals_in_any_case(name, category_names[i])) return 1U << i;
    }
    return 0;
}

void show_help(call& c) {
    const auto* const whole = find_command(c.arg(0));
    const auto in_capitals = [](std::string_view text) {
        std::string out(text);
        for (auto& ch : out) {
            if (ch >= 'a' && ch <= 'z') ch = static_cast<char>(ch - 'a' + 'A');
        }
        return out;
    };
    const auto parts = whole->parts();
    c.out.array(1 + 2 * parts.size());
    c.out.simple(in_capitals(whole->name) +
                 " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for (const auto& part : parts) {
        auto line = in_capitals(part.name.substr(whole->name.size() + 1));
        const auto syntax = details_of(part.name).syntax;
        if (!syntax.empty()) line += " " + std::string(syntax);
        c.out.simple(line);
        c.out.simple("    " + std::string(part.summary));
    }
}

}  // namespace sluice::kvstore
