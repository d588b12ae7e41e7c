#include "daemon/handover.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "daemon/predecessor.hpp"

namespace sluice::daemon {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

struct handover_test : ::testing::Test {
    void SetUp() override {
        int ours = -1;
        int theirs = -1;
        ASSERT_TRUE(handover_channel::make_pair(ours, theirs));
        EXPECT_NE(fcntl(ours, F_GETFD) & FD_CLOEXEC, 0);
        EXPECT_NE(fcntl(theirs, F_GETFD) & FD_CLOEXEC, 0);
        old_one = std::make_unique<handover_channel>(ours);
        new_one = std::make_unique<handover_channel>(theirs);
    }
    static steady_clock::time_point soon() { return steady_clock::now() + seconds(10); }

    std::unique_ptr<handover_channel> old_one;
    std::unique_ptr<handover_channel> new_one;
    handover_channel::message message;
};

TEST_F(handover_test, packets_keep_their_bounds_and_carry_descriptors) {
    int pipe_ends[2];
    ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
    EXPECT_TRUE(old_one->send("socket a b", pipe_ends[1]));
    EXPECT_TRUE(old_one->send("go"));
    ASSERT_EQ(new_one->receive(message, soon()), handover_channel::outcome::got);
    EXPECT_EQ(message.word, "socket");
    EXPECT_EQ(message.rest, "a b");
    ASSERT_GE(message.descriptor, 0);
    EXPECT_NE(fcntl(message.descriptor, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(write(message.descriptor, "x", 1), 1);
    char got = 0;
    EXPECT_EQ(read(pipe_ends[0], &got, 1), 1);
    close(message.descriptor);
    ASSERT_EQ(new_one->receive(message, soon()), handover_channel::outcome::got);
    EXPECT_EQ(message.word, "go");
    EXPECT_EQ(message.rest, "");
    EXPECT_EQ(message.descriptor, -1);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

TEST_F(handover_test, wait_ends_at_its_deadline_or_when_the_other_side_has_gone) {
    EXPECT_EQ(new_one->receive(message, steady_clock::now() + milliseconds(30)),
              handover_channel::outcome::late);
    old_one.reset();
    EXPECT_EQ(new_one->receive(message, soon()), handover_channel::outcome::ended);
    EXPECT_FALSE(new_one->send("serving"));
}

TEST_F(handover_test, last_words_of_a_side_that_has_not_read_everything_arrive) {
    EXPECT_TRUE(old_one->send("sockets"));
    EXPECT_TRUE(new_one->send("failed why"));
    new_one.reset();
    ASSERT_EQ(old_one->receive(message, soon()), handover_channel::outcome::got);
    EXPECT_EQ(message.rest, "why");
    EXPECT_EQ(old_one->receive(message, soon()), handover_channel::outcome::ended);
}

TEST_F(handover_test, wait_ends_when_it_is_stopped) {
    std::thread stopper([&] { new_one->stop(); });
    EXPECT_EQ(new_one->receive(message, soon()), handover_channel::outcome::stopped);
    stopper.join();
}

TEST_F(handover_test, many_messages_wait_for_a_reader) {
    constexpr int many = 3000;
    const std::string large(30000, 'x');
    std::thread sender([&] {
        for (int i = 0; i < many; ++i)
            EXPECT_TRUE(old_one->send("bytes " + large, 0));
    });
    for (int i = 0; i < many; ++i) {
        ASSERT_EQ(new_one->receive(message, soon()), handover_channel::outcome::got) << i;
        EXPECT_EQ(message.rest.size(), large.size());
        close(message.descriptor);
    }
    sender.join();
}

TEST(read_cancel, bad_text_is_refused) {
    std::uint32_t process_id = 0;
    std::string secret;
    EXPECT_TRUE(read_cancel("4294967295 00ff10", process_id, secret));
    EXPECT_EQ(process_id, 4294967295U);
    EXPECT_EQ(secret, std::string("\0\xff\x10", 3));
    for (const char* const bad : {"", "1", "1 0", "1 0g", "x 00", "4294967296 00", "-1 00"}) {
        EXPECT_FALSE(read_cancel(bad, process_id, secret)) << bad;
    }
}

}  // namespace
}  // namespace sluice::daemon
