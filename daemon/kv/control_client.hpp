// The command line's side of a running daemon's control socket. Blocking; one thread. Errors, also
// those that the daemon answers, are thrown as std::runtime_error.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct redisContext;

namespace sluice::daemon {

class control_client {
  public:
    // Null: nobody listens there.
    [[nodiscard]] static std::unique_ptr<control_client> connect(const std::string& path);
    ~control_client();
    control_client(const control_client&) = delete;
    control_client& operator=(const control_client&) = delete;

    // `tick` is called each second while the answer is not there.
    std::string call(std::initializer_list<std::string_view> args,
                     const std::function<void()>& tick = {});
    // The same, again and again while another save or backup is running.
    std::string call_when_free(std::initializer_list<std::string_view> args,
                               const std::function<void()>& tick = {});

    // Pipelines: send() many, then receive() as often. An error that was answered is the text;
    // empty: it went well.
    void send(std::initializer_list<std::string_view> args);
    [[nodiscard]] std::string receive();

  private:
    explicit control_client(redisContext* context) : context_(context) {}
    void wait(const std::function<void()>& tick);
    [[noreturn]] void fail() const;

    redisContext* context_;
};

}  // namespace sluice::daemon
