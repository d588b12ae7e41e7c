#include "daemon/predecessor.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <stdexcept>

namespace sluice::daemon {

namespace {

using std::chrono::steady_clock;

// The predecessor has the deadline (upgrade_timeout); this is for one that has none.
constexpr auto longest_wait = std::chrono::hours(2);
constexpr auto main_patience = std::chrono::seconds(5);
constexpr std::size_t most_why = 4096;

// Our end of the pair; once, -1 from then on.
int take_descriptor() {
    const char* const text = std::getenv(handover_variable);
    if (text == nullptr) return -1;
    const auto descriptor = static_cast<int>(std::strtol(text, nullptr, 10));
    unsetenv(handover_variable);
    int type = 0;
    socklen_t length = sizeof type;
    const bool is_pair = descriptor > 2 &&
                         getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
                         type == SOCK_SEQPACKET;
    if (!is_pair) return -1;
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    return descriptor;
}

}  // namespace

std::unique_ptr<predecessor> predecessor::find() {
    const int descriptor = take_descriptor();
    if (descriptor < 0) return nullptr;
    return std::unique_ptr<predecessor>(new predecessor(descriptor));
}

void tell_predecessor(std::string_view why) noexcept {
    const int descriptor = take_descriptor();
    if (descriptor < 0) return;
    try {
        handover_channel(descriptor).send("failed " + std::string(why.substr(0, most_why)));
    } catch (const std::bad_alloc&) {
        return;
    }
}

handover_channel::message predecessor::next() {
    handover_channel::message out;
    if (channel_.receive(out, steady_clock::now() + longest_wait) !=
        handover_channel::outcome::got) {
        throw std::runtime_error("the process that started this one has gone, or given it up");
    }
    return out;
}

void predecessor::take_sockets(listeners& into) {
    auto said = next();
    if (said.word != "hello" || !said.rest.starts_with("1 ")) {
        throw std::runtime_error("the process that started this one hands over in another way: " +
                                 said.rest);
    }
    for (said = next(); said.word == "socket"; said = next()) {
        const auto cut = said.rest.rfind(' ');
        if (said.descriptor < 0 || cut == std::string::npos || cut + 2 != said.rest.size()) {
            throw std::runtime_error("a listening socket did not arrive");
        }
        into.inherit(said.rest.substr(0, cut), static_cast<listeners::origin>(said.rest[cut + 1]),
                     said.descriptor);
    }
    if (said.word != "sockets") throw std::runtime_error("the handover was broken off");
}

void predecessor::ready() {
    channel_.send("ready");
}

std::vector<handed_client> predecessor::wait_until_free() {
    std::vector<handed_client> out;
    for (auto said = next(); said.word != "go"; said = next()) {
        if (said.word == "client") {
            handed_client client;
            if (said.descriptor < 0 || !read_client(said.rest, client)) {
                throw std::runtime_error("a key-value client did not arrive");
            }
            client.descriptor = said.descriptor;
            out.push_back(std::move(client));
        } else if (said.word == "bytes" && !out.empty()) {
            out.back().bytes += said.rest;
        }
    }
    return out;
}

void predecessor::failed(std::string_view why) {
    channel_.send("failed " + std::string(why.substr(0, most_why)));
}

void predecessor::serving() {
    channel_.send("serving");
}

void predecessor::wait_until_main() {
    handover_channel::message said;
    static_cast<void>(channel_.receive(said, steady_clock::now() + main_patience));
}

void predecessor::cancel(std::uint32_t process_id, const std::string& secret) {
    std::string text = "cancel " + std::to_string(process_id) + " ";
    for (const char c : secret) {
        const auto byte = static_cast<unsigned char>(c);
        text += "0123456789abcdef"[byte >> 4U];
        text += "0123456789abcdef"[byte & 15U];
    }
    channel_.send(text);
}

bool read_cancel(std::string_view text, std::uint32_t& process_id, std::string& secret) {
    const auto* const end = text.data() + text.size();
    auto [at, error] = std::from_chars(text.data(), end, process_id);
    if (error != std::errc() || at == end || *at != ' ' || (end - at) % 2 == 0) return false;
    secret.clear();
    for (++at; at != end; at += 2) {
        unsigned byte = 0;
        const auto [after, wrong] = std::from_chars(at, at + 2, byte, 16);
        if (wrong != std::errc() || after != at + 2) return false;
        secret += static_cast<char>(byte);
    }
    return true;
}

}  // namespace sluice::daemon
