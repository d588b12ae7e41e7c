// Keys as such: they go, get other names, are copied and sent to other projects.
// https://redis.io/commands/?group=generic

#include "kvstore/client.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

void del(call& c) {
    std::int64_t gone = 0;
    for (const auto key : c.args.subspan(1)) {
        if (c.peek(key) == nullptr) continue;
        c.erase(key);
        ++gone;
    }
    c.out.integer(gone);
}

// A key that is named twice counts twice.
void exists(call& c) {
    std::int64_t there = 0;
    for (const auto key : c.args.subspan(1))
        there += c.look(key) != nullptr ? 1 : 0;
    c.out.integer(there);
}

void touch(call& c) {
    std::int64_t there = 0;
    for (const auto key : c.args.subspan(1))
        there += c.read(key) != nullptr ? 1 : 0;
    c.out.integer(there);
}

void type(call& c) {
    c.out.simple(c.look(c.arg(1)) != nullptr ? "string" : "none");
}

// False: it has answered.
bool rename_to(call& c, const entry& from) {
    const auto target = c.arg(2);
    if (c.arg(1) == target) return true;
    auto freed = from.key_size() + from.value_size();
    if (const auto* const old = c.peek(target)) freed += old->key_size() + old->value_size();
    if (!c.may_store_in(*c.here, target, from.value_size(), freed, false)) return false;
    change what;
    what.kind = change_kind::rename;
    what.key = c.arg(1);
    what.value = target;
    c.commit(what);
    return true;
}

void rename_key(call& c) {
    const auto* const from = c.here->use(c.arg(1), c.now());
    if (from == nullptr) return c.no_such_key();
    if (rename_to(c, *from)) c.out.simple("OK");
}

void renamenx(call& c) {
    const auto* const from = c.here->use(c.arg(1), c.now());
    if (from == nullptr) return c.no_such_key();
    if (c.here->use(c.arg(2), c.now()) != nullptr) return c.out.integer(0);
    if (rename_to(c, *from)) c.out.integer(1);
}

// The project that args[i] names, which is held; null: it has answered.
project* named_project(call& c, std::size_t i) {
    std::int64_t id = 0;
    if (!c.integer(i, id)) return nullptr;
    if (id < INT32_MIN || id > INT32_MAX) {
        c.out.error("ERR value is out of range, value must between -2147483648 and 2147483647");
        return nullptr;
    }
    if (id < 0) {
        c.out.error("ERR DB index is out of range");
        return nullptr;
    }
    const auto project = static_cast<project_id>(id);
    // A transaction may hold projects that are not the user's: INFO in it looks at all.
    return c.may_open(project) ? c.in.changes.held(project) : nullptr;
}

constexpr std::string_view same_objects = "ERR source and destination objects are the same";

// Puts a copy of `from` there, its expiry included. False: at once back, it has answered or will be
// run again.
bool store_copy(call& c, const entry& from, project& there, std::string_view key) {
    const auto* const old = there.find(key, c.now());
    const auto freed = old == nullptr ? 0 : old->key_size() + old->value_size();
    if (!c.may_store_in(there, key, from.value_size(), freed, old == nullptr)) return false;
    if (!c.reserve(2 * (key.size() + 64) + from.value_size())) return false;
    change what;
    what.key = key;
    what.value = from.value();
    what.expires = from.expiry();
    what.form = from.form();
    c.in.changes.commit(there, what);
    return true;
}

void copy(call& c) {
    bool replaces = false;
    auto* there = c.here;
    for (std::size_t i = 3; i < c.args.size(); ++i) {
        if (c.is(i, "replace")) {
            replaces = true;
        } else if (c.is(i, "db") && i + 1 < c.args.size()) {
            there = named_project(c, ++i);
            if (there == nullptr) return;
        } else {
            return c.syntax_error();
        }
    }
    if (there == c.here && c.arg(1) == c.arg(2)) return c.out.error(same_objects);
    const auto* const from = c.read(c.arg(1));
    if (from == nullptr) return c.out.integer(0);
    if (!replaces && there->use(c.arg(2), c.now()) != nullptr) return c.out.integer(0);
    if (store_copy(c, *from, *there, c.arg(2))) c.out.integer(1);
}

void move_key(call& c) {
    auto* const there = named_project(c, 2);
    if (there == nullptr) return;
    if (there == c.here) return c.out.error(same_objects);
    const auto* const from = c.here->use(c.arg(1), c.now());
    if (from == nullptr || there->use(c.arg(1), c.now()) != nullptr) return c.out.integer(0);
    if (!store_copy(c, *from, *there, c.arg(1))) return;
    c.erase(c.arg(1));
    c.out.integer(1);
}

constexpr command rows[] = {
    {"del", -2, write | data, 1, -1, 1, del, "generic", "1.0.0", "Removes keys.",
     "O(N), the keys named"},
    {"unlink", -2, write | fast | data, 1, -1, 1, del, "generic", "4.0.0",
     "Removes keys; the same as DEL.", "O(N), the keys named"},
    {"exists", -2, readonly | fast | data, 1, -1, 1, exists, "generic", "1.0.0",
     "Answers how many of the keys there are.", "O(N), the keys named"},
    {"type", 2, readonly | fast | data, 1, 1, 1, type, "generic", "1.0.0",
     "Answers the type of a key's value: string, or none.", "O(1)"},
    {"rename", 3, write | data, 1, 2, 1, rename_key, "generic", "1.0.0",
     "Gives a key another name, in the place of what has that name.", "O(1)"},
    {"renamenx", 3, write | fast | data, 1, 2, 1, renamenx, "generic", "1.0.0",
     "Gives a key another name if no key has that name.", "O(1)"},
    {"copy", -3, write | denyoom | data | several, 1, 2, 1, copy, "generic", "6.2.0",
     "Copies a key, also into another project.", "O(N), the bytes of the value"},
    {"move", 3, write | fast | data | several, 1, 1, 1, move_key, "generic", "1.0.0",
     "Sends a key to another project.", "O(N), the bytes of the value"},
    {"touch", -2, readonly | fast | data, 1, -1, 1, touch, "generic", "3.2.1",
     "Makes keys seem just used, and answers how many there are.", "O(N), the keys named"},
};

}  // namespace

std::span<const command> key_commands() {
    return rows;
}

}  // namespace sluice::kvstore
