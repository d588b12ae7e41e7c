#include "daemon/control_cli.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ostream>
#include <vector>

#include "daemon/control_socket.hpp"

namespace sluice::daemon {

namespace {

// Where the unit of the package has it.
constexpr const char* usual_path = "/run/sluice/control.sock";

int connect_to(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (path.size() >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    std::memcpy(name.sun_path, path.c_str(), path.size());
    const int out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (out < 0) return -1;
    if (connect(out, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0) return out;
    const int why = errno;
    close(out);
    errno = why;
    return -1;
}

std::vector<std::string> candidates(const control_options& options, const command_line& with) {
    if (!options.socket.empty()) return {options.socket};
    std::vector<std::string> out;
    try {
        const auto settings = find_configuration(options.file, with.env).content.settings;
        const auto path = control_path(settings);
        if (!path.empty()) out.push_back(path);
        if (settings.control_socket != "auto") return out;
    } catch (const std::exception&) {
        // The file may be what a reload is to find fault with.
        if (!options.file.empty()) with.err << "sluice: warning: the configuration is not fine\n";
    }
    out.emplace_back(usual_path);
    return out;
}

// One line of the answer. True: it was the last, and `code` is set.
bool take_line(const std::string& line, const std::string& command, const command_line& with,
               int& code) {
    const auto cut = std::min(line.find(' '), line.size());
    const auto word = line.substr(0, cut);
    const auto rest = line.substr(std::min(cut + 1, line.size()));
    if (word == "ok") {
        code = exit_fine;
    } else if (word == "error") {
        with.err << "sluice: " << command << " failed: " << rest << '\n';
        code = exit_failure;
    } else if (word == "progress") {
        with.out << "sluice: " << rest << std::endl;
        return false;
    } else if (word == "changed") {
        with.out << "changed: " << rest << '\n';
        return false;
    } else if (word == "restart") {
        with.out << "needs a restart or an upgrade: " << rest << '\n';
        return false;
    } else {
        with.out << word << ": " << rest << '\n';
        return false;
    }
    return true;
}

}  // namespace

int run_control_command(const std::string& command, const control_options& options,
                        const command_line& with) {
    int descriptor = -1;
    std::string tried;
    for (const auto& path : candidates(options, with)) {
        if (!tried.empty()) tried += ", ";
        tried += path;
        descriptor = connect_to(path);
        if (descriptor >= 0) break;
        tried += std::string(" (") + std::strerror(errno) + ")";
    }
    if (descriptor < 0) {
        with.err << "sluice: no running sluice answers at "
                 << (tried.empty() ? "any control socket: control_socket is empty" : tried) << '\n';
        return exit_failure;
    }
    const auto request = command + "\n";
    static_cast<void>(::send(descriptor, request.data(), request.size(), MSG_NOSIGNAL));
    std::string input;
    std::array<char, 4096> piece{};
    int code = exit_failure;
    bool is_over = false;
    while (!is_over) {
        const auto n = ::recv(descriptor, piece.data(), piece.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        input.append(piece.data(), static_cast<std::size_t>(n));
        for (auto end = input.find('\n'); end != std::string::npos && !is_over;
             end = input.find('\n')) {
            is_over = take_line(input.substr(0, end), command, with, code);
            input.erase(0, end + 1);
        }
    }
    close(descriptor);
    if (!is_over) with.err << "sluice: the running sluice has gone before it answered\n";
    return code;
}

}  // namespace sluice::daemon
