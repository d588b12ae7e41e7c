// Passwords proved by logging in upstream, remembered for a while as SCRAM verifiers so that not
// every client costs a login. Thread-safe; check() blocks and belongs on a helper thread.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "config/schema.hpp"
#include "pool/upstream_login.hpp"
#include "protocol/scram_verifier.hpp"

namespace sluice::daemon {

class passthrough_cache {
  public:
    struct proof {
        bool matches = false;
        std::optional<pool::login_failure> unreachable;  // nobody could say
    };
    [[nodiscard]] proof check(const std::string& name, const std::string& password,
                              const pool::login_order& order, config::milliseconds believed);

  private:
    struct entry {
        protocol::scram_verifier verifier;
        std::chrono::steady_clock::time_point until;
    };
    static constexpr std::size_t most = 10000;
    std::mutex mutex_;
    std::map<std::string, entry> known_;
};

}  // namespace sluice::daemon
