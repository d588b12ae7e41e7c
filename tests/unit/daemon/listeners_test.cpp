#include "daemon/listeners.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace sluice::daemon {
namespace {

using origin = listeners::origin;

class listeners_test : public ::testing::Test {
  protected:
    void SetUp() override {
        ::unsetenv("NOTIFY_SOCKET");
        std::string name = ::testing::TempDir() + "listenersXXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        directory_ = name;
        path_ = directory_ + "/s";
    }
    void TearDown() override {
        unlink(path_.c_str());
        rmdir(directory_.c_str());
    }
    [[nodiscard]] bool answers() const {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path_.c_str(), path_.size());
        const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool out = connect(probe, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
        close(probe);
        return out;
    }
    [[nodiscard]] bool file_is_there() const {
        struct stat status {};
        return lstat(path_.c_str(), &status) == 0;
    }
    static void give(const listeners& from, listeners& to) {
        for (const auto& one : from.all())
            to.inherit(one.purpose, one.from, dup(one.descriptor));
    }

    std::string directory_;
    std::string path_;
};

TEST_F(listeners_test, unix_socket_ends_with_its_owner) {
    {
        listeners owner;
        const auto bound = owner.open_path("control", path_, 4, 0600);
        EXPECT_NE(fcntl(bound.descriptor, F_GETFD) & FD_CLOEXEC, 0);
        close(bound.descriptor);
        EXPECT_TRUE(answers());
    }
    EXPECT_FALSE(file_is_there());
}

TEST_F(listeners_test, successor_takes_the_socket_by_its_address_and_keeps_the_file) {
    listeners heir;
    {
        listeners owner;
        close(owner.open_path("control", path_, 4, 0600).descriptor);
        give(owner, heir);
        close(heir.open_path("control", path_, 4, 0600).descriptor);
        EXPECT_EQ(heir.all().size(), 1U);
        heir.settle();
        owner.let_go();
    }
    EXPECT_TRUE(answers());
}

TEST_F(listeners_test, successor_that_fails_leaves_the_file_to_its_owner) {
    listeners owner;
    close(owner.open_path("control", path_, 4, 0600).descriptor);
    {
        listeners heir;
        give(owner, heir);
        close(heir.open_path("control", path_, 4, 0600).descriptor);
    }
    EXPECT_TRUE(answers());
}

TEST_F(listeners_test, socket_that_the_successor_does_not_want_goes_when_it_settles) {
    listeners owner;
    listeners heir;
    close(owner.open_path("control", path_, 4, 0600).descriptor);
    give(owner, heir);
    owner.let_go();
    EXPECT_TRUE(answers());
    heir.settle();
    EXPECT_TRUE(heir.all().empty());
    EXPECT_FALSE(file_is_there());
}

TEST_F(listeners_test, socket_of_a_unit_goes_before_the_configured_addresses) {
    listeners owner;
    const int given = dup(net::bind_path(path_, 4, 0600).descriptor);
    owner.inherit("postgres", origin::unit, given);
    const std::vector<config::listen_address> configured{
        {config::listen_address::kind::unix_socket, {}, directory_, 7}};
    const auto bound = owner.open("postgres", configured, 4);
    ASSERT_EQ(bound.size(), 1U);
    EXPECT_TRUE(bound[0].is_unix);
    EXPECT_EQ(bound[0].path, "");
    EXPECT_EQ(listeners::address_of(bound[0].descriptor), "unix:" + path_);
    close(bound[0].descriptor);
    EXPECT_TRUE(owner.open("kv", {}, 4).empty());
}

TEST_F(listeners_test, what_does_not_listen_is_not_inherited) {
    listeners owner;
    owner.inherit("postgres", origin::unit, socket(AF_UNIX, SOCK_STREAM, 0));
    owner.inherit("postgres", origin::unit, open("/dev/null", O_RDONLY));
    EXPECT_TRUE(owner.all().empty());
}

TEST_F(listeners_test, socket_whose_file_has_gone_is_not_inherited) {
    const int bound = net::bind_path(path_, 4, 0600).descriptor;
    unlink(path_.c_str());
    listeners owner;
    owner.inherit("control", origin::stored, bound);
    EXPECT_TRUE(owner.all().empty());
}

}  // namespace
}  // namespace sluice::daemon
