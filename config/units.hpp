// Durations, sizes, whole numbers and switches as text, both ways. Parsers throw bad_value.
//
//   duration := number [ "ms" | "s" | "m" | "min" | "h" | "d" ]    no unit: seconds, as PgBouncer
//   size     := number [ "B" | "kB" | "MB" | "GB" | "KiB" | "MiB" | "GiB" ]    no unit: bytes
//   number   := digits [ "." digits ]
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::config {

inline constexpr std::chrono::milliseconds longest_duration = std::chrono::hours(24 * 365);

// A duration above zero that would round to zero is refused: zero means "off".
[[nodiscard]] std::chrono::milliseconds parse_duration(std::string_view text);
[[nodiscard]] std::uint64_t parse_size(std::string_view text);
[[nodiscard]] std::uint32_t parse_count(std::string_view text, std::uint32_t min,
                                        std::uint32_t max);
[[nodiscard]] bool parse_switch(std::string_view text);

// The form that the contract and the reference use: 60s, 5min, 1h, 500ms; 0 when off.
[[nodiscard]] std::string show_duration(std::chrono::milliseconds value);
// The largest binary unit of which it is a whole number: 50MiB, 1GiB, 1000.
[[nodiscard]] std::string show_size(std::uint64_t value);

[[nodiscard]] std::string expected_duration();
[[nodiscard]] std::string expected_size();
// Of more than 0, and of at most 365 days.
[[nodiscard]] std::string expected_interval();
[[nodiscard]] std::string expected_count(std::uint32_t min, std::uint32_t max);
[[nodiscard]] std::string expected_switch();

}  // namespace sluice::config
