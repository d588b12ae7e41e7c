#include "kvstore/write_log.hpp"

#include <atomic>
#include <thread>

#include "unit/kvstore/log_world.hpp"

namespace sluice::test {
namespace {

using config::fsync_policy;
using kvstore::admission;
using operation = faulty_files::operation;

std::error_code io_error() {
    return std::make_error_code(std::errc::io_error);
}

std::size_t segments_in(const faulty_files& files) {
    std::size_t count = 0;
    for (const auto& name : files.files())
        count += name.ends_with(".log") ? 1 : 0;
    return count;
}

void expect_all_there(log_world& world) {
    const auto found = read_back(world.files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    ASSERT_EQ(found.outcome.next, world.records.size() + 1);
    for (const auto& [number, payload] : found.records) {
        ASSERT_EQ(payload, world.records[number - 1]);
    }
}

TEST(write_log, always_is_safe_only_after_a_sync) {
    log_world world;
    ASSERT_TRUE(world.start());
    EXPECT_EQ(world.put("one"), 1U);
    EXPECT_EQ(world.put("two"), 2U);
    EXPECT_EQ(world.log->last(), 2U);
    EXPECT_EQ(world.log->safe(), 0U);
    const auto syncs = world.log->stats().fsyncs;
    world.settle();
    EXPECT_EQ(world.log->safe(), 2U);
    EXPECT_EQ(world.log->synced(), 2U);
    EXPECT_EQ(world.log->stats().fsyncs, syncs + 1);  // of both
    EXPECT_EQ(world.progress, 1);
    expect_all_there(world);
}

TEST(write_log, everysec_collects_for_a_millisecond_and_syncs_after_a_second) {
    log_world world(1, fsync_policy::everysec);
    ASSERT_TRUE(world.start());
    world.put("one");
    world.settle();
    EXPECT_EQ(world.due, world.now + 1ms);
    EXPECT_EQ(world.log->safe(), 0U);
    world.pass(1ms);
    EXPECT_EQ(world.log->safe(), 1U);
    EXPECT_EQ(world.log->synced(), 0U);
    world.pass(999ms);
    EXPECT_EQ(world.log->synced(), 0U);
    world.pass(1ms);
    EXPECT_EQ(world.log->synced(), 1U);
}

TEST(write_log, everysec_syncs_when_much_is_unsynced) {
    log_world world(1, fsync_policy::everysec);
    ASSERT_TRUE(world.start());
    for (int i = 0; i < 20; ++i) {
        ASSERT_NE(world.put(std::string(500'000, 'x')), 0U);
        world.pass(2ms);
    }
    EXPECT_GT(world.log->synced(), 10U);
}

TEST(write_log, never_syncs_only_at_the_end) {
    log_world world(1, fsync_policy::never);
    ASSERT_TRUE(world.start());
    const auto syncs = world.log->stats().fsyncs;
    world.put("one");
    world.pass(100s);
    EXPECT_EQ(world.log->safe(), 1U);
    EXPECT_EQ(world.log->stats().fsyncs, syncs);
    EXPECT_FALSE(world.log->close());
    EXPECT_EQ(world.log->synced(), 1U);
}

TEST(write_log, policy_can_change_while_it_runs) {
    log_world world(1, fsync_policy::never);
    ASSERT_TRUE(world.start());
    world.put("one");
    world.pass(10ms);
    EXPECT_EQ(world.log->synced(), 0U);
    world.log->set_policy(fsync_policy::always);
    world.settle();
    EXPECT_EQ(world.log->synced(), 1U);
}

TEST(write_log, close_writes_and_syncs_what_is_pending_and_gives_blocks_back) {
    log_world world(1, fsync_policy::everysec);
    ASSERT_TRUE(world.start());
    EXPECT_GT(world.files.used(), 1U << 20);
    world.put("one");
    EXPECT_FALSE(world.log->close());
    EXPECT_EQ(world.log->synced(), 1U);
    EXPECT_LT(world.files.used(), 1000U);
    EXPECT_EQ(world.log->reserve(1), admission::refused);
    world.files.power_failure();
    expect_all_there(world);
}

TEST(write_log, part_of_a_reservation_that_is_not_used_comes_back) {
    log_world world;
    ASSERT_TRUE(world.start());
    for (int i = 0; i < 5000; ++i) {  // 5000 times half of what is ready
        ASSERT_EQ(world.log->reserve(500'000), admission::granted) << i;
        if (i % 2 == 0) {
            world.log->give_back(500'000);
        } else {
            world.log->append("x", 500'000);
        }
        if (i % 100 == 0) world.settle();
    }
    EXPECT_LT(world.files.used(), 4U << 20);
}

TEST(write_log, big_record_is_busy_until_there_are_blocks) {
    log_world world;
    ASSERT_TRUE(world.start());
    const std::string big(100'000'000, 'b');
    EXPECT_EQ(world.log->reserve(big.size()), admission::busy);
    EXPECT_EQ(world.progress, 0);
    world.settle();
    EXPECT_EQ(world.progress, 1);
    ASSERT_EQ(world.put(big), 1U);
    EXPECT_EQ(world.log->reserve(1), admission::busy);  // more than the limit is unwritten
    world.settle();
    EXPECT_EQ(world.progress, 2);
    EXPECT_EQ(world.put("small"), 2U);
    world.settle();
    expect_all_there(world);
}

TEST(write_log, record_above_the_formats_limit_is_refused) {
    log_world world;
    ASSERT_TRUE(world.start());
    EXPECT_EQ(world.log->reserve(kvstore::most_payload_bytes + 1), admission::refused);
    EXPECT_FALSE(world.log->refusing());
}

TEST(write_log, full_disk_refuses_before_anything_changed_and_recovers) {
    log_world world(1, fsync_policy::everysec);
    ASSERT_TRUE(world.start());
    world.files.set_capacity(3 << 20);
    const std::string payload(10'000, 'x');
    std::uint64_t granted = 0;
    for (int i = 0; i < 1000 && !world.log->refusing(); ++i) {
        if (world.log->reserve(payload.size()) == admission::granted) ++granted;
        world.settle();
    }
    ASSERT_TRUE(world.log->refusing());
    EXPECT_FALSE(world.log->failing());  // whoever waits for what was granted waits on
    EXPECT_EQ(world.log->why(), "reserving space for the log: No space left on device");
    EXPECT_EQ(world.log->reserve(1), admission::refused);
    EXPECT_EQ(world.log->last(), 0U);
    EXPECT_GT(granted, 100U);
    for (std::uint64_t i = 0; i < granted; ++i) {  // they fit
        world.records.push_back(payload);
        world.log->append(payload, payload.size());
    }
    world.pass(5s);
    EXPECT_EQ(world.log->synced(), granted);
    EXPECT_TRUE(world.log->refusing());
    EXPECT_FALSE(world.log->failing());
    const auto told = world.progress;
    world.files.set_capacity(1 << 30);
    world.pass(100ms);
    EXPECT_FALSE(world.log->refusing());
    EXPECT_GT(world.progress, told);
    EXPECT_NE(world.put("more"), 0U);
    EXPECT_FALSE(world.log->close());
    expect_all_there(world);
}

TEST(write_log, record_too_big_for_the_disk_is_refused_alone) {
    log_world world;
    ASSERT_TRUE(world.start());
    world.files.set_capacity(8 << 20);
    EXPECT_EQ(world.log->reserve(50 << 20), admission::busy);
    world.settle();
    EXPECT_EQ(world.log->reserve(50 << 20), admission::refused);
    EXPECT_EQ(world.log->why(), "reserving space for the log: No space left on device");
    EXPECT_FALSE(world.log->refusing());
    EXPECT_EQ(world.put("small"), 1U);
    world.files.set_capacity(1 << 30);
    world.pass(100ms);
    EXPECT_EQ(world.log->reserve(50 << 20), admission::busy);
    world.settle();
    EXPECT_EQ(world.log->reserve(50 << 20), admission::granted);
}

TEST(write_log, disk_full_at_start_opens_refusing_and_recovers) {
    log_world world;
    world.files.set_capacity(0);
    ASSERT_TRUE(world.start());
    EXPECT_TRUE(world.log->refusing());
    world.pass(1s);
    EXPECT_EQ(world.put("one"), 0U);
    world.files.set_capacity(1 << 30);
    world.pass(1s);
    EXPECT_EQ(world.put("one"), 1U);
    world.settle();
    expect_all_there(world);
}

TEST(write_log, file_system_without_reservation_finds_a_full_disk_when_writing) {
    log_world world;
    world.files.refuse_to_reserve();
    ASSERT_TRUE(world.start());
    EXPECT_EQ(world.put("one"), 1U);
    world.settle();
    world.files.set_capacity(world.files.used() + 10);
    EXPECT_EQ(world.put("two"), 2U);
    world.pass(3s);
    EXPECT_EQ(world.log->safe(), 1U);
    EXPECT_TRUE(world.log->refusing());
    EXPECT_TRUE(world.log->failing());
    EXPECT_NE(world.log->why().find("No space left on device"), std::string::npos);
    world.files.set_capacity(1 << 30);
    world.pass(2s);
    EXPECT_FALSE(world.log->refusing());
    EXPECT_EQ(world.log->safe(), 2U);
    world.files.power_failure();
    expect_all_there(world);
}

TEST(write_log, failed_sync_goes_on_in_another_file_and_never_syncs_the_old_one) {
    log_world world(3);
    ASSERT_TRUE(world.start());
    world.put("one");
    world.settle();
    world.put("two");
    world.files.fail_operation(1, io_error());  // the write, then the sync
    world.settle();
    EXPECT_EQ(world.log->safe(), 2U);
    EXPECT_FALSE(world.log->refusing());
    EXPECT_EQ(segments_in(world.files), 2U);
    EXPECT_EQ(world.log->stats().write_errors, 1U);
    world.put("three");
    world.settle();
    world.files.power_failure();
    expect_all_there(world);
}

TEST(write_log, disk_that_fails_for_a_while_refuses_and_loses_nothing) {
    for (const auto what : {operation::append, operation::sync, operation::open, operation::rename,
                            operation::sync_directory, operation::reserve}) {
        log_world world(3, fsync_policy::always, 5000);
        ASSERT_TRUE(world.start());
        world.put("one");
        world.settle();
        EXPECT_EQ(world.log->reserve(1000), admission::granted);
        world.files.fail_all(what, io_error());
        world.files.fail_operation(0, io_error());  // and this makes a segment necessary
        world.put(std::string(6000, '2'));
        world.pass(5s);
        EXPECT_TRUE(world.log->refusing()) << static_cast<int>(what);
        EXPECT_TRUE(world.log->failing()) << static_cast<int>(what);
        EXPECT_EQ(world.log->safe(), 1U);
        EXPECT_EQ(world.log->reserve(1), admission::refused);
        world.records.emplace_back("granted before");
        world.log->append(world.records.back(), 1000);
        world.files.heal();
        world.pass(2s);
        EXPECT_FALSE(world.log->refusing()) << static_cast<int>(what);
        EXPECT_FALSE(world.log->failing()) << static_cast<int>(what);
        EXPECT_EQ(world.log->safe(), 3U);
        EXPECT_LT(world.files.files().size(), 4U);
        EXPECT_LT(world.files.used(), 4U << 20);
        world.files.power_failure();
        expect_all_there(world);
    }
}

TEST(write_log, segment_that_is_full_is_followed_by_another_and_removed_when_covered) {
    log_world world(1, fsync_policy::always, 1000);
    ASSERT_TRUE(world.start());
    for (int i = 0; i < 50; ++i) {
        world.put(std::string(100, 'x'));
        world.settle();
    }
    const auto before = world.log->stats();
    EXPECT_GT(before.segments, 5U);
    EXPECT_EQ(before.segments, segments_in(world.files));
    EXPECT_FALSE(world.log->release_before(26));
    const auto found = read_back(world.files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_LE(found.outcome.first, 26U);
    EXPECT_GT(found.outcome.first, 10U);
    EXPECT_EQ(found.outcome.next, 51U);
    EXPECT_EQ(world.log->stats().bytes_on_disk, found.outcome.bytes);
    EXPECT_FALSE(world.log->release_before(1000));
    EXPECT_EQ(world.log->stats().segments, 1U);
    EXPECT_EQ(read_back(world.files).outcome.next, 51U);
}

TEST(write_log, full_disk_does_not_change_segments_but_goes_on_in_the_old_one) {
    log_world world(1, fsync_policy::always, 1000);
    ASSERT_TRUE(world.start());
    world.files.set_capacity(world.files.used() + 10);
    for (int i = 0; i < 50; ++i) {
        ASSERT_NE(world.put(std::string(100, 'x')), 0U);
        world.settle();
    }
    EXPECT_EQ(world.log->safe(), 50U);
    EXPECT_EQ(segments_in(world.files), 1U);
    world.files.set_capacity(1 << 30);
    world.pass(1s);
    world.put("one");
    world.settle();
    EXPECT_EQ(segments_in(world.files), 2U);
    expect_all_there(world);
}

TEST(write_log, restart_goes_on_behind_what_was_kept) {
    log_world world;
    ASSERT_TRUE(world.start());
    world.put("one");
    world.settle();
    world.put("two");  // never written
    world.log.reset();
    world.files.process_crash();
    ASSERT_TRUE(world.start());
    EXPECT_EQ(world.log->safe(), 1U);
    EXPECT_EQ(world.put("other two"), 2U);
    world.settle();
    expect_all_there(world);
    world.log.reset();
    world.files.process_crash();
    ASSERT_TRUE(world.start());
    EXPECT_EQ(world.log->safe(), 2U);
}

TEST(write_log, numbers_may_be_left_out_at_a_start) {
    log_world world;
    ASSERT_TRUE(world.start());
    world.put("one");
    EXPECT_FALSE(world.log->close());
    for (int lives = 0; lives < 2; ++lives) {  // a project's file covers 99
        const auto found = read_back(world.files).outcome;
        ASSERT_TRUE(found.ok()) << found.problem;
        EXPECT_EQ(found.held, 1U);
        kvstore::write_log log(world.files, "db/log", fsync_policy::always);
        ASSERT_FALSE(log.open(std::max<kvstore::log_number>(found.next, 100), found.held));
        ASSERT_FALSE(log.close());
    }
    EXPECT_EQ(read_back(world.files).outcome.next, 100U);
}

TEST(write_log, memory_of_a_burst_goes_back) {
    log_world world;
    ASSERT_TRUE(world.start());
    for (int i = 0; i < 200; ++i) {
        for (int j = 0; j < 10; ++j)
            world.put(std::string(20'000, 'x'));
        world.settle();
    }
    world.pass(10s);
    EXPECT_GE(world.due, world.now + 40s);  // nothing is left to be done
    EXPECT_EQ(world.log->stats().unwritten_bytes, 0U);
}

TEST(write_log, appends_of_several_threads_are_all_there_in_order) {
    faulty_files files;
    kvstore::write_log log(files, "db/log", fsync_policy::everysec, 200'000);
    log.clock = [] { return std::chrono::steady_clock::now(); };
    std::atomic<bool> stop{false};
    ASSERT_FALSE(log.open(1));
    std::thread writer([&] {
        while (!stop)
            log.wait(log.step(std::chrono::steady_clock::now()));
    });
    constexpr int threads = 3;
    constexpr int each = 4000;
    std::vector<std::vector<kvstore::log_number>> numbers(threads);
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] {
            for (int i = 0; i < each; ++i) {
                auto payload = std::to_string(t) + ":" + std::to_string(i);
                if (i % 1000 == 0) payload.resize(100'000, ' ');
                while (log.reserve(payload.size() + 10) != admission::granted) {
                    std::this_thread::yield();
                }
                numbers[static_cast<std::size_t>(t)].push_back(
                    log.append(payload, payload.size() + 10));
            }
        });
    }
    for (auto& worker : workers)
        worker.join();
    (void)log.release_before(log.synced() / 2);
    stop = true;
    log.stop_waiting();
    writer.join();
    EXPECT_FALSE(log.close());
    EXPECT_EQ(log.last(), threads * each);
    EXPECT_EQ(log.synced(), log.last());
    const auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_EQ(found.outcome.next, log.last() + 1);
    for (const auto& [number, payload] : found.records) {
        const auto t = static_cast<std::size_t>(payload[0] - '0');
        const auto i = std::stoul(payload.substr(2));
        ASSERT_EQ(numbers[t][i], number);
    }
}

}  // namespace
}  // namespace sluice::test
