// Random lives of a store: three clients write to three projects while files are saved, the disk
// fills, writes and syncs fail, and everything ends at any file operation. What comes back must be
// a moment of the history, none of whose answered writes is missing and none of whose transactions
// is torn. A program that fails is shortened and printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <sstream>

#include "support/kv_world.hpp"

namespace sluice::test {
namespace {

using config::fsync_policy;
using kvstore::log_number;
using namespace std::chrono_literals;

enum class deed {
    command,  // `client` sends `words`, one pipeline
    log,      // the log works for `amount` milliseconds
    save,     // project `amount`
    save_all,
    maintain,
    expire,
    wait,        // `amount` milliseconds, in which the log does nothing
    fail_one,    // the operation `amount` from now on
    fail_syncs,  // until heal
    fill_disk,
    heal,   // the disk's failures, and it has room
    kill,   // the process
    power,  // the machine
    close,  // an orderly end
};

struct step {
    deed what = deed::command;
    std::size_t client = 0;
    std::vector<std::string> commands;  // sent in one go
    std::uint64_t amount = 0;
};

struct program {
    std::uint64_t seed = 0;
    fsync_policy policy = fsync_policy::always;
    std::vector<step> steps;
    std::vector<step> in_pauses;  // commands that come while something is saved, one by one
    std::uint64_t dies_at = ~std::uint64_t{0};  // file operation, from the first start on
    bool dies_by_power = true;
};

std::string shown(const step& one) {
    static const char* const names[] = {"command", "log",  "save",     "save_all",   "maintain",
                                        "expire",  "wait", "fail_one", "fail_syncs", "fill_disk",
                                        "heal",    "kill", "power",    "close"};
    std::string out = names[static_cast<int>(one.what)];
    if (one.what == deed::command) {
        out += " " + std::to_string(one.client) + ":";
        for (const auto& command : one.commands)
            out += " " + (command.size() > 60 ? command.substr(0, 60) + "…" : command) + ";";
    } else {
        out += " " + std::to_string(one.amount);
    }
    return out;
}

std::string shown(const program& what) {
    std::ostringstream out;
    out << "seed " << what.seed << ", policy " << static_cast<int>(what.policy) << ", dies at "
        << static_cast<std::int64_t>(what.dies_at) << (what.dies_by_power ? " (power)" : " (kill)")
        << "\n";
    for (const auto& one : what.steps)
        out << "  " << shown(one) << "\n";
    for (const auto& one : what.in_pauses)
        out << "  in a pause: " << shown(one) << "\n";
    return out.str();
}

// --- making programs ---

class maker {
  public:
    explicit maker(std::uint64_t seed) : random_(seed) {}

    program make(fsync_policy policy, std::size_t steps, bool with_failures, bool with_ends) {
        program out;
        out.policy = policy;
        for (std::size_t i = 0; i < steps; ++i)
            out.steps.push_back(any_step(with_failures, with_ends));
        for (int i = 0; i < 12; ++i)
            out.in_pauses.push_back(command());
        return out;
    }
    std::uint64_t below(std::uint64_t n) { return random_() % n; }

  private:
    step any_step(bool with_failures, bool with_ends) {
        const auto dice = below(100);
        step out;
        if (dice < 62) return command();
        if (dice < 75) return {deed::log, 0, {}, below(1200)};
        if (dice < 79) return {deed::save, 0, {}, 1 + below(3)};
        if (dice < 81) return {deed::save_all, 0, {}, 0};
        if (dice < 85) return {deed::maintain, 0, {}, 0};
        if (dice < 87) return {deed::expire, 0, {}, 0};
        if (dice < 91) return {deed::wait, 0, {}, below(4) == 0 ? 12000 : below(400)};
        if (dice < 96) {
            if (!with_failures) return command();
            const auto kind = below(6);
            if (kind < 2) return {deed::fail_one, 0, {}, below(12)};
            if (kind < 3) return {deed::fail_syncs, 0, {}, 0};
            if (kind < 4) return {deed::fill_disk, 0, {}, below(3000)};
            return {deed::heal, 0, {}, 0};
        }
        if (!with_ends) return {deed::log, 0, {}, 30};
        const deed ends[] = {deed::kill, deed::power, deed::close, deed::power};
        return {ends[below(4)], 0, {}, 0};
    }

