// When keys end: EXPIRE and its kin, PERSIST, TTL and its kin.
// Times are kept in milliseconds since 1970; a change says the time, never how long until then.

#include <limits>

#include "kvstore/client.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

struct conditions {
    bool nx = false;
    bool xx = false;
    bool gt = false;
    bool lt = false;

    // Whether the new time may take the place of the old one; a key without one never ends.
    [[nodiscard]] bool allow(time_ms fresh, time_ms old) const noexcept {
        const bool has_one = old != never;
        if ((nx && has_one) || (xx && !has_one)) return false;
        if (gt && (!has_one || fresh <= old)) return false;
        return !(lt && has_one && fresh >= old);
    }
};

// False: it has answered.
bool read_conditions(call& c, conditions& out) {
    for (std::size_t i = 3; i < c.args.size(); ++i) {
        if (c.is(i, "nx")) {
            out.nx = true;
        } else if (c.is(i, "xx")) {
            out.xx = true;
        } else if (c.is(i, "gt")) {
            out.gt = true;
        } else if (c.is(i, "lt")) {
            out.lt = true;
        } else {
            const auto shown = c.arg(i).substr(0, c.arg(i).find('\0'));
            c.out.error("ERR Unsupported option " + std::string(shown));
            return false;
        }
    }
    if (out.nx && (out.xx || out.gt || out.lt)) {
        c.out.error("ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (out.gt && out.lt) {
        c.out.error("ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

// args[2] as a time in milliseconds since 1970. False: it has answered.
bool read_time(call& c, std::int64_t unit_ms, time_ms base, std::string_view name, time_ms& out) {
    if (!c.integer(2, out)) return false;
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    constexpr auto least = std::numeric_limits<std::int64_t>::min();
    const bool fits =
        out <= most / unit_ms && out >= least / unit_ms && out * unit_ms <= most - base;
    if (!fits) {
        c.out.error("ERR invalid expire time in '" + std::string(name) + "' command");
        return false;
    }
    out = out * unit_ms + base;
    if (out == never) --out;  // a millisecond less than asked for, in 292 million years
    return true;
}

void expire_key(call& c, std::int64_t unit_ms, time_ms base, std::string_view name) {
    conditions only;
    time_ms at = 0;
    if (!read_conditions(c, only) || !read_time(c, unit_ms, base, name, at)) return;
    const auto key = c.arg(1);
    const auto* const found = c.here->use(key, c.now());
    if (found == nullptr || !only.allow(at, found->expiry())) return c.out.integer(0);
    if (at <= c.now()) {
        c.erase(key);
    } else {
        change what;
        what.kind = change_kind::expire;
        what.key = key;
        what.expires = at;
        c.commit(what);
    }
    c.out.integer(1);
}

void expire(call& c) {
    expire_key(c, 1000, c.now(), "expire");
}
void pexpire(call& c) {
    expire_key(c, 1, c.now(), "pexpire");
}
void expireat(call& c) {
    expire_key(c, 1000, 0, "expireat");
}
void pexpireat(call& c) {
    expire_key(c, 1, 0, "pexpireat");
}

void persist(call& c) {
    const auto* const found = c.here->use(c.arg(1), c.now());
    if (found == nullptr || !found->expires()) return c.out.integer(0);
    change what;
    what.kind = change_kind::expire;
    what.key = c.arg(1);
    c.commit(what);
    c.out.integer(1);
}

std::int64_t to_seconds(time_ms ms) noexcept {
    return ms / 1000 + (ms % 1000 >= 500 ? 1 : 0);
}

// The time that is left, or with `base` 0 the time itself.
void tell_expiry(call& c, time_ms base, bool in_seconds) {
    const auto* const found = c.look(c.arg(1));
    if (found == nullptr) return c.out.integer(-2);
    if (!found->expires()) return c.out.integer(-1);
    const auto ms = found->expiry() - base;
    c.out.integer(in_seconds ? to_seconds(ms) : ms);
}

void ttl(call& c) {
    tell_expiry(c, c.now(), true);
}
void pttl(call& c) {
    tell_expiry(c, c.now(), false);
}
void expiretime(call& c) {
    tell_expiry(c, 0, true);
}
void pexpiretime(call& c) {
    tell_expiry(c, 0, false);
}

constexpr std::uint32_t writes = write | fast | data;
constexpr std::uint32_t reads = readonly | fast | data;

constexpr command rows[] = {
    {"expire", -3, writes, 1, 1, 1, expire, "generic", "1.0.0",
     "Lets a key end in so many seconds.", "O(log N), the keys that end"},
    {"pexpire", -3, writes, 1, 1, 1, pexpire, "generic", "2.6.0",
     "Lets a key end in so many milliseconds.", "O(log N), the keys that end"},
    {"expireat", -3, writes, 1, 1, 1, expireat, "generic", "1.2.0",
     "Lets a key end at a time in seconds since 1970.", "O(log N), the keys that end"},
    {"pexpireat", -3, writes, 1, 1, 1, pexpireat, "generic", "2.6.0",
     "Lets a key end at a time in milliseconds since 1970.", "O(log N), the keys that end"},
    {"persist", 2, writes, 1, 1, 1, persist, "generic", "2.2.0", "Lets a key stay for good.",
     "O(log N), the keys that end"},
    {"ttl", 2, reads, 1, 1, 1, ttl, "generic", "1.0.0", "Answers in how many seconds a key ends.",
     "O(1)"},
    {"pttl", 2, reads, 1, 1, 1, pttl, "generic", "2.6.0",
     "Answers in how many milliseconds a key ends.", "O(1)"},
    {"expiretime", 2, reads, 1, 1, 1, expiretime, "generic", "7.0.0",
     "Answers when a key ends, in seconds since 1970.", "O(1)"},
    {"pexpiretime", 2, reads, 1, 1, 1, pexpiretime, "generic", "7.0.0",
     "Answers when a key ends, in milliseconds since 1970.", "O(1)"},
};

}  // namespace

std::span<const command> expiry_commands() {
    return rows;
}

}  // namespace sluice::kvstore
