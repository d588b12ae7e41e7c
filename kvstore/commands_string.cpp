// Strings: GET and SET in all their forms, several keys at once, parts of values, LCS.
// https://redis.io/commands/?group=string

#include <boost/unordered/unordered_flat_map.hpp>

#include "kvstore/client.hpp"
#include "kvstore/lcs.hpp"
#include "kvstore/set_options.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::uint64_t most_value_size = std::uint64_t{512} << 20;  // proto-max-bulk-len

// --- one value ---

void reply_value(call& c, const entry* found) {
    if (found == nullptr) return c.out.nil();
    c.value(*found);
}

void get(call& c) {
    reply_value(c, c.read(c.arg(1)));
}

void strlen(call& c) {
    const auto* const found = c.read(c.arg(1));
    c.out.integer(found == nullptr ? 0 : static_cast<std::int64_t>(found->value_size()));
}

void getdel(call& c) {
    const auto* const found = c.read(c.arg(1));
    reply_value(c, found);
    if (found != nullptr) c.erase(c.arg(1));
}

void getset(call& c) {
    const auto key = c.arg(1);
    const auto* const old = c.read(key);
    const auto at = c.here->look_up(key);
    if (!c.may_put(at, key, c.arg(2).size())) return;
    reply_value(c, old);
    c.commit_put(at, key, c.arg(2), never);
}

// The time that a client gave. False: it has answered.
bool read_expiry(call& c, std::string_view given, expiry_form form, std::string_view command,
                 time_ms& out) {
    std::int64_t number = 0;
    if (!to_integer(given, number)) {
        c.not_an_integer();
        return false;
    }
    const auto time = expiry_time(number, form, c.now());
    if (!time) {
        c.out.error("ERR invalid expire time in '" + std::string(command) + "' command");
        return false;
    }
    out = *time;
    return true;
}

void set_with_options(call& c, const set_options& options) {
    using enum set_options::condition;
    using enum set_options::lifetime;
    const auto key = c.arg(1);
    const auto value = c.arg(2);
    time_ms expires = never;
    if (options.life == given && !read_expiry(c, options.time, options.form, "set", expires)) {
        return;
    }
    const auto at = c.here->look_up(key);
    const auto* const old = options.get ? c.read(key) : at.live(c.now());
    const bool applies =
        options.only_if == (old == nullptr ? absent : present) || options.only_if == none;
    if (applies && !c.may_put(at, key, value.size())) return;
    if (options.get || !applies) reply_value(c, options.get ? old : nullptr);
    if (!applies) return;
    if (expires <= c.now()) {  // would be gone before anybody sees it
        if (old != nullptr) c.erase(key);
    } else {
        if (options.life == keep && old != nullptr) expires = old->expiry();
        c.commit_put(at, key, value, expires);
    }
    if (!options.get) c.out.simple("OK");
}

void set(call& c) {
    if (c.args.size() == 3) {
        if (c.put(c.arg(1), c.arg(2), never)) c.out.simple("OK");
        return;
    }
    set_options options;
    if (!parse_set_options(c.args.subspan(3), takes_options::of_set, options)) {
        return c.syntax_error();
    }
    set_with_options(c, options);
}

void set_for(call& c, expiry_form form, std::string_view command) {
    time_ms expires = never;
    if (!read_expiry(c, c.arg(2), form, command, expires)) return;
    if (c.put(c.arg(1), c.arg(3), expires)) c.out.simple("OK");
}

void setex(call& c) {
    set_for(c, expiry_form::seconds, "setex");
}

void psetex(call& c) {
    set_for(c, expiry_form::milliseconds, "psetex");
}

void setnx(call& c) {
    const auto at = c.here->look_up(c.arg(1));
    if (at.live(c.now()) != nullptr) return c.out.integer(0);
    if (c.put(at, c.arg(1), c.arg(2), never)) c.out.integer(1);
}

