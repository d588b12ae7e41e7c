// Backups and restores on files that fail: whatever step the machine stops at, a backup is complete
// or not there, and a directory holds the old content, the restored one, or says what to do.
#include "kvstore/backup.hpp"

#include <gtest/gtest.h>

#include <map>

#include "kvstore/batch.hpp"
#include "kvstore/project_content.hpp"
#include "kvstore/restore.hpp"
#include "support/faulty_files.hpp"

namespace sluice::kvstore {
namespace {

using test::faulty_files;

constexpr time_ms start = 1'767'323'045'678;  // 2026-01-02T03:04:05.678Z

config::kv_settings settings_of(const std::string& directory = "db") {
    config::kv_settings out;
    out.directory = directory;
    out.fsync = config::fsync_policy::always;
    return out;
}

using all_data = std::map<project_id, std::map<std::string, std::string>>;

// A store without threads.
class store_world {
  public:
    explicit store_world(std::uint64_t seed = 1) : files(seed) {}

    void open() {
        db = std::make_unique<store>(files, settings_of(), [](auto, const auto&) {});
        db->open(now);
    }

    void put(project_id id, const std::string& key, const std::string& value) {
        const auto one = resident(id);
        batch changes(*db);
        changes.now = now;
        changes.hold(one);
        ASSERT_EQ(changes.make_room(key.size() + value.size() + 64), admission::granted);
        change what;
        what.key = key;
        what.value = value;
        changes.commit(*one, what);
        (void)changes.finish();
    }

    void flush_all() {
        batch changes(*db);
        changes.now = now;
        changes.hold_all();
        ASSERT_EQ(changes.make_room(64), admission::granted);
        changes.commit_clear_all();
        (void)changes.finish();
    }

    std::shared_ptr<project> resident(project_id id) {
        auto one = db->find(id);
        if (one->state == project::residence::absent) db->load(*one, now);
        return one;
    }

    void fill() {
        for (project_id id = 1; id <= 3; ++id) {
            put(id, "id", std::to_string(id));
            put(id, std::string("\0\xff", 2), std::string(700, static_cast<char>(id)));
        }
    }

    backup_result back_up() {
        return make_backup(*db, "backups", ++now, [this] { db->log().step(monotonic{}); });
    }

