// Every logged-in client by the cancel key that it was given, and by serial number: how a cancel
// request, which comes over a connection of its own, finds the worker and the session it means.
// Thread-safe by a lock; used at login, at the end, and by cancel requests, never for a query.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace sluice::pool {

struct client_entry {
    unsigned worker = 0;
    std::uint64_t serial = 0;
    std::uint32_t process_id = 0;
    std::string secret;
    std::weak_ptr<void> session;  // to be used on `worker` only
    std::string description;      // user, database, application name and address, for people
};

class client_registry {
  public:
    // Gives the client a process id that no other client has now; `random` is the first guess.
    std::uint32_t add(client_entry entry, std::uint32_t random);
    void remove(std::uint32_t process_id);

    // Compares the secret in constant time.
    [[nodiscard]] std::optional<client_entry> find(std::uint32_t process_id,
                                                   std::string_view secret) const;
    [[nodiscard]] std::string describe(std::uint64_t serial) const;

  private:
    mutable std::mutex mutex_;
    std::unordered_map<std::uint32_t, client_entry> by_process_id_;
};

}  // namespace sluice::pool
