#include "systemd/notify.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "systemd/sockets.hpp"

namespace sluice::systemd {
namespace {

// The socket that systemd would listen on, under an abstract name of this process's own.
class notify_test : public ::testing::Test {
  protected:
    void SetUp() override {
        socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_GE(socket_, 0);
        const auto name = "sluice-notify-test-" + std::to_string(::getpid());
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path + 1, name.data(), name.size());
        const auto length = offsetof(sockaddr_un, sun_path) + 1 + name.size();
        ASSERT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address),
                         static_cast<socklen_t>(length)),
                  0);
        ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
    }
    void TearDown() override {
        ::unsetenv("NOTIFY_SOCKET");
        ::close(socket_);
    }

    std::string received() const {
        std::array<char, 1024> text{};
        const auto n = ::recv(socket_, text.data(), text.size(), 0);
        return n < 0 ? "nothing" : std::string(text.data(), static_cast<std::size_t>(n));
    }

  private:
    int socket_ = -1;
};

TEST_F(notify_test, each_call_sends_its_state) {
    EXPECT_TRUE(notify_ready("serving"));
    EXPECT_EQ(received(), "READY=1\nSTATUS=serving");
    EXPECT_TRUE(notify_stopping("draining"));
    EXPECT_EQ(received(), "STOPPING=1\nSTATUS=draining");
    EXPECT_TRUE(notify_status("12 clients"));
    EXPECT_EQ(received(), "STATUS=12 clients");
}

TEST_F(notify_test, reloading_carries_the_monotonic_time) {
    EXPECT_TRUE(notify_reloading());
    const auto text = received();
    const std::string head = "RELOADING=1\nMONOTONIC_USEC=";
    ASSERT_EQ(text.substr(0, head.size()), head);
    EXPECT_GT(std::strtoull(text.c_str() + head.size(), nullptr, 10), 0U);
}

TEST_F(notify_test, status_cannot_start_another_field_and_is_cut) {
    EXPECT_TRUE(notify_status("a\nREADY=1\rb"));
    EXPECT_EQ(received(), "STATUS=a READY=1 b");
    EXPECT_TRUE(notify_status(std::string(5000, 'x')));
    EXPECT_EQ(received(), "STATUS=" + std::string(255, 'x'));
}

TEST_F(notify_test, watchdog_is_told_that_the_process_is_alive) {
    EXPECT_TRUE(notify_alive());
    EXPECT_EQ(received(), "WATCHDOG=1");
    ::setenv("WATCHDOG_USEC", "3000000", 1);
    EXPECT_EQ(watchdog_interval(), 3000000U);
    ::setenv("WATCHDOG_PID", "1", 1);
    EXPECT_EQ(watchdog_interval(), 0U);
    ::unsetenv("WATCHDOG_PID");
    ::unsetenv("WATCHDOG_USEC");
    EXPECT_EQ(watchdog_interval(), 0U);
}

TEST_F(notify_test, stored_socket_is_named) {
    EXPECT_TRUE(store_socket("kept-x", 0));
    EXPECT_EQ(received(), "FDSTORE=1\nFDNAME=kept-x");
    EXPECT_TRUE(remove_stored_socket("kept-x"));
    EXPECT_EQ(received(), "FDSTOREREMOVE=1\nFDNAME=kept-x");
}

TEST_F(notify_test, without_systemd_nothing_is_sent) {
    ::unsetenv("NOTIFY_SOCKET");
    EXPECT_FALSE(notify_ready("serving"));
    EXPECT_EQ(received(), "nothing");
}

}  // namespace
}  // namespace sluice::systemd
