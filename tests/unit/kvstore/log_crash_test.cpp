// The machine or the daemon stops at any operation, syncs and writes fail before that, and the log
// must come back: everything that was safe, nothing but what was written, without a gap.
#include <algorithm>
#include <random>

#include "unit/kvstore/log_world.hpp"

namespace sluice::test {
namespace {

using config::fsync_policy;
using kvstore::log_number;

std::error_code io_error() {
    return std::make_error_code(std::errc::io_error);
}

std::string payload_of(std::mt19937_64& random, std::size_t most) {
    std::string text(random() % most, static_cast<char>(random() % 255 + 1));
    for (std::size_t i = 0; i < text.size(); i += 97)
        text[i] = static_cast<char>(random() % 255 + 1);
    return text;
}

enum class stop { power_failure, daemon_killed };

struct plan {
    std::uint64_t seed;
    fsync_policy policy;
    stop end;
    std::uint64_t failures = 0;  // operations that fail before
};

// One life of a daemon up to operation `dies_at`. Gives what must be there afterwards.
log_number live(log_world& world, std::mt19937_64& random, const plan& what,
                std::uint64_t dies_at) {
    world.files.die_at(dies_at);
    if (what.failures != 0) {
        world.files.fail_operation(random() % 40, io_error());
    }
    log_number released = 1;
    if (world.start()) {
        for (int i = 0; i < 40 && !world.files.dead(); ++i) {
            world.put(payload_of(random, i % 13 == 0 ? 90'000 : i % 3 == 0 ? 1500 : 40));
            if (random() % 3 == 0) world.pass(std::chrono::milliseconds{random() % 300});
            if (what.failures > 1 && random() % 8 == 0) {
                world.files.fail_operation(random() % 5, io_error());
            }
            if (random() % 10 == 0) {
                released = world.log->synced() / 2 + 1;
                (void)world.log->release_before(released);
            }
        }
    }
    const bool keeps_kernel = what.end == stop::daemon_killed;
    const auto there = keeps_kernel ? std::max(world.log->safe(), world.log->synced())
                       : what.policy == fsync_policy::always ? world.log->safe()
                                                             : world.log->synced();
    world.log.reset();
    if (keeps_kernel) {
        world.files.process_crash();
    } else {
        world.files.power_failure();
    }
    return there;
}

void check(log_world& world, log_number must_be_there) {
    const auto found = read_back(world.files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    auto expected = found.outcome.first;
    for (const auto& [number, payload] : found.records) {
        ASSERT_EQ(number, expected++);
        ASSERT_LE(number, world.records.size());
        ASSERT_TRUE(payload == world.records[number - 1]) << number;
    }
    ASSERT_EQ(found.outcome.next, expected);
    ASSERT_GT(found.outcome.next, must_be_there);
}

void try_plan(const plan& what, std::uint64_t dies_at) {
    SCOPED_TRACE("seed " + std::to_string(what.seed) + ", dies at " + std::to_string(dies_at));
    std::mt19937_64 random(what.seed);
    log_world world(what.seed, what.policy, 6000);
    auto must = live(world, random, what, dies_at);
    check(world, must);
    if (::testing::Test::HasFatalFailure()) return;
    // Once more upon what that left, and then to the end.
    for (int lives = 0; lives < 2; ++lives) {
        must = std::max(must, live(world, random, what, random() % 200));
        check(world, must);
        if (::testing::Test::HasFatalFailure()) return;
    }
}

TEST(log_crash, always_and_power_failure_at_every_operation_keeps_what_is_safe) {
    for (std::uint64_t dies_at = 0; dies_at < 150; ++dies_at) {
        for (std::uint64_t seed = 0; seed < 3; ++seed) {
            try_plan({seed * 1000 + dies_at, fsync_policy::always, stop::power_failure}, dies_at);
            if (HasFatalFailure()) return;
        }
    }
}

TEST(log_crash, always_with_failing_operations_and_power_failure_keeps_what_is_safe) {
    for (std::uint64_t seed = 0; seed < 600; ++seed) {
        try_plan({seed, fsync_policy::always, stop::power_failure, 1 + seed % 2}, seed % 150);
        if (HasFatalFailure()) return;
    }
}

TEST(log_crash, everysec_and_power_failure_keeps_what_is_synced) {
    for (std::uint64_t seed = 0; seed < 600; ++seed) {
        try_plan({seed, fsync_policy::everysec, stop::power_failure, seed % 3}, seed % 120);
        if (HasFatalFailure()) return;
    }
}

TEST(log_crash, everysec_and_killed_daemon_keeps_what_the_kernel_had) {
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        try_plan({seed, fsync_policy::everysec, stop::daemon_killed, seed % 3}, seed % 120);
        if (HasFatalFailure()) return;
    }
}

TEST(log_crash, never_and_killed_daemon_keeps_what_the_kernel_had) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        try_plan({seed, fsync_policy::never, stop::daemon_killed, seed % 3}, seed % 120);
        if (HasFatalFailure()) return;
    }
}

}  // namespace
}  // namespace sluice::test
