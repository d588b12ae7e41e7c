#include "systemd/sockets.hpp"

#include <fcntl.h>
#include <systemd/sd-daemon.h>

#include <cstdlib>
#include <new>

namespace sluice::systemd {

std::vector<passed_socket> take_passed_sockets() {
    char** names = nullptr;
    const int count = sd_listen_fds_with_names(1, &names);
    std::vector<passed_socket> out;
    for (int i = 0; i < count; ++i) {
        const int descriptor = SD_LISTEN_FDS_START + i;
        fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
        out.push_back({descriptor, names != nullptr ? names[i] : ""});
    }
    for (char** at = names; at != nullptr && *at != nullptr; ++at)
        std::free(*at);
    std::free(names);
    return out;
}

bool store_socket(std::string_view name, int descriptor) noexcept {
    try {
        const auto text = "FDSTORE=1\nFDNAME=" + std::string(name);
        return sd_pid_notify_with_fds(0, 0, text.c_str(), &descriptor, 1) > 0;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

bool remove_stored_socket(std::string_view name) noexcept {
    return sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%.*s", static_cast<int>(name.size()),
                      name.data()) > 0;
}

}  // namespace sluice::systemd
