// Whole projects: DBSIZE, FLUSHDB, FLUSHALL, SWAPDB, and saving: SAVE, BGSAVE, LASTSAVE.

#include <utility>

#include "kvstore/client.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

void dbsize(call& c) {
    c.out.integer(static_cast<std::int64_t>(c.here->keys()));
}

// ASYNC and SYNC are the same: what is in memory goes at once.
bool is_flush(call& c) {
    if (c.args.size() == 1 || (c.args.size() == 2 && (c.is(1, "async") || c.is(1, "sync")))) {
        return true;
    }
    c.syntax_error();
    return false;
}

void clear(call& c, project& which) {
    if (which.keys() == 0) return;
    change what;
    what.kind = change_kind::clear;
    c.in.changes.commit(which, what);
}

void flushdb(call& c) {
    if (!is_flush(c)) return;
    clear(c, *c.here);
    c.out.simple("OK");
}

// For those only who may open every project.
void flushall(call& c) {
    if (!is_flush(c)) return;
    if (!c.self.is_control && !c.self.who->all_projects) {
        return c.out.error("NOPERM user '" + c.self.who->name +
                           "' may not empty every project: use FLUSHDB in its own");
    }
    c.in.changes.commit_clear_all();
    c.out.simple("OK");
}

// All numbers first, then their range, then the right to them: as Redis goes about it.
bool project_indexes(call& c, project_id& first, project_id& second) {
    std::int64_t ids[2] = {};
    for (std::size_t i = 0; i < 2; ++i) {
        if (!to_integer(c.arg(i + 1), ids[i]) || ids[i] < INT32_MIN || ids[i] > INT32_MAX) {
            c.out.error(i == 0 ? "ERR invalid first DB index" : "ERR invalid second DB index");
            return false;
        }
    }
    if (ids[0] < 0 || ids[1] < 0) {
        c.out.error("ERR DB index is out of range");
        return false;
    }
    first = static_cast<project_id>(ids[0]);
    second = static_cast<project_id>(ids[1]);
    return c.may_open(first) && c.may_open(second);
}

// A copy of everything, since two files cannot change places in one step: each of the two may be
// saved before the other when the power goes.
void swapdb(call& c) {
    project_id first = 0;
    project_id second = 0;
    if (!project_indexes(c, first, second)) return;
    auto* const a = c.in.changes.held(first);
    auto* const b = c.in.changes.held(second);
    if (a != b) {
        const auto room = a->bytes() + b->bytes() + (a->keys() + b->keys()) * 64;
        if (!c.reserve(room)) return;
        struct copied {
            std::string key, value;
            time_ms expires;
            value_form form;
        };
        const auto take = [](project& from) {
            std::vector<copied> out;
            out.reserve(from.keys());
            from.keys_table().for_each([&](const entry& e) {
                out.push_back({std::string(e.key()), std::string(e.value()), e.expiry(), e.form()});
            });
            return out;
        };
        const auto of_a = take(*a);
        const auto of_b = take(*b);
        const auto give = [&](project& to, const std::vector<copied>& what) {
            clear(c, to);
            for (const auto& one : what) {
                change put;
                put.key = one.key;
                put.value = one.value;
                put.expires = one.expires;
                put.form = one.form;
                c.in.changes.commit(to, put);
            }
        };
        give(*a, of_b);
        give(*b, of_a);
    }
    c.out.simple("OK");
}

constexpr std::string_view busy = "ERR Background save already in progress";

void save(call& c) {
    await_job(c, busy, [&c](const auto& wake) { return c.in.outside.start_saving(wake); });
}

void bgsave(call& c) {
    if (c.args.size() > 2 || (c.args.size() == 2 && !c.is(1, "schedule"))) {
        return c.syntax_error();
    }
    if (c.in.outside.start_saving([] {}) == nullptr) return c.out.error(busy);
    c.out.simple("Background saving started");
}

void lastsave(call& c) {
    c.out.integer(c.in.db.last_save_ms() / 1000);
}

constexpr command rows[] = {
    {"dbsize", 1, readonly | fast | data, 0, 0, 0, dbsize, "server", "1.0.0",
     "Answers how many keys the project has.", "O(1)"},
    {"flushdb", -1, write | data, 0, 0, 0, flushdb, "server", "1.0.0",
     "Removes every key of the project.", "O(N)"},
    {"flushall", -1, write | everyone, 0, 0, 0, flushall, "server", "1.0.0",
     "Removes every key of every project.", "O(N)"},
    {"swapdb", 3, write | fast | several, 0, 0, 0, swapdb, "server", "4.0.0",
     "Lets two projects change places.", "O(N), the keys of both"},
    {"save", 1, admin | noscript | no_multi, 0, 0, 0, save, "server", "1.0.0",
     "Writes the files of all projects that changed, and waits for it.", "O(N)"},
    {"bgsave", -1, admin | noscript, 0, 0, 0, bgsave, "server", "1.0.0",
     "Begins to write the files of all projects that changed.", "O(1)"},
    {"lastsave", 1, loading | stale | fast, 0, 0, 0, lastsave, "server", "1.0.0",
     "Answers when a project's file was last written, in seconds since 1970.", "O(1)"},
};

}  // namespace

std::span<const command> database_commands() {
    return rows;
}

void await_job(call& c, std::string_view busy_now, const job_start& start) {
    auto& self = c.self;
    if (self.pending == nullptr) {
        auto started = start(*self.waker);
        if (started == nullptr) return c.out.error(busy_now);
        return self.await(std::move(started));
    }
    if (!self.pending->done.load(std::memory_order_acquire)) return self.await(self.pending);
    const auto done = std::exchange(self.pending, nullptr);
    if (!done->error.empty()) return c.out.error("ERR " + done->error);
    c.out.simple(done->text.empty() ? "OK" : done->text);
}

}  // namespace sluice::kvstore