    step command() {
        step out;
        out.client = below(3);
        out.commands.push_back("SELECT " + project());
        const auto dice = below(40);
        if (dice < 3) {
            auto& all = out.commands;
            all.emplace_back("MULTI");
            const auto value = std::to_string(below(1000));
            all.push_back("SET pair " + value);
            all.push_back(single());
            all.push_back("SELECT " + project());
            all.push_back("SET pair " + value);
            if (below(6) == 0) all.emplace_back("FLUSHALL");
            if (below(4) == 0) all.push_back("SET late " + value);
            all.emplace_back("EXEC");
            return out;
        }
        if (dice == 3) {
            out.commands.emplace_back("FLUSHALL");
        } else if (dice == 4) {
            out.commands.emplace_back("FLUSHDB");
        } else if (dice == 5) {
            out.commands.push_back("SWAPDB " + project() + " " + project());
        } else {
            out.commands.push_back(single());
            if (below(5) == 0) out.commands.push_back(single());
        }
        return out;
    }

    std::string single() {
        switch (below(17)) {
            case 0:
                return "APPEND " + key() + " " + text();
            case 1:
                return "SETRANGE " + key() + " " + std::to_string(below(200)) + " " + text();
            case 2:
            case 3:
                return "INCR count" + std::to_string(below(2));
            case 4:
                return "DEL " + key() + " " + key();
            case 5:
                return "EXPIRE " + key() + " " + std::to_string(below(20));
            case 6:
                return "PEXPIRE " + key() + " " + std::to_string(1 + below(800));
            case 7:
                return "RENAME " + key() + " " + key();
            case 8:
                return "COPY " + key() + " " + key() + " DB " + project() +
                       (below(2) == 0 ? " REPLACE" : "");
            case 9:
                return "MOVE " + key() + " " + project();
            case 10:
                return "GET " + key();
            case 11:
                return "PERSIST " + key();
            case 12:
                return "SET " + key() + " " + text() + " PX " + std::to_string(1 + below(5000));
            case 13:
                return "SET " + key() + " " + std::string(9000 + below(50000), letter());
            default:
                return "SET " + key() + " " + text();
        }
    }

    char letter() { return static_cast<char>('a' + below(26)); }
    std::string key() { return std::string(1, static_cast<char>('p' + below(8))); }
    std::string project() { return std::to_string(1 + below(3)); }
    std::string text() { return std::string(1 + below(below(4) == 0 ? 400 : 8), letter()); }

    std::mt19937_64 random_;
};

// --- running them ---

using state = std::map<kvstore::project_id, kv_world::content>;

state without_expired(const state& from, kvstore::time_ms now) {
    state out;
    for (const auto& [id, keys] : from) {
        for (const auto& [key, value] : keys)
            if (value.expires > now) out[id][key] = value;
    }
    return out;
}

std::string difference(const state& is, const state& should) {
    std::ostringstream out;
    const auto list = [&](const char* what, const state& a, const state& b) {
        for (const auto& [id, keys] : a) {
            for (const auto& [key, value] : keys) {
                const auto there = b.find(id);
                if (there != b.end()) {
                    const auto at = there->second.find(key);
                    if (at != there->second.end() && at->second == value) continue;
                }
                out << "    " << what << " " << id << ":" << key << " = "
                    << value.bytes.substr(0, 20) << " (" << value.bytes.size() << ", expires "
                    << (value.expires == kvstore::never ? 0 : value.expires % 100000000) << ")\n";
            }
        }
    };
    list("is    ", is, should);
    list("should", should, is);
    return out.str();
}

class run {
  public:
    explicit run(const program& what) : what_(what), world_(what.seed) {
        world_.settings.fsync = what.policy;
        world_.settings.checkpoint_interval = 300ms;
        world_.settings.project_idle_timeout = 10s;
        world_.segment_bytes = 20'000;
        world_.automatic.log = false;
        world_.on_pause = [this] { pause(); };
        world_.files.die_at(what.dies_at);
        history_.push_back({});
    }

    // Empty: everything held.
    std::string go() {
        begin();
        for (const auto& one : what_.steps) {
            if (!wrong_.empty()) return wrong_;
            if (world_.files.dead() || !world_.is_running()) {
                end(what_.dies_by_power && world_.files.dead() ? deed::power : deed::kill);
                begin();
                if (!wrong_.empty()) return wrong_;
            }
            last_ = &one;
            carry_out(one);
        }
        if (wrong_.empty()) {
            end(what_.dies_by_power ? deed::power : deed::kill);
            begin();
        }
        if (wrong_.empty()) go_on_normally();
        return wrong_;
    }
    [[nodiscard]] std::uint64_t operations() const { return world_.files.operations(); }
    [[nodiscard]] std::size_t refused() const { return refused_; }
    [[nodiscard]] std::size_t answered() const { return answered_; }