// A key that is not there has no expiry to complain of.
void getex(call& c) {
    using enum set_options::lifetime;
    set_options options;
    if (!parse_set_options(c.args.subspan(2), takes_options::of_getex, options)) {
        return c.syntax_error();
    }
    const auto key = c.arg(1);
    const auto* const found = c.read(key);
    if (found == nullptr) return c.out.nil();
    time_ms expires = never;
    if (options.life == given && !read_expiry(c, options.time, options.form, "getex", expires)) {
        return;
    }
    c.value(*found);
    if (expires <= c.now()) return c.erase(key);
    if (options.life == given || (options.life == persist && found->expires())) {
        change what;
        what.kind = change_kind::expire;
        what.key = key;
        what.expires = expires;
        c.commit(what);
    }
}

// --- several ---

void mget(call& c) {
    const auto keys = c.args.subspan(1);
    c.out.array(keys.size());
    for (const auto key : keys)
        reply_value(c, c.read(key));
}

// Whether all pairs may be put, so that either all are or none; of a key that is named twice the
// last value counts.
bool may_put_pairs(call& c) {
    std::uint64_t bytes = 0;
    for (std::size_t i = 1; i < c.args.size(); i += 2) {
        if (!c.may_have_size(c.arg(i), c.arg(i + 1).size())) return false;
        bytes += c.arg(i).size() + c.arg(i + 1).size();
    }
    const auto& limits = *c.in.settings;
    const auto pairs = c.args.size() / 2;
    if ((limits.max_project_size == 0 || c.here->bytes() + bytes <= limits.max_project_size) &&
        (limits.max_keys == 0 || c.here->keys() + pairs <= limits.max_keys)) {
        return true;  // even if every key were new
    }
    boost::unordered_flat_map<std::string_view, std::size_t> sizes;
    for (std::size_t i = 1; i < c.args.size(); i += 2)
        sizes[c.arg(i)] = c.arg(i + 1).size();
    std::uint64_t keys = 0;
    std::uint64_t added = 0;
    std::uint64_t freed = 0;
    for (const auto& [key, size] : sizes) {
        const auto* const old = c.here->look_up(key).found;
        keys += old == nullptr ? 1 : 0;
        added += size + (old == nullptr ? key.size() : 0);
        freed += old == nullptr ? 0 : old->value_size();
    }
    return c.may_grow(*c.here, added > freed ? added - freed : 0, keys);
}

bool has_pairs(call& c, std::string_view name) {
    if (c.args.size() % 2 == 1) return true;
    c.out.error("ERR wrong number of arguments for '" + std::string(name) + "' command");
    return false;
}

bool put_pairs(call& c) {
    if (!may_put_pairs(c)) return false;
    for (std::size_t i = 1; i < c.args.size(); i += 2)
        c.commit_put(c.here->look_up(c.arg(i)), c.arg(i), c.arg(i + 1), never);
    return true;
}

void mset(call& c) {
    if (has_pairs(c, "mset") && put_pairs(c)) c.out.simple("OK");
}

void msetnx(call& c) {
    if (!has_pairs(c, "msetnx")) return;
    for (std::size_t i = 1; i < c.args.size(); i += 2) {
        if (c.peek(c.arg(i)) != nullptr) return c.out.integer(0);
    }
    if (put_pairs(c)) c.out.integer(1);
}

// --- parts ---

