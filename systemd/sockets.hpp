// Sockets that systemd hands to this process (sd_listen_fds(3)), and those that it is asked to keep
// for the next one (FileDescriptorStoreMax= of the unit). Without systemd nothing happens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::systemd {

struct passed_socket {
    int descriptor = -1;  // close-on-exec and non-blocking; the receiver's to close
    std::string name;     // FileDescriptorName= of the socket unit, or that of store_socket()
};

// To be called once, before other threads: takes the variables out of the environment.
[[nodiscard]] std::vector<passed_socket> take_passed_sockets();

// A name can be any printable text of up to 255 characters without ':'.
bool store_socket(std::string_view name, int descriptor) noexcept;
bool remove_stored_socket(std::string_view name) noexcept;

}  // namespace sluice::systemd
