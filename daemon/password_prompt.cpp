#include "daemon/password_prompt.hpp"

#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <string_view>

namespace sluice::daemon {

namespace {

constexpr std::size_t longest_password = 4096;

extern "C" void interrupt_read(int /*signal*/) {}  // being caught is enough: read() gives EINTR

// Turns the echo off and catches what would end the process before it is on again.
class silent_terminal {
  public:
    silent_terminal() {
        if (tcgetattr(STDIN_FILENO, &before_) != 0) throw std::runtime_error("no terminal");
        struct sigaction catcher {};
        catcher.sa_handler = interrupt_read;  // no SA_RESTART
        for (std::size_t i = 0; i < caught.size(); ++i)
            sigaction(caught[i], &catcher, &old_[i]);
        auto silent = before_;
        silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        silent.c_lflag |= ECHONL;  // the line end that the user types stays visible
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    ~silent_terminal() {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
        for (std::size_t i = 0; i < caught.size(); ++i)
            sigaction(caught[i], &old_[i], nullptr);
    }
    silent_terminal(const silent_terminal&) = delete;
    silent_terminal& operator=(const silent_terminal&) = delete;

  private:
    static constexpr std::array caught{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    termios before_{};
    std::array<struct sigaction, caught.size()> old_{};
};

// One line without its end; nullopt when interrupted or when there is none.
std::optional<std::string> read_line() {
    std::string line;
    char byte = 0;
    for (;;) {
        const auto got = read(STDIN_FILENO, &byte, 1);
        if (got < 0) return std::nullopt;
        if (got == 0 && line.empty()) return std::nullopt;
        if (got == 0 || byte == '\n') break;
        if (line.size() == longest_password) throw std::runtime_error("the password is too long");
        line += byte;
    }
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return line;
}

void prompt(std::string_view text) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

std::optional<std::string> read_password() {
    if (isatty(STDIN_FILENO) == 0) return read_line();
    const silent_terminal silent;
    prompt("Password: ");
    auto first = read_line();
    if (!first || first->empty()) return std::nullopt;
    prompt("Again: ");
    const auto second = read_line();
    if (!second) return std::nullopt;
    if (*first != *second) throw std::runtime_error("the two passwords differ");
    return first;
}

}  // namespace sluice::daemon