  private:
    struct moment {
        state there;
        log_number number = 0;  // the log's last
    };

    struct owed {               // a reply that has not come yet
        std::size_t needs = 0;  // the moment that must be there when it comes
        bool is_read = false;
    };

    void complain(const std::string& text) {
        if (!wrong_.empty()) return;
        wrong_ = text + "\n  at " + (last_ == nullptr ? "the start" : shown(*last_));
    }

    void begin() {
        if (!world_.start()) {
            if (!world_.files.dead()) {
                if (failing_) {  // it was not its day
                    world_.files.heal();
                    world_.files.set_capacity(~std::uint64_t{0});
                    failing_ = false;
                    world_.kill();
                    if (world_.start()) return recover();
                }
                return complain("the start was refused: " + world_.problem);
            }
            return;
        }
        recover();
    }

    // What is there must be a moment of the history that is not too early.
    void recover() {
        state there;
        for (kvstore::project_id id = 1; id <= 3; ++id) {
            there[id] = world_.loaded(id);
            if (world_.files.dead()) return;
            const auto one = world_.db->find(id);
            if (one->state != kvstore::project::residence::resident) {
                if (failing_) continue;
                return complain("project " + std::to_string(id) + " is refused: " + one->why);
            }
        }
        there = without_expired(there, world_.now);
        for (auto i = must_; i < history_.size(); ++i) {
            if (without_expired(history_[i].there, world_.now) != there) continue;
            history_ = {{there, world_.db->log().last()}};
            must_ = 0;
            changed_.clear();
            for (int c = 0; c < 3; ++c) {
                clients_[c] = &world_.connect();
                owed_[c].reset();
            }
            return;
        }
        std::string text = "what came back is no moment of the history from " +
                           std::to_string(must_) + " to " + std::to_string(history_.size() - 1);
        for (auto i = must_; i < history_.size(); ++i) {
            if (history_.size() - i > 4 && i > must_ + 2) continue;
            text += "\n  moment " + std::to_string(i) + ":\n" +
                    difference(there, without_expired(history_[i].there, world_.now));
        }
        complain(text);
    }

    // What must be there is what the log had made safe, and never less than what was answered.
    void end(deed how) {
        if (world_.is_running()) {
            collect();
            const auto& log = world_.db->log();
            const auto synced = log.synced();
            const auto durable = how == deed::power ? synced : std::max(synced, log.safe());
            std::size_t safe = 0;
            for (std::size_t i = 0; i < history_.size(); ++i)
                if (history_[i].number <= durable) safe = i;
            if (acknowledged_ > safe) {
                complain("moment " + std::to_string(acknowledged_) +
                         " was answered for, but only " + std::to_string(safe) + " is safe");
            }
            must_ = std::max(safe, acknowledged_);
        }
        acknowledged_ = 0;
        if (how == deed::power) {
            world_.power_failure();
        } else {
            world_.kill();
        }
        failing_ = false;
        // A full disk stays full.
        world_.files.set_capacity(~std::uint64_t{0});
    }

    void carry_out(const step& one) {
        switch (one.what) {
            case deed::command:
                return command(one);
            case deed::log:
                world_.automatic.log = true;
                world_.pass(std::chrono::milliseconds(one.amount));
                world_.automatic.log = false;
                return collect();
            case deed::save:
                (void)world_.save(static_cast<kvstore::project_id>(one.amount));
                return collect();
            case deed::save_all:
                (void)world_.save_all();
                return collect();
            case deed::maintain:
                world_.maintain();
                return collect();
            case deed::expire:
                world_.db->expire(world_.now);
                return note();
            case deed::wait:
                world_.now += static_cast<kvstore::time_ms>(one.amount);
                world_.mono += std::chrono::milliseconds(one.amount);
                return;
            case deed::fail_one:
                failing_ = true;
                return world_.files.fail_operation(
                    one.amount,
                    std::make_error_code(one.amount % 3 == 0 ? std::errc::no_space_on_device
                                                             : std::errc::io_error));
            case deed::fail_syncs:
                failing_ = true;
                return world_.files.fail_all(faulty_files::operation::sync,
                                             std::make_error_code(std::errc::io_error));
            case deed::fill_disk:
                failing_ = true;
                return world_.files.set_capacity(world_.files.used() + one.amount);
            case deed::heal:
                world_.files.heal();
                world_.files.set_capacity(~std::uint64_t{0});
                failing_ = false;
                return;
            case deed::kill:
            case deed::power:
                end(one.what);
                return begin();
            case deed::close:
                return close();
        }
    }