bool may_be_long(call& c, std::uint64_t offset, std::uint64_t size) {
    if (offset <= most_value_size && size <= most_value_size - offset) return true;
    c.out.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

void splice(call& c, std::uint64_t offset, std::string_view bytes) {
    change what;
    what.kind = change_kind::splice;
    what.key = c.arg(1);
    what.offset = offset;
    what.value = bytes;
    c.commit(what);
}

void append(call& c) {
    const auto key = c.arg(1);
    const auto more = c.arg(2);
    const auto at = c.here->look_up(key);
    const auto* const old = at.live(c.now());
    if (old == nullptr) {
        if (c.put(at, key, more, never)) c.out.integer(static_cast<std::int64_t>(more.size()));
        return;
    }
    const auto before = old->value_size();
    const auto after = before + more.size();
    if (!may_be_long(c, before, more.size()) || !c.may_store(key, after, before, false)) return;
    splice(c, before, more);
    c.out.integer(static_cast<std::int64_t>(after));
}

// A gap costs its zero bytes in memory, but not in the log.
void setrange(call& c) {
    std::int64_t offset = 0;
    if (!c.integer(2, offset)) return;
    if (offset < 0) return c.out.error("ERR offset is out of range");
    const auto key = c.arg(1);
    const auto bytes = c.arg(3);
    const auto at = c.here->look_up(key);
    const auto* const old = at.live(c.now());
    const std::uint64_t before = old == nullptr ? 0 : old->value_size();
    if (bytes.empty()) return c.out.integer(static_cast<std::int64_t>(before));
    const auto from = static_cast<std::uint64_t>(offset);
    if (!may_be_long(c, from, bytes.size())) return;
    const auto after = std::max(before, from + bytes.size());
    if (!(old != nullptr ? c.may_store(key, after, before, false) : c.may_put(at, key, after))) {
        return;
    }
    if (old == nullptr && at.found != nullptr) {  // what has expired must not show through
        if (!c.reserve(2 * key.size() + bytes.size() + 256)) return;
        c.erase(key);
    }
    splice(c, from, bytes);
    c.out.integer(static_cast<std::int64_t>(after));
}

void getrange(call& c) {
    std::int64_t first = 0;
    std::int64_t last = 0;
    if (!c.integer(2, first) || !c.integer(3, last)) return;
    const auto* const found = c.read(c.arg(1));
    if (found == nullptr || (first < 0 && last < 0 && first > last)) return c.out.bulk("");
    const auto value = found->value();
    const auto size = static_cast<std::int64_t>(value.size());
    if (first < 0) first = std::max<std::int64_t>(first + size, 0);
    if (last < 0) last = std::max<std::int64_t>(last + size, 0);
    last = std::min(last, size - 1);
    if (first > last) return c.out.bulk("");
    c.out.bulk(
        value.substr(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first + 1)));
}

// --- LCS ---

struct lcs_options {
    bool length = false;
    bool ranges = false;
    bool with_match_length = false;
    std::int64_t least_match = 0;
};

// False: it has answered.
bool read_lcs_options(call& c, lcs_options& out) {
    for (std::size_t i = 3; i < c.args.size(); ++i) {
        if (c.is(i, "idx")) {
            out.ranges = true;
        } else if (c.is(i, "len")) {
            out.length = true;
        } else if (c.is(i, "withmatchlen")) {
            out.with_match_length = true;
        } else if (c.is(i, "minmatchlen") && i + 1 < c.args.size()) {
            if (!c.integer(++i, out.least_match)) return false;
        } else {
            c.syntax_error();
            return false;
        }
    }
    if (!out.ranges || !out.length) return true;
    c.out.error("ERR If you want both the length and indexes, please just use IDX.");
    return false;
}

void reply_ranges(call& c, lcs_result&& found, const lcs_options& options) {
    const auto size = [](const lcs_range& one) {
        return static_cast<std::int64_t>(one.a_last - one.a_first + 1);
    };
    std::erase_if(found.ranges, [&](const auto& one) { return size(one) < options.least_match; });
    const auto pair = [&](std::size_t first, std::size_t last) {
        c.out.array(2);
        c.out.integer(static_cast<std::int64_t>(first));
        c.out.integer(static_cast<std::int64_t>(last));
    };
    c.out.map(2);
    c.out.bulk("matches");
    c.out.array(found.ranges.size());
    for (const auto& one : found.ranges) {
        c.out.array(options.with_match_length ? 3 : 2);
        pair(one.a_first, one.a_last);
        pair(one.b_first, one.b_last);
        if (options.with_match_length) c.out.integer(size(one));
    }
    c.out.bulk("len");
    c.out.integer(found.length);
}

