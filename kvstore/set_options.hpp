// Options of SET and GETEX, and what an expiry that a client names means as a time.
// Pure functions. https://redis.io/commands/set/, https://redis.io/commands/getex/
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kvstore/change.hpp"

namespace sluice::kvstore {

// How a client names the time at which a key expires.
enum class expiry_form : std::uint8_t { seconds, milliseconds, second_of_epoch, ms_of_epoch };

struct set_options {
    enum class condition : std::uint8_t { none, absent, present };  // NX, XX
    enum class lifetime : std::uint8_t { unsaid, given, keep, persist };

    condition only_if = condition::none;
    lifetime life = lifetime::unsaid;
    expiry_form form = expiry_form::seconds;
    bool get = false;
    std::string_view time;  // as it was sent, if life is `given`; not looked at yet
};

// SET takes NX, XX, GET and KEEPTTL, GETEX takes PERSIST, both take EX, PX, EXAT and PXAT.
enum class takes_options { of_set, of_getex };

// False: one of them is unknown, lacks its time or excludes one before it. The last of several
// equal ones counts.
[[nodiscard]] bool parse_set_options(std::span<const std::string_view> options, takes_options which,
                                     set_options& out) noexcept;

// Never `never`. None when it is not positive or beyond what milliseconds can tell; a time in the
// past is one.
[[nodiscard]] std::optional<time_ms> expiry_time(std::int64_t given, expiry_form form,
                                                 time_ms now) noexcept;

}  // namespace sluice::kvstore
