#include "config/address.hpp"

#include <gtest/gtest.h>

#include "config/error.hpp"

namespace sluice::config {
namespace {

listen_address tcp(const std::string& host, std::uint16_t port) {
    return {listen_address::kind::tcp, host, {}, port};
}

listen_address socket_in(const std::string& path, std::uint16_t port) {
    return {listen_address::kind::unix_socket, {}, path, port};
}

TEST(address, parse_of_tcp_gives_host_and_port) {
    EXPECT_EQ(parse_address("127.0.0.1:6432"), tcp("127.0.0.1", 6432));
    EXPECT_EQ(parse_address("[::1]:6432"), tcp("::1", 6432));
    EXPECT_EQ(parse_address("[fe80::1%eth0]:1"), tcp("fe80::1%eth0", 1));
    EXPECT_EQ(parse_address("*:65535"), tcp("*", 65535));
    EXPECT_EQ(parse_address("localhost:6432"), tcp("localhost", 6432));
    EXPECT_EQ(parse_address("db-1.internal:6432"), tcp("db-1.internal", 6432));
}

TEST(address, parse_of_unix_gives_directory_and_port) {
    EXPECT_EQ(parse_address("unix:/run/sluice"), socket_in("/run/sluice", 6432));
    EXPECT_EQ(parse_address("unix:/run/sluice:6433"), socket_in("/run/sluice", 6433));
    EXPECT_EQ(parse_address("unix:/run/sluice/"), socket_in("/run/sluice", 6432));
    EXPECT_EQ(parse_address("unix:/"), socket_in("/", 6432));
    EXPECT_EQ(parse_address("unix:/a:b/c"), socket_in("/a:b/c", 6432));
}

TEST(address, parse_of_bad_text_throws) {
    for (const auto* text : {"",
                             "6432",
                             ":6432",
                             "localhost",
                             "127.0.0.1",
                             "127.0.0.1:",
                             "127.0.0.1:0",
                             "127.0.0.1:65536",
                             "127.0.0.1:-1",
                             "127.0.0.1:port",
                             "127.1:6432",
                             "300.1.1.1:6432",
                             "::1:6432",
                             "[::1]",
                             "[::1:6432",
                             "::1]:6432",
                             "[]:6432",
                             "[127.0.0.1]:6432",
                             "[fe80::1%]:6432",
                             "[*]:6432",
                             "**:6432",
                             "a b:6432",
                             "-a:6432",
                             "http://a:6432",
                             "unix:",
                             "unix:run",
                             "unix:./run",
                             "unix:@name",
                             "unix:/run:0",
                             "unix:/run:port",
                             "unix:/run:"}) {
        EXPECT_THROW(static_cast<void>(parse_address(text)), bad_value) << text;
    }
}

TEST(address, parse_of_socket_path_that_the_kernel_cannot_hold_throws) {
    EXPECT_NO_THROW(static_cast<void>(parse_address("unix:/" + std::string(90, 'a'))));
    EXPECT_THROW(static_cast<void>(parse_address("unix:/" + std::string(100, 'a'))), bad_value);
}

TEST(address, show_gives_text_that_parses_back) {
    for (const auto* text : {"127.0.0.1:6432", "[::1]:6432", "*:9127", "localhost:1",
                             "unix:/run/sluice", "unix:/run/sluice:6433"}) {
        EXPECT_EQ(show_address(parse_address(text)), text);
    }
}

}  // namespace
}  // namespace sluice::config
