// MULTI, EXEC, DISCARD, WATCH, UNWATCH. https://redis.io/docs/manual/transactions/

#include "kvstore/client.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

void multi(call& c) {
    if (c.self.transaction.open) return c.out.error("ERR MULTI calls can not be nested");
    c.self.transaction.open = true;
    c.self.card->queued.store(0, std::memory_order_relaxed);
    c.out.simple("OK");
}

void discard(call& c) {
    if (!c.self.transaction.open) return c.out.error("ERR DISCARD without MULTI");
    c.self.end_transaction();
    c.in.changes.release();
    c.self.unwatch();
    c.out.simple("OK");
}

// Whether a key that is watched has expired since: nobody touched it, but it is gone.
bool watched_key_expired(call& c) {
    for (const auto& one : c.self.watched) {
        if (one.was_expired) continue;
        auto* const in = c.in.changes.held(one.in->id());
        if (in == nullptr) continue;
        const auto* const found = in->keys_table().find(table::hash_of(one.key), one.key);
        if (found != nullptr && found->is_expired(c.now())) return true;
    }
    return false;
}

void run_queued(call& c) {
    auto queued = std::move(c.self.transaction);
    c.self.end_transaction();
    c.self.in_exec = &queued;
    c.out.array(queued.commands.size());
    for (queued.running = 0; queued.running < queued.commands.size(); ++queued.running) {
        const auto& command = queued.commands[queued.running];
        const std::vector<std::string_view> args(command.begin(), command.end());
        const auto* const row = find_called(args);
        call one{args, c.self, c.in, protocol::resp_writer(c.in.reply.text, c.self.version),
                 nullptr};
        if (row->has(data)) {
            if (!c.self.may_use_project(one)) continue;
            one.here = c.in.changes.held(c.self.selected);
        }
        c.self.execute(one, *row);
    }
    c.self.in_exec = nullptr;
}

void exec(call& c) {
    auto& self = c.self;
    if (!self.transaction.open) return c.out.error("ERR EXEC without MULTI");
    const auto end = [&] {
        self.end_transaction();
        c.in.changes.release();
        self.unwatch();
    };
    if (self.transaction.broken) {
        end();
        return c.out.error("EXECABORT Transaction discarded because of previous errors.");
    }
    switch (self.hold_for_transaction(c)) {
        case client::step::done:
            break;
        case client::step::again:
        case client::step::stop:
            return;
        case client::step::answered:
            return end();
    }
    if (self.touched.load(std::memory_order_relaxed) || watched_key_expired(c)) {
        end();
        return c.out.nil_array();
    }
    // Room for all of it, before any of it is done.
    if (self.transaction.writes) {
        const auto before = c.in.reply.here();
        const auto room = self.transaction.bytes + self.transaction.commands.size() * 8192 +
                          self.room_for_copies(c);
        if (!c.reserve(room)) {
            if (c.in.reply.here().all == before.all) return;  // to be run again
            std::string why = c.in.reply.text.substr(before.text + 1);
            c.in.reply.rewind(before);
            end();
            return c.out.error("EXECABORT Transaction discarded because of: " +
                               why.substr(0, why.size() - 2));
        }
    }
    // Its own changes touch nothing; and the watches' projects may be locked while it runs.
    auto watched = std::move(self.watched);
    self.watched.clear();
    run_queued(c);
    c.in.changes.release();
    self.watched = std::move(watched);
    self.unwatch();
}

void watch_keys(call& c) {
    if (c.self.transaction.open) return c.out.error("ERR WATCH inside MULTI is not allowed");
    const auto here = c.in.changes.shared(c.here->id());
    for (const auto key : c.args.subspan(1)) {
        if (here->is_watched_by(key, &c.self.touched)) continue;
        const auto* const found = here->keys_table().find(table::hash_of(key), key);
        const bool was_expired = found != nullptr && found->is_expired(c.now());
        here->add_watch(key, {&c.self.touched, was_expired});
        c.self.watched.push_back({here, std::string(key), was_expired});
    }
    c.self.card->watching.store(static_cast<std::uint32_t>(c.self.watched.size()),
                                std::memory_order_relaxed);
    c.out.simple("OK");
}

void unwatch(call& c) {
    if (!c.self.watched.empty()) {  // EXEC has taken them already
        c.in.changes.release();
        c.self.unwatch();
    }
    c.out.simple("OK");
}

constexpr command rows[] = {
    {"multi", 1, noscript | loading | stale | fast | at_once, 0, 0, 0, multi, "transactions",
     "1.2.0", "Begins a transaction: the commands that follow are queued.", "O(1)"},
    {"exec", 1, noscript | loading | stale | skip_slowlog | at_once, 0, 0, 0, exec, "transactions",
     "1.2.0", "Carries out the commands that were queued since MULTI.",
     "O(N), the queued commands"},
    {"discard", 1, noscript | loading | stale | fast | at_once, 0, 0, 0, discard, "transactions",
     "2.0.0", "Drops the commands that were queued since MULTI.", "O(N)"},
    {"watch", -2, noscript | loading | stale | fast | at_once | data, 1, -1, 1, watch_keys,
     "transactions", "2.2.0", "Lets the next EXEC do nothing if one of these keys changes.",
     "O(1) a key"},
    {"unwatch", 1, noscript | loading | stale | fast, 0, 0, 0, unwatch, "transactions", "2.2.0",
     "Forgets the keys that are watched.", "O(1)"},
};

}  // namespace

std::span<const command> transaction_commands() {
    return rows;
}

}  // namespace sluice::kvstore
