// The process that started this one to take its place, as seen from here: docs/upgrade.md.
// Blocking; the main thread's, but for cancel().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/handover.hpp"
#include "daemon/kv/handed_client.hpp"
#include "daemon/listeners.hpp"

namespace sluice::daemon {

inline constexpr const char* handover_variable = "SLUICE_HANDOVER";

class predecessor {
  public:
    // Null: nobody started this process for that. Takes the variable out of the environment.
    [[nodiscard]] static std::unique_ptr<predecessor> find();

    // Throws std::runtime_error if it does not say what it should.
    void take_sockets(listeners& into);
    void ready();
    // The store is free. Throws std::runtime_error if the predecessor has gone, or given us up.
    [[nodiscard]] std::vector<handed_client> wait_until_free();
    void serving();
    void failed(std::string_view why);
    // Until systemd knows that we are the main process.
    void wait_until_main();
    // Any thread: one of its clients wants a query cancelled.
    void cancel(std::uint32_t process_id, const std::string& secret);

  private:
    explicit predecessor(int descriptor) : channel_(descriptor) {}
    [[nodiscard]] handover_channel::message next();

    handover_channel channel_;
};

// For a process that cannot start: why, if there is a predecessor, which will tell it.
void tell_predecessor(std::string_view why) noexcept;

[[nodiscard]] bool read_cancel(std::string_view text, std::uint32_t& process_id,
                               std::string& secret);

}  // namespace sluice::daemon