void lcs(call& c) {
    const auto* const a = c.read(c.arg(1));
    const auto* const b = c.read(c.arg(2));
    lcs_options options;
    if (!read_lcs_options(c, options)) return;
    const auto in_a = a == nullptr ? std::string_view() : a->value();
    const auto in_b = b == nullptr ? std::string_view() : b->value();
    if (!lcs_is_possible(in_a.size(), in_b.size())) {
        return c.out.error(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    }
    if (options.ranges) {
        reply_ranges(c, longest_common(in_a, in_b, lcs_wants::ranges), options);
    } else if (options.length) {
        c.out.integer(longest_common(in_a, in_b, lcs_wants::length).length);
    } else {
        c.out.bulk(longest_common(in_a, in_b, lcs_wants::text).text);
    }
}

constexpr command rows[] = {
    {"get", 2, readonly | fast | data, 1, 1, 1, get, "string", "1.0.0",
     "Answers the value of a key.", "O(1)"},
    {"set", -3, write | denyoom | data, 1, 1, 1, set, "string", "1.0.0",
     "Gives a key a value, with options for when and for how long.", "O(1)"},
    {"getex", -2, write | fast | data, 1, 1, 1, getex, "string", "6.2.0",
     "Answers the value of a key and changes when it expires.", "O(1)"},
    {"getdel", 2, write | fast | data, 1, 1, 1, getdel, "string", "6.2.0",
     "Answers the value of a key and removes it.", "O(1)"},
    {"setex", 4, write | denyoom | data, 1, 1, 1, setex, "string", "2.0.0",
     "Gives a key a value for so many seconds.", "O(1)"},
    {"psetex", 4, write | denyoom | data, 1, 1, 1, psetex, "string", "2.6.0",
     "Gives a key a value for so many milliseconds.", "O(1)"},
    {"setnx", 3, write | denyoom | fast | data, 1, 1, 1, setnx, "string", "1.0.0",
     "Gives a key a value unless it has one.", "O(1)"},
    {"getset", 3, write | denyoom | fast | data, 1, 1, 1, getset, "string", "1.0.0",
     "Gives a key a value and answers the one it had.", "O(1)"},
    {"append", 3, write | denyoom | fast | data, 1, 1, 1, append, "string", "2.0.0",
     "Adds bytes to the end of a value.", "O(1) for short values; O(N), the value, at times"},
    {"setrange", 4, write | denyoom | data, 1, 1, 1, setrange, "string", "2.2.0",
     "Overwrites a part of a value, from an offset on.", "O(M), the new bytes and a gap"},
    {"getrange", 4, readonly | data, 1, 1, 1, getrange, "string", "2.4.0",
     "Answers a part of a value.", "O(M), the bytes answered"},
    {"substr", 4, readonly | data, 1, 1, 1, getrange, "string", "1.0.0",
     "Answers a part of a value: the old name of GETRANGE.", "O(M), the bytes answered"},
    {"strlen", 2, readonly | fast | data, 1, 1, 1, strlen, "string", "2.2.0",
     "Answers how many bytes a value has.", "O(1)"},
    {"mget", -2, readonly | fast | data, 1, -1, 1, mget, "string", "1.0.0",
     "Answers the values of several keys.", "O(N), the keys"},
    {"mset", -3, write | denyoom | data, 1, -1, 2, mset, "string", "1.0.1",
     "Gives several keys values, all at once.", "O(N), the keys"},
    {"msetnx", -3, write | denyoom | data, 1, -1, 2, msetnx, "string", "1.0.1",
     "Gives several keys values, all at once, unless one of them has one.", "O(N), the keys"},
    {"lcs", -3, readonly | data, 1, 2, 1, lcs, "string", "7.0.0",
     "Answers the longest subsequence that two values have in common.",
     "O(N*M), the lengths of both"},
};

}  // namespace

std::span<const command> string_commands() {
    return rows;
}

}  // namespace sluice::kvstore
