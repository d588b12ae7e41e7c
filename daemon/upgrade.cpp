#include "daemon/upgrade.hpp"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "daemon/predecessor.hpp"
#include "daemon/version.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The descriptor that the successor finds its end of the pair at.
constexpr int handed_descriptor = 3;
// For a process that has closed its end to be gone.
constexpr auto end_patience = std::chrono::seconds(2);

std::vector<std::string> own_arguments() {
    std::ifstream in("/proc/self/cmdline", std::ios::binary);
    const std::string all(std::istreambuf_iterator<char>(in), {});
    std::vector<std::string> out;
    for (std::size_t at = 0; at < all.size();) {
        const auto end = std::min(all.find('\0', at), all.size());
        out.push_back(all.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

// As the shell found it. Links are kept: a new version may be put behind one.
std::string found_on_path(const std::string& name) {
    const char* const path = std::getenv("PATH");
    std::string_view left = path == nullptr ? "" : path;
    while (!left.empty()) {
        const auto cut = std::min(left.find(':'), left.size());
        auto candidate = std::string(left.substr(0, cut)) + "/" + name;
        if (cut > 0 && access(candidate.c_str(), X_OK) == 0) return candidate;
        left.remove_prefix(std::min(cut + 1, left.size()));
    }
    return {};
}

std::vector<std::string> successor_environment() {
    std::vector<std::string> out;
    for (char** at = environ; *at != nullptr; ++at) {
        const std::string_view one(*at);
        // The watchdog's is for one process number.
        if (one.starts_with(handover_variable) || one.starts_with("WATCHDOG_PID=")) continue;
        out.emplace_back(one);
    }
    out.push_back(std::string(handover_variable) + "=" + std::to_string(handed_descriptor));
    return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (auto& text : texts)
        out.push_back(text.data());
    out.push_back(nullptr);
    return out;
}

}  // namespace

started_command started_command::of_this_process() {
    started_command out;
    out.arguments = own_arguments();
    std::error_code error;
    auto name = out.arguments.empty() ? std::string() : out.arguments[0];
    if (!name.empty() && name.find('/') == std::string::npos) name = found_on_path(name);
    if (!name.empty()) name = std::filesystem::absolute(name, error).string();
    if (name.empty() || error || access(name.c_str(), X_OK) != 0) {
        name = std::filesystem::read_symlink("/proc/self/exe", error).string();
    }
    out.path = name;
    return out;
}

upgrade::upgrade(started_command command, std::string config_file, listeners& sockets, kv_port* kv,
                 logger& log)
    : command_(std::move(command)),
      config_file_(std::move(config_file)),
      sockets_(sockets),
      kv_(kv),
      log_(log) {}

void upgrade::start(const config::settings& settings, outside calls) {
    if (thread_.joinable()) thread_.join();
    calls_ = std::move(calls);
    abandoned_ = false;
    thread_ = std::thread([this, settings] { run(settings); });
}

void upgrade::abandon() {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    if (channel_ != nullptr) channel_->stop();
}

void upgrade::stop() {
    abandon();
    if (thread_.joinable()) thread_.join();
}

void upgrade::run(const config::settings& settings) {
    upgrade_result out;
    out.error = hand_over(settings, out);
    const bool serves = out.error.empty();
    calls_.done(out);
    if (serves) serve_successor();
    const std::lock_guard lock(mutex_);
    channel_.reset();
}

std::string upgrade::spawn(pid_t& process) {
    int ours = -1;
    int theirs = -1;
    if (!handover_channel::make_pair(ours, theirs)) return std::strerror(errno);
    {
        const std::lock_guard lock(mutex_);
        channel_ = std::make_unique<handover_channel>(ours);
        if (abandoned_) channel_->stop();
    }
    auto arguments = command_.arguments;
    auto environment = successor_environment();
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, theirs, handed_descriptor);
    posix_spawn_file_actions_addclosefrom_np(&actions, handed_descriptor + 1);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const int error = posix_spawn(&process, command_.path.c_str(), &actions, &attributes,
                                  pointers(arguments).data(), pointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    ::close(theirs);
    return error == 0 ? "" : command_.path + " cannot be started: " + std::strerror(error);
}

std::string upgrade::send_sockets() {
    bool fine = channel_->send("hello 1 " + std::to_string(getpid()) + " " + version);
    for (const auto& one : sockets_.all()) {
        fine = fine && channel_->send("socket " + one.purpose + " " + static_cast<char>(one.from),
                                      one.descriptor);
    }
    // What it says when it has ended at once is of more use than that it did not listen.
    static_cast<void>(fine && channel_->send("sockets"));
    return {};
}

// Empty: it has said the word.
std::string upgrade::wait_for(std::string_view word, steady_clock::time_point until) {
    handover_channel::message message;
    switch (channel_->receive(message, until)) {
        case handover_channel::outcome::late:
            return "the new process did not answer within upgrade_timeout";
        case handover_channel::outcome::stopped:
            return "given up, because this process was told to end";
        case handover_channel::outcome::ended:
            return "ended";
        case handover_channel::outcome::got:
            break;
    }
    if (message.descriptor >= 0) ::close(message.descriptor);
    if (message.word == word) return {};
    if (message.word == "failed") return "the new process says: " + message.rest;
    return "the new process said what it should not";
}

// Kills it if it has not ended by itself; says how it ended.
std::string upgrade::end_of(pid_t process) {
    int status = 0;
    const auto until = steady_clock::now() + end_patience;
    while (waitpid(process, &status, WNOHANG) == 0) {
        if (steady_clock::now() >= until || abandoned_) {
            kill(process, SIGKILL);
            waitpid(process, &status, 0);
            return "the new process closed its end of the connection";
        }
        std::this_thread::sleep_for(milliseconds(5));
    }
    if (WIFEXITED(status)) {
        return "the new process ended with exit code " + std::to_string(WEXITSTATUS(status));
    }
    return std::string("the new process was ended by signal ") + strsignal(WTERMSIG(status));
}

bool upgrade::send_clients(const std::vector<handed_client>& clients) {
    constexpr std::size_t piece = 32768;
    for (const auto& client : clients) {
        if (!channel_->send("client " + text_of(client), client.descriptor)) return false;
        for (std::size_t at = 0; at < client.bytes.size(); at += piece) {
            if (!channel_->send("bytes " + client.bytes.substr(at, piece))) return false;
        }
    }
    return true;
}

std::string upgrade::hand_over(const config::settings& settings, upgrade_result& out) {
    const auto until =
        steady_clock::now() +
        (settings.upgrade_timeout.count() == 0 ? std::chrono::hours(1) : settings.upgrade_timeout);
    if (auto error = spawn(out.process); !error.empty()) return error;
    const auto name = "process " + std::to_string(out.process);
    const auto fail = [&](const std::string& why) {
        // It may be about to open the store: it is to be gone before we do.
        if (why != "ended") kill(out.process, SIGKILL);
        const auto end = end_of(out.process);
        return why == "ended" ? end : why;
    };
    calls_.progress(name + " starts");
    static_cast<void>(send_sockets());
    if (auto error = wait_for("ready", until); !error.empty()) return fail(error);
    calls_.progress(name + " is ready");

    std::optional<std::vector<handed_client>> clients;
    std::string error;
    const bool has_store = kv_ != nullptr && kv_->service() != nullptr;
    if (has_store) {
        clients = kv_->suspend(error);
        if (!clients.has_value()) return fail(error);
        if (error.empty() && !send_clients(*clients)) error = "ended";
    }
    if (error.empty() && !channel_->send("go")) error = "ended";
    if (error.empty()) error = wait_for("serving", until);
    if (error.empty()) {
        if (has_store) {
            out.kv_pause =
                std::chrono::ceil<milliseconds>(steady_clock::now() - kv_->suspended_at());
            for (const auto& client : *clients)
                ::close(client.descriptor);
        }
        calls_.taken_over(out.process);
        calls_.progress(name + " has taken over" +
                        (has_store ? "; the key-value port paused for " +
                                         std::to_string(out.kv_pause.count()) + " ms"
                                   : ""));
        calls_.progress("process " + std::to_string(getpid()) + " ends when its clients have");
        channel_->send("main");
        return {};
    }
    error = fail(error);
    if (!has_store) return error;
    try {
        kv_->resume(settings.kv, config_file_, *clients);
    } catch (const std::exception& problem) {
        for (const auto& client : *clients)
            ::close(client.descriptor);
        log_.error("the key-value store cannot be opened again", {{"why", problem.what()}});
    }
    return error;
}

// Clients of ours that want to cancel something connect to the successor.
void upgrade::serve_successor() {
    handover_channel::message message;
    while (!abandoned_) {
        const auto found = channel_->receive(message, steady_clock::now() + std::chrono::hours(1));
        if (found == handover_channel::outcome::late) continue;
        if (found != handover_channel::outcome::got) return;
        if (message.descriptor >= 0) ::close(message.descriptor);
        if (message.word != "cancel") continue;
        std::uint32_t process_id = 0;
        std::string secret;
        if (read_cancel(message.rest, process_id, secret)) calls_.cancel(process_id, secret);
    }
}

}  // namespace sluice::daemon
