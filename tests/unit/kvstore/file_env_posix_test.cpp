#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "kvstore/file_env.hpp"

namespace sluice::kvstore {
namespace {

namespace fs = std::filesystem;

class file_env_posix : public ::testing::Test {
  protected:
    void SetUp() override {
        auto name = (fs::temp_directory_path() / "sluice-files-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        top_ = name;
    }
    void TearDown() override { fs::remove_all(top_); }

    std::string path(const std::string& name) const { return top_ + "/" + name; }
    std::string content(const std::string& name) const {
        std::string bytes;
        EXPECT_FALSE(files_.read(path(name), bytes));
        return bytes;
    }
    void write(const std::string& name, std::string_view bytes) const {
        std::unique_ptr<open_file> file;
        std::size_t written = 0;
        ASSERT_FALSE(files_.open(path(name), file_env::create::append, file));
        ASSERT_FALSE(file->append(bytes, written));
        ASSERT_EQ(written, bytes.size());
        ASSERT_FALSE(file->sync());
    }

    file_env& files_ = posix_files();
    std::string top_;
};

TEST_F(file_env_posix, append_goes_to_the_end_and_fresh_fails_where_there_is_a_file) {
    write("a", "one");
    write("a", std::string(100'000, 'x'));
    EXPECT_EQ(content("a"), "one" + std::string(100'000, 'x'));
    std::unique_ptr<open_file> file;
    EXPECT_EQ(files_.open(path("a"), file_env::create::fresh, file), std::errc::file_exists);
    EXPECT_EQ(files_.open(path("no/a"), file_env::create::fresh, file),
              std::errc::no_such_file_or_directory);
    EXPECT_EQ(fs::status(path("a")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    std::string bytes;
    EXPECT_EQ(files_.read(path("b"), bytes), std::errc::no_such_file_or_directory);
    EXPECT_EQ(files_.read(top_, bytes), std::errc::is_a_directory);
}

TEST_F(file_env_posix, reserve_keeps_the_length_and_truncate_gives_blocks_back) {
    std::unique_ptr<open_file> file;
    ASSERT_FALSE(files_.open(path("a"), file_env::create::fresh, file));
    const auto error = file->reserve(0, 1 << 20);
    if (error == std::errc::not_supported) GTEST_SKIP() << "no blocks ahead on this file system";
    ASSERT_FALSE(error);
    std::size_t written = 0;
    ASSERT_FALSE(file->append("bytes", written));
    ASSERT_FALSE(file->reserve(1 << 20, 1 << 20));
    EXPECT_EQ(fs::file_size(path("a")), 5U);
    ASSERT_FALSE(file->truncate(2));
    ASSERT_FALSE(file->append("!", written));
    EXPECT_EQ(content("a"), "by!");
}

TEST_F(file_env_posix, directories_are_made_with_parents_and_listed) {
    ASSERT_FALSE(files_.make_directory(path("one/two/three")));
    ASSERT_FALSE(files_.make_directory(path("one/two/three")));
    EXPECT_EQ(fs::status(path("one")).permissions(), fs::perms::owner_all);
    write("one/two/file", "x");
    EXPECT_EQ(files_.make_directory(path("one/two/file")), std::errc::not_a_directory);
    std::vector<std::string> names;
    ASSERT_FALSE(files_.list(path("one/two"), names));
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, (std::vector<std::string>{"file", "three"}));
    EXPECT_EQ(files_.list(path("none"), names), std::errc::no_such_file_or_directory);
    EXPECT_FALSE(files_.sync_directory(path("one/two")));
    EXPECT_EQ(files_.sync_directory(path("none")), std::errc::no_such_file_or_directory);
}

TEST_F(file_env_posix, rename_replaces_link_does_not_and_remove_removes) {
    write("a", "new");
    write("b", "old");
    EXPECT_EQ(files_.link_or_copy(path("a"), path("b")), std::errc::file_exists);
    ASSERT_FALSE(files_.rename(path("a"), path("b")));
    EXPECT_EQ(content("b"), "new");
    ASSERT_FALSE(files_.link_or_copy(path("b"), path("c")));
    EXPECT_EQ(content("c"), "new");
    ASSERT_FALSE(files_.remove(path("b")));
    EXPECT_EQ(files_.remove(path("b")), std::errc::no_such_file_or_directory);
    EXPECT_EQ(content("c"), "new");
}

TEST_F(file_env_posix, status_of_nothing_is_no_error) {
    file_status status;
    EXPECT_FALSE(files_.status(path("a"), status));
    EXPECT_FALSE(status.exists);
    write("a", "four");
    EXPECT_FALSE(files_.status(path("a"), status));
    EXPECT_TRUE(status.exists);
    EXPECT_EQ(status.size, 4U);
    EXPECT_GT(status.modified_ms, 1'600'000'000'000);
}

TEST_F(file_env_posix, lock_is_held_once_and_names_the_holder) {
    std::unique_ptr<held_lock> first;
    std::unique_ptr<held_lock> second;
    std::string holder;
    write("lock", "99999999 of an earlier run");
    ASSERT_FALSE(files_.lock(path("lock"), first, holder));
    EXPECT_EQ(files_.lock(path("lock"), second, holder), std::errc::device_or_resource_busy);
    EXPECT_EQ(holder + "\n", content("lock"));
    first.reset();
    EXPECT_FALSE(files_.lock(path("lock"), second, holder));
}

}  // namespace
}  // namespace sluice::kvstore