    void close() {
        collect();
        if (world_.close()) {
            must_ = history_.size() - 1;
        } else {
            // It must have tried; what is in the log is there.
            must_ = acknowledged_;
        }
        acknowledged_ = 0;
        if (world_.files.dead()) return end_dead();
        world_.kill();
        failing_ = false;
        world_.files.set_capacity(~std::uint64_t{0});
        begin();
    }
    void end_dead() {
        if (what_.dies_by_power) {
            world_.power_failure();
        } else {
            world_.kill();
        }
        failing_ = false;
        begin();
    }

    void command(const step& one) {
        auto& by = *clients_[one.client];
        if (!by.is_idle()) return;  // it waits for its last reply
        std::string bytes;
        for (const auto& text : one.commands)
            bytes += kv_world::resp(text);
        by.feed(bytes);
        by.work();
        while (by.waits() == kv_peer::waiting::wake) {
            world_.settle();
            if (world_.loads_waiting() == 0 && by.waits() == kv_peer::waiting::wake) break;
        }
        flushes_ =
            std::find(one.commands.begin(), one.commands.end(), "FLUSHALL") != one.commands.end();
        const auto before = history_.size();
        note();
        flushes_ = false;
        std::size_t needs = history_.size() - 1;
        if (history_.size() == before) {  // what it read must be there
            needs = 0;
            for (const auto& text : one.commands) {
                if (text.starts_with("SWAPDB")) needs = 0;  // does not look at the selected one
                if (text.starts_with("SELECT ")) {
                    needs =
                        std::max(needs, changed_[static_cast<kvstore::project_id>(text[7] - '0')]);
                }
            }
        }
        owed_[one.client] = owed{needs, history_.size() == before};
        collect();
    }

    // One more moment of the history, if there was a record; else nothing may have changed.
    void note() {
        if (!world_.is_running()) return;
        auto& before = history_.back();
        moment next{before.there, world_.db->log().last()};
        const bool has_record = next.number != before.number;
        if (has_record && flushes_) next.there.clear();
        for (kvstore::project_id id = 1; id <= 3; ++id) {
            if (auto here = world_.resident(id)) next.there[id] = std::move(*here);
        }
        const bool same =
            without_expired(next.there, world_.now) == without_expired(before.there, world_.now);
        if (!has_record && !same) {
            return complain("data changed without a record:\n" +
                            difference(without_expired(next.there, world_.now),
                                       without_expired(before.there, world_.now)));
        }
        if (!has_record) return;
        for (kvstore::project_id id = 1; id <= 3; ++id) {
            const auto was = without_expired({{id, before.there[id]}}, world_.now);
            const auto is = without_expired({{id, next.there[id]}}, world_.now);
            if (is != was) changed_[id] = history_.size();
        }
        history_.push_back(std::move(next));
    }

    // Which replies have come out since.
    void collect() {
        if (!world_.is_running()) return;
        note();
        for (int c = 0; c < 3; ++c) {
            if (clients_[c] == nullptr || !owed_[c] || !clients_[c]->is_idle()) continue;
            const auto text = clients_[c]->take();
            const bool is_refused = text.find("-MISCONF") != std::string::npos ||
                                    text.find("-EXECABORT") != std::string::npos;
            if (is_refused) {
                ++refused_;
            } else {
                ++answered_;
                // Otherwise a reply promises nothing about a crash. While the log is broken, reads
                // go on, also of what is not safe.
                const bool is_read = owed_[c]->is_read && world_.db->log().refusing();
                if (what_.policy == fsync_policy::always && !is_read) {
                    acknowledged_ = std::max(acknowledged_, owed_[c]->needs);
                }
            }
            owed_[c].reset();
        }
    }

    void pause() {
        if (world_.files.dead() || ++pauses_ > 500) {
            if (pauses_ > 20000) complain("saving never ends");
            return;
        }
        if (in_pauses_ < what_.in_pauses.size()) command(what_.in_pauses[in_pauses_++]);
    }

    // After all that, with a healthy disk, it must be a store like any other.
    void go_on_normally() {
        if (world_.files.dead()) return;
        world_.files.heal();
        world_.files.set_capacity(~std::uint64_t{0});
        world_.automatic.log = true;
        world_.pass(3s);
        auto& by = world_.connect();
        if (world_.send(by, "SET p again") != "+OK" || world_.send(by, "GET p") != "$5|again") {
            complain("it does not take writes again: " + world_.send(by, "SET p again"));
        }
    }

