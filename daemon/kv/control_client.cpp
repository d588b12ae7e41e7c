#include "daemon/kv/control_client.hpp"

#include <hiredis/hiredis.h>
#include <poll.h>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace sluice::daemon {

namespace {

using reply_ptr = std::unique_ptr<redisReply, void (*)(void*)>;

constexpr auto free_again_after = std::chrono::milliseconds(200);
constexpr int most_attempts = 5 * 600;  // ten minutes

std::string text_of(const redisReply& reply) {
    return reply.str == nullptr ? std::string() : std::string(reply.str, reply.len);
}

}  // namespace

std::unique_ptr<control_client> control_client::connect(const std::string& path) {
    auto* const context = redisConnectUnix(path.c_str());
    if (context == nullptr) throw std::bad_alloc();
    if (context->err == 0) return std::unique_ptr<control_client>(new control_client(context));
    redisFree(context);
    return nullptr;
}

control_client::~control_client() {
    redisFree(context_);
}

void control_client::fail() const {
    throw std::runtime_error(std::string("the running sluice cannot be reached any more: ") +
                             context_->errstr);
}

void control_client::send(std::initializer_list<std::string_view> args) {
    std::vector<const char*> begins;
    std::vector<std::size_t> sizes;
    for (const auto arg : args) {
        begins.push_back(arg.data());
        sizes.push_back(arg.size());
    }
    if (redisAppendCommandArgv(context_, static_cast<int>(args.size()), begins.data(),
                               sizes.data()) != REDIS_OK) {
        fail();
    }
}

void control_client::wait(const std::function<void()>& tick) {
    int all_is_sent = 0;
    while (all_is_sent == 0) {
        if (redisBufferWrite(context_, &all_is_sent) != REDIS_OK) fail();
    }
    pollfd one{.fd = context_->fd, .events = POLLIN, .revents = 0};
    while (::poll(&one, 1, 1000) == 0) {
        if (tick) tick();
    }
}

std::string control_client::receive() {
    void* raw = nullptr;
    if (redisGetReply(context_, &raw) != REDIS_OK) fail();
    const reply_ptr reply(static_cast<redisReply*>(raw), freeReplyObject);
    return reply->type == REDIS_REPLY_ERROR ? text_of(*reply) : std::string();
}

std::string control_client::call(std::initializer_list<std::string_view> args,
                                 const std::function<void()>& tick) {
    send(args);
    wait(tick);
    void* raw = nullptr;
    if (redisGetReply(context_, &raw) != REDIS_OK) fail();
    const reply_ptr reply(static_cast<redisReply*>(raw), freeReplyObject);
    auto text = text_of(*reply);
    if (reply->type != REDIS_REPLY_ERROR) return text;
    if (text.starts_with("ERR ")) text.erase(0, 4);
    throw std::runtime_error("the running sluice answers: " + text);
}

std::string control_client::call_when_free(std::initializer_list<std::string_view> args,
                                           const std::function<void()>& tick) {
    for (int attempt = 1;; ++attempt) {
        try {
            return call(args, tick);
        } catch (const std::runtime_error& error) {
            const bool is_busy =
                std::string_view(error.what()).find("is running already") != std::string_view::npos;
            if (!is_busy || attempt == most_attempts) throw;
        }
        if (tick) tick();
        std::this_thread::sleep_for(free_again_after);
    }
}

}  // namespace sluice::daemon