    faulty_files files;
    time_ms now = start;
    std::unique_ptr<store> db;
};

all_data data_of(file_env& files, const std::string& directory) {
    all_data out;
    std::vector<std::string> names;
    EXPECT_FALSE(files.list(directory, names));
    for (const auto& name : names) {
        project_id id = 0;
        if (!parse_project_file_name(name, id)) continue;
        std::string text;
        EXPECT_FALSE(files.read(directory + "/" + name, text));
        project_content content;
        const auto outcome = read_project(text, id, content);
        EXPECT_EQ(outcome.result, project_file_outcome::verdict::intact) << outcome.what;
        for (const auto& [key, kept] : content.keys)
            out[id][key] = kept.value;
    }
    return out;
}

std::vector<std::string> complete_backups(faulty_files& files) {
    std::vector<std::string> names;
    if (files.list("backups", names)) return {};
    std::erase_if(names, [](const auto& name) { return name.ends_with(".partial"); });
    std::sort(names.begin(), names.end());
    return names;
}

TEST(backup, is_what_the_projects_hold_and_verifies) {
    store_world world;
    world.open();
    world.fill();
    const auto made = world.back_up();
    ASSERT_EQ(made.error, "");
    EXPECT_EQ(made.path, "backups/sluice-20260102T030405.679Z");
    EXPECT_EQ(made.projects, 3U);
    const auto manifest = verify_backup(world.files, made.path);
    EXPECT_EQ(manifest.error, "");
    EXPECT_EQ(manifest.bytes(), made.bytes);
    EXPECT_EQ(manifest.created_ms, world.now);
    auto expected = data_of(world.files, "db");
    EXPECT_EQ(expected.size(), 3U);
    world.put(2, "later", "x");
    ASSERT_EQ(world.db->save_all(world.now, [&] { world.db->log().step(monotonic{}); }), "");
    EXPECT_EQ(data_of(world.files, made.path), expected);
    EXPECT_EQ(world.db->counts.backups.load(), 1U);
    EXPECT_EQ(world.db->counts.last_backup_ms.load(), world.now);
    EXPECT_EQ(world.db->counts.last_backup_bytes.load(), made.bytes);
    EXPECT_EQ(find_latest_backup(world.files, "backups").path, made.path);
}

TEST(backup, of_an_empty_store_is_one_too) {
    store_world world;
    world.open();
    const auto made = world.back_up();
    EXPECT_EQ(made.error, "");
    EXPECT_EQ(verify_backup(world.files, made.path).error, "");
    EXPECT_TRUE(verify_backup(world.files, made.path).files.empty());
}

TEST(backup, after_flushall_has_no_file_of_a_project_that_is_not_in_memory) {
    store_world world;
    world.open();
    world.fill();
    ASSERT_TRUE(world.db->close(world.now));
    world.open();
    (void)world.resident(2);
    world.flush_all();
    const auto made = world.back_up();
    ASSERT_EQ(made.error, "");
    EXPECT_EQ(data_of(world.files, made.path), all_data{});
}

TEST(backup, two_in_a_millisecond_have_two_names) {
    store_world world;
    world.open();
    const auto one =
        make_backup(*world.db, "backups", start, [&] { world.db->log().step(monotonic{}); });
    const auto other =
        make_backup(*world.db, "backups", start, [&] { world.db->log().step(monotonic{}); });
    EXPECT_EQ(one.error + other.error, "");
    EXPECT_LT(one.path, other.path);
}

// Bits 0 to 7 of every byte of each file, by turns.
TEST(backup, any_changed_byte_is_found) {
    store_world world;
    world.open();
    world.fill();
    const auto made = world.back_up();
    ASSERT_EQ(made.error, "");
    for (const auto& path : world.files.files()) {
        if (!path.starts_with(made.path + "/")) continue;
        const auto good = world.files.content(path);
        for (std::size_t i = 0; i < good.size(); ++i) {
            auto bad = good;
            bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
            world.files.put(path, bad);
            EXPECT_NE(verify_backup(world.files, made.path).error, "") << path << " byte " << i;
        }
        world.files.put(path, good.substr(0, good.size() / 2));
        EXPECT_NE(verify_backup(world.files, made.path).error, "") << path;
        world.files.put(path, good);
        EXPECT_EQ(verify_backup(world.files, made.path).error, "") << path;
    }
    ASSERT_FALSE(world.files.remove(made.path + "/project-2.json"));
    EXPECT_NE(verify_backup(world.files, made.path).error, "");
}

TEST(backup, crash_at_every_step_leaves_a_complete_one_or_none) {
    for (const bool power : {false, true}) {
        bool finished = false;
        for (std::uint64_t step = 0; !finished; ++step) {
            ASSERT_LT(step, 500U);
            store_world world(step + 1);
            world.open();
            world.fill();
            const auto first = world.back_up();
            ASSERT_EQ(first.error, "");
            const auto before = data_of(world.files, first.path);
            world.put(1, "more", "x");
            world.files.die_at(step);
            const auto second = world.back_up();
            finished = !world.files.dead();
            world.db.reset();
            power ? world.files.power_failure() : world.files.process_crash();
            if (finished && !power) {
                EXPECT_EQ(second.error, "");
            }
            const auto there = complete_backups(world.files);
            ASSERT_GE(there.size(), 1U) << step;
            ASSERT_LE(there.size(), 2U) << step;
            if (second.error.empty()) {
                EXPECT_EQ(there.size(), 2U) << step;
            }
            EXPECT_EQ(data_of(world.files, first.path), before);
            auto expected = before;
            expected[1]["more"] = "x";
            for (const auto& name : there) {
                const auto path = "backups/" + name;
                EXPECT_EQ(verify_backup(world.files, path).error, "") << step << " " << path;
                if (path != first.path) {
                    EXPECT_EQ(data_of(world.files, path), expected) << step;
                }
            }
            // What is left of it does not stay, and does not stop the next one.
            world.open();
            EXPECT_EQ(world.back_up().error, "") << step;
            EXPECT_FALSE(prune_backups(world.files, "backups", 2)) << step;
            std::vector<std::string> names;
            ASSERT_FALSE(world.files.list("backups", names));
            EXPECT_EQ(names.size(), 2U) << step;
        }
    }
}

TEST(backup, failure_at_every_step_is_told_and_leaves_nothing_half_done) {
    bool finished = false;
    for (std::uint64_t step = 0; !finished; ++step) {
        ASSERT_LT(step, 500U);
        store_world world(step + 1);
        world.open();
        world.fill();
        const auto from = world.files.operations();
        world.files.fail_operation(step, std::make_error_code(std::errc::no_space_on_device));
        const auto made = world.back_up();
        finished = world.files.operations() - from <= step;
        const auto there = complete_backups(world.files);
        if (made.error.empty()) {
            ASSERT_EQ(there.size(), 1U) << step;
        } else {
            EXPECT_EQ(world.db->counts.backup_failures.load(), 1U);
        }
        for (const auto& name : there)
            EXPECT_EQ(verify_backup(world.files, "backups/" + name).error, "") << step;
        world.files.heal();
        EXPECT_EQ(world.back_up().error, "") << step;
    }
}

TEST(backup, pruning_keeps_the_newest_and_crashes_leave_only_whole_ones) {
    bool finished = false;
    for (std::uint64_t step = 0; !finished; ++step) {
        ASSERT_LT(step, 500U);
        store_world world(step + 1);
        world.open();
        world.fill();
        for (int i = 0; i < 4; ++i)
            ASSERT_EQ(world.back_up().error, "");
        const auto before = complete_backups(world.files);
        world.files.put("backups/notes.txt", "mine");
        world.files.put("backups/sluice-20250102T030405.679Z.partial/project-1.json", "{");
        world.files.die_at(step);
        const auto error = prune_backups(world.files, "backups", 2);
        finished = !world.files.dead();
        if (finished) {
            EXPECT_FALSE(error);
        }
        world.db.reset();
        world.files.power_failure();
        auto there = complete_backups(world.files);
        std::erase(there, "notes.txt");
        ASSERT_GE(there.size(), 2U) << step;
        EXPECT_EQ(there.back(), before.back());
        for (const auto& name : there)
            EXPECT_EQ(verify_backup(world.files, "backups/" + name).error, "") << step;
        if (finished) {
            EXPECT_EQ(there, (std::vector{before[2], before[3]}));
        }
        EXPECT_TRUE(world.files.exists("backups/notes.txt"));
    }
}

// --- restoring ---

struct restore_world : store_world {
    explicit restore_world(std::uint64_t seed = 1) : store_world(seed) {
        open();
        fill();
        const auto made = back_up();
        EXPECT_EQ(made.error, "");
        path = made.path;
        saved = data_of(files, path);
        put(1, "later", "x");
        put(4, "new", "y");
    }