    const program& what_;
    kv_world world_;
    std::vector<moment> history_;
    std::size_t must_ = 0;
    std::size_t acknowledged_ = 0;
    kv_peer* clients_[3] = {};
    std::optional<owed> owed_[3];
    std::map<kvstore::project_id, std::size_t> changed_;  // the last moment that changed it
    std::string wrong_;
    const step* last_ = nullptr;
    std::size_t in_pauses_ = 0;
    std::size_t pauses_ = 0;
    std::size_t refused_ = 0;
    std::size_t answered_ = 0;
    bool failing_ = false;
    bool flushes_ = false;
};

std::string outcome_of(const program& what) {
    return run(what).go();
}

// Leaves out what it fails without.
program shortened(program what) {
    for (std::size_t size = what.steps.size() / 2; size > 0; size /= 2) {
        for (std::size_t at = 0; at + size <= what.steps.size();) {
            auto shorter = what;
            const auto from = shorter.steps.begin() + static_cast<std::ptrdiff_t>(at);
            shorter.steps.erase(from, from + static_cast<std::ptrdiff_t>(size));
            if (outcome_of(shorter).empty()) {
                ++at;
            } else {
                what = std::move(shorter);
            }
        }
    }
    for (std::size_t at = what.in_pauses.size(); at-- > 0;) {
        auto shorter = what;
        shorter.in_pauses.erase(shorter.in_pauses.begin() + static_cast<std::ptrdiff_t>(at));
        if (!outcome_of(shorter).empty()) what = std::move(shorter);
    }
    return what;
}

// True: it held.
bool holds(const program& what) {
    if (outcome_of(what).empty()) return true;
    const auto shorter = shortened(what);
    ADD_FAILURE() << shown(shorter) << outcome_of(shorter);
    return false;
}

// The programs' number may be raised for a longer search: SLUICE_CRASH_SEEDS=20000.
std::uint64_t seeds(std::uint64_t usual) {
    const auto* const more = std::getenv("SLUICE_CRASH_SEEDS");
    return more == nullptr ? usual : std::strtoull(more, nullptr, 10);
}

program made(std::uint64_t seed, fsync_policy policy, bool with_failures, bool with_ends) {
    auto out = maker(seed).make(policy, 60, with_failures, with_ends);
    out.seed = seed;
    return out;
}

void try_seeds(std::uint64_t first, std::uint64_t count, fsync_policy policy, bool with_failures) {
    for (auto seed = first; seed < first + count; ++seed) {
        auto what = made(seed, policy, with_failures, true);
        what.dies_at = seed % 5 == 0 ? ~std::uint64_t{0} : seed * 7919 % 400;
        what.dies_by_power = seed % 3 != 0;
        if (!holds(what)) return;
    }
}

void try_every_operation(std::uint64_t seed, fsync_policy policy) {
    auto what = made(seed, policy, false, false);
    run whole(what);
    ASSERT_EQ(whole.go(), "");
    ASSERT_GT(whole.answered(), 10U);
    const auto operations = whole.operations();
    ASSERT_GT(operations, 50U);
    for (std::uint64_t at = 0; at < operations; ++at) {
        what.dies_at = at;
        what.dies_by_power = at % 4 != 0;
        if (!holds(what)) return;
    }
}

TEST(store_crash, at_every_operation_with_always_keeps_what_was_answered) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        try_every_operation(seed, fsync_policy::always);
        if (HasFailure()) return;
    }
}

TEST(store_crash, at_every_operation_with_everysec_leaves_a_moment_of_the_history) {
    for (std::uint64_t seed = 101; seed <= 106; ++seed) {
        try_every_operation(seed, fsync_policy::everysec);
        if (HasFailure()) return;
    }
}

TEST(store_crash, many_times_with_always_keeps_what_was_answered) {
    try_seeds(1000, seeds(150), fsync_policy::always, false);
}

TEST(store_crash, many_times_with_failures_and_always_keeps_what_was_answered) {
    try_seeds(2000, seeds(250), fsync_policy::always, true);
}

TEST(store_crash, many_times_with_everysec_leaves_a_moment_of_the_history) {
    try_seeds(3000, seeds(200), fsync_policy::everysec, true);
}

TEST(store_crash, many_times_with_never_leaves_a_moment_of_the_history) {
    try_seeds(4000, seeds(150), fsync_policy::never, true);
}

}  // namespace
}  // namespace sluice::test
