// Who may see the monitoring port: a bearer token, users with passwords (plain or SCRAM verifiers),
// or nobody is asked. Compares in a time that tells nothing of what is stored, and stops listening
// to an address for a while after too many wrong answers.
// Confined to its owner (the main thread); the time is an argument. A SCRAM verifier costs a
// millisecond, and for each password only once: what was right is remembered as a keyed hash.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "config/schema.hpp"
#include "protocol/scram_verifier.hpp"

namespace sluice::daemon {

enum class access_answer {
    open,      // nobody is asked
    granted,   // has shown who they are
    unknown,   // has shown nothing
    refused,   // has shown something wrong
    too_many,  // has done so too often: ask again later
};

class monitoring_access {
  public:
    using time = std::chrono::steady_clock::time_point;
    static constexpr unsigned most_failures = 10;  // of an address, within...
    static constexpr std::chrono::seconds window{60};
    static constexpr std::size_t most_addresses = 4096;

    explicit monitoring_access(const config::monitoring_settings& settings);
    void configure(const config::monitoring_settings& settings);

    // `authorization` is the header's value; `peer` an address, or what stands for one.
    [[nodiscard]] access_answer check(std::string_view authorization, std::string_view peer,
                                      time now);

    [[nodiscard]] bool asks() const noexcept { return takes_token() || takes_passwords(); }
    [[nodiscard]] bool takes_token() const noexcept { return !settings_.token.empty(); }
    [[nodiscard]] bool takes_passwords() const noexcept { return !settings_.users.empty(); }

  private:
    struct failures {
        unsigned count = 0;
        time since{};
    };

    [[nodiscard]] bool is_right(std::string_view authorization) const;
    [[nodiscard]] bool is_right_password(std::string_view credentials) const;
    [[nodiscard]] bool is_limited(std::string_view peer, time now);
    void count_failure(std::string_view peer, time now);
    [[nodiscard]] protocol::sha256_digest hash_of(std::string_view text) const;

    config::monitoring_settings settings_;
    std::string stand_in_;  // compared with when there is no such user
    std::string key_;       // of hash_of(); random
    std::set<protocol::sha256_digest> proved_;
    std::map<std::string, failures, std::less<>> failures_;
};

}  // namespace sluice::daemon
