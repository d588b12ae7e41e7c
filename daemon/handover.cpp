#include "daemon/handover.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace sluice::daemon {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often a wait looks whether it was stopped.
constexpr auto glance = milliseconds(20);
constexpr auto send_patience = std::chrono::seconds(5);
constexpr int most_retries = 8;

}  // namespace

handover_channel::~handover_channel() {
    ::close(descriptor_);
}

bool handover_channel::make_pair(int& ours, int& theirs) {
    std::array<int, 2> pair{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) return false;
    const int room = 1 << 20;
    for (const int one : pair)
        setsockopt(one, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    ours = pair[0];
    theirs = pair[1];
    return true;
}

handover_channel::outcome handover_channel::wait(short event, time until) const {
    while (!stopped_) {
        const auto now = steady_clock::now();
        if (now >= until) return outcome::late;
        const auto left =
            std::chrono::ceil<milliseconds>(std::min<steady_clock::duration>(until - now, glance));
        pollfd one{descriptor_, event, 0};
        const int found = ::poll(&one, 1, static_cast<int>(left.count()));
        if (found > 0) return outcome::got;
        if (found < 0 && errno != EINTR) return outcome::ended;
    }
    return outcome::stopped;
}

bool handover_channel::send(std::string_view text, int descriptor) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    if (descriptor >= 0) {
        packet.msg_control = control.data();
        packet.msg_controllen = control.size();
        auto* const header = CMSG_FIRSTHDR(&packet);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    const auto until = steady_clock::now() + send_patience;
    while (sendmsg(descriptor_, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EINTR) continue;
        // The kernel bounds the descriptors that are on their way: the other side takes some.
        const bool is_full = errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS;
        if (!is_full || steady_clock::now() >= until) return false;
        if (errno == EAGAIN) {
            if (wait(POLLOUT, until) != outcome::got) return false;
        } else {
            ::poll(nullptr, 0, 1);
        }
    }
    return true;
}

handover_channel::outcome handover_channel::receive(message& out, time until) {
    if (const auto found = wait(POLLIN, until); found != outcome::got) return found;
    std::vector<char> text(most_text);
    iovec part{text.data(), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    auto got = recvmsg(descriptor_, &packet, MSG_CMSG_CLOEXEC);
    // A side that ends without having read everything is announced before what it said at last.
    for (int i = 0; got < 0 && (errno == EINTR || errno == ECONNRESET) && i < most_retries; ++i) {
        got = recvmsg(descriptor_, &packet, MSG_CMSG_CLOEXEC);
    }
    out = {};
    for (auto* at = CMSG_FIRSTHDR(&packet); at != nullptr; at = CMSG_NXTHDR(&packet, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
        std::memcpy(&out.descriptor, CMSG_DATA(at), sizeof out.descriptor);
    }
    if (got <= 0) return outcome::ended;
    const std::string_view all(text.data(), static_cast<std::size_t>(got));
    const auto cut = std::min(all.find(' '), all.size());
    out.word = all.substr(0, cut);
    out.rest = all.substr(std::min(cut + 1, all.size()));
    return outcome::got;
}

}  // namespace sluice::daemon
