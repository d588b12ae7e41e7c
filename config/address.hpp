// Listen addresses as text, both ways.
//
//   address := host ":" port | "unix:" directory [ ":" port ]
//   host    := IPv4 | "[" IPv6 "]" | host name | "*"       "*": every address of the machine
//
// The port must be written for TCP: ":6432" could mean one address or all of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/schema.hpp"

namespace sluice::config {

inline constexpr std::uint16_t default_postgres_port = 6432;

// Throws bad_value. An IPv6 host loses its brackets.
[[nodiscard]] listen_address parse_address(std::string_view text);
[[nodiscard]] std::string show_address(const listen_address& address);
[[nodiscard]] std::string expected_address();

}  // namespace sluice::config