    void stop() {
        ASSERT_TRUE(db->close(now));
        db.reset();
        current = data_of(files, "db");
    }

    restore_result restore(bool replaces, const std::string& directory = "db") {
        return restore_backup(files, {path, directory, replaces, now}, {});
    }

    // As a start shows it.
    all_data served() {
        open();
        EXPECT_EQ(db->save_all(now, [this] { db->log().step(monotonic{}); }), "");
        auto out = data_of(files, "db");
        db.reset();
        return out;
    }

    std::string path;
    all_data saved;
    all_data current;
};

TEST(restore, into_a_new_directory_gives_what_was_backed_up) {
    restore_world world;
    const auto done = world.restore(false, "elsewhere");
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(done.projects, 3U);
    EXPECT_EQ(done.moved_to, "");
    EXPECT_EQ(data_of(world.files, "elsewhere"), world.saved);
}

TEST(restore, while_a_store_is_open_is_refused) {
    restore_world world;
    EXPECT_NE(world.restore(true).error.find("in use"), std::string::npos);
    EXPECT_NE(world.restore(true).error.find("4711"), std::string::npos);
}

TEST(restore, over_projects_is_refused_unless_asked_for_and_moves_them) {
    restore_world world;
    world.stop();
    world.files.put("db/project-9.json.damaged", "kept");
    EXPECT_NE(world.restore(false).error.find("--force"), std::string::npos);
    EXPECT_EQ(data_of(world.files, "db"), world.current);
    const auto done = world.restore(true);
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(data_of(world.files, "db"), world.saved);
    EXPECT_EQ(data_of(world.files, done.moved_to), world.current);
    EXPECT_TRUE(world.files.exists(done.moved_to + "/project-9.json.damaged"));
    EXPECT_EQ(world.served(), world.saved);
}

// Records that no file holds yet are content too, and are not applied to what is restored.
TEST(restore, over_a_log_moves_the_log) {
    restore_world world;
    world.db->log().step(monotonic{});
    world.db.reset();
    for (const auto& path : world.files.files()) {
        if (path.starts_with("db/project-")) {
            ASSERT_FALSE(world.files.remove(path));
        }
    }
    EXPECT_NE(world.restore(false).error.find("db/log"), std::string::npos);
    EXPECT_EQ(world.restore(true).error, "");
    EXPECT_EQ(world.served(), world.saved);
}

TEST(restore, of_a_damaged_backup_changes_nothing) {
    restore_world world;
    world.stop();
    auto text = world.files.content(world.path + "/project-3.json");
    text[20] = 'X';
    world.files.put(world.path + "/project-3.json", text);
    const auto before = world.files.files();
    EXPECT_NE(world.restore(true).error.find("project-3.json is damaged"), std::string::npos);
    EXPECT_EQ(world.files.files(), before);
    EXPECT_EQ(world.served(), world.current);
}

TEST(restore, keeps_expiry_forms_and_times) {
    store_world world;
    constexpr std::string_view text =
        R"({"projectId": 5, "data": {"a": "5", "b": 5, "c": "x"}, "createdAt":)"
        R"( "2020-01-01T00:00:00.000Z", "updatedAt": "2021-01-01T00:00:00.000Z",)"
        R"( "sluice": {"format": 1, "covers": "77", "expires": {"c": 9000000000000}}})";
    world.files.put("db/project-5.json", std::string(text));
    project_content before;
    (void)read_project(text, 5, before);
    world.open();
    const auto made = world.back_up();
    ASSERT_EQ(made.error, "");
    ASSERT_EQ(restore_backup(world.files, {made.path, "two", false, world.now}).error, "");
    project_content after;
    EXPECT_EQ(read_project(world.files.content("two/project-5.json"), 5, after).result,
              project_file_outcome::verdict::intact);
    EXPECT_EQ(after.keys, before.keys);
    EXPECT_EQ(after.header.covers, 0U);
    EXPECT_EQ(after.header.created_ms, before.header.created_ms);
    EXPECT_EQ(after.header.updated_ms, before.header.updated_ms);
}

TEST(restore, crash_at_every_step_keeps_the_old_content_or_can_be_run_again) {
    for (const bool power : {false, true}) {
        bool finished = false;
        for (std::uint64_t step = 0; !finished; ++step) {
            ASSERT_LT(step, 500U);
            restore_world world(step + 1);
            world.stop();
            world.files.die_at(step);
            const auto done = world.restore(true);
            finished = !world.files.dead();
            power ? world.files.power_failure() : world.files.process_crash();
            try {
                const auto now = world.served();
                if (done.error.empty()) {
                    EXPECT_EQ(now, world.saved) << step;
                } else {
                    EXPECT_TRUE(now == world.current || now == world.saved) << step;
                }
            } catch (const cannot_open& error) {
                EXPECT_NE(std::string(error.what()).find("not finished"), std::string::npos);
                world.db.reset();
            }
            ++world.now;
            const auto again = world.restore(true);
            EXPECT_EQ(again.error, "") << step;
            EXPECT_EQ(world.served(), world.saved) << step;
        }
    }
}

}  // namespace
}  // namespace sluice::kvstore
