#include "config/units.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "config/error.hpp"

namespace sluice::config {

namespace {

using unit = std::pair<std::string_view, double>;

constexpr std::array duration_units{
    unit{"", 1000.0},      unit{"ms", 1.0},        unit{"s", 1000.0},      unit{"m", 60'000.0},
    unit{"min", 60'000.0}, unit{"h", 3'600'000.0}, unit{"d", 86'400'000.0}};

constexpr double kibi = 1024.0;
constexpr std::array size_units{
    unit{"", 1.0},   unit{"B", 1.0},    unit{"kB", 1e3},         unit{"MB", 1e6},
    unit{"GB", 1e9}, unit{"KiB", kibi}, unit{"MiB", kibi* kibi}, unit{"GiB", kibi* kibi* kibi}};
constexpr double largest_size = 1e15;

// The number at the front times the unit behind it. No sign, exponent, infinity or space.
template <std::size_t N>
std::optional<double> scaled(std::string_view text, const std::array<unit, N>& units) {
    const auto end = std::min(text.find_first_not_of("0123456789."), text.size());
    const auto number = text.substr(0, end);
    if (number.empty() || number.front() == '.' || number.back() == '.') return std::nullopt;
    double value = 0;
    const auto [rest, error] = std::from_chars(number.data(), number.data() + number.size(), value,
                                               std::chars_format::fixed);
    if (error != std::errc() || rest != number.data() + number.size()) return std::nullopt;
    for (const auto& [name, factor] : units) {
        if (text.substr(end) == name) return value * factor;
    }
    return std::nullopt;
}

}  // namespace

std::string expected_duration() {
    return "a duration such as 500ms, 60s, 5min, 1h or 1d (at most 365d; 0 is off)";
}

std::string expected_interval() {
    return "a duration above 0 such as 10s, 5min, 1h or 1d (at most 365d)";
}

std::string expected_size() {
    return "a size such as 4096, 64KiB or 50MiB";
}

std::string expected_count(std::uint32_t min, std::uint32_t max) {
    return "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
}

std::string expected_switch() {
    return "true or false";
}

std::chrono::milliseconds parse_duration(std::string_view text) {
    const auto value = scaled(text, duration_units);
    constexpr auto most = static_cast<double>(longest_duration.count());
    if (!value || *value > most || (*value > 0 && *value < 1)) throw bad_value(expected_duration());
    return std::chrono::milliseconds(std::llround(*value));
}

std::uint64_t parse_size(std::string_view text) {
    const auto value = scaled(text, size_units);
    if (!value || *value > largest_size || std::floor(*value) != *value) {
        throw bad_value(expected_size());
    }
    return static_cast<std::uint64_t>(*value);
}

std::uint32_t parse_count(std::string_view text, std::uint32_t min, std::uint32_t max) {
    std::uint32_t value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || rest != text.data() + text.size() || value < min || value > max) {
        throw bad_value(expected_count(min, max));
    }
    return value;
}

bool parse_switch(std::string_view text) {
    for (const std::string_view on : {"true", "yes", "on", "1"}) {
        if (text == on) return true;
    }
    for (const std::string_view off : {"false", "no", "off", "0"}) {
        if (text == off) return false;
    }
    throw bad_value(expected_switch());
}

std::string show_duration(std::chrono::milliseconds value) {
    using namespace std::chrono_literals;
    const auto whole = [&](std::chrono::milliseconds one) { return value % one == 0ms; };
    const auto times = [&](std::chrono::milliseconds one) { return std::to_string(value / one); };
    if (value == 0ms) return "0";
    if (whole(24h)) return times(24h) + "d";
    if (whole(1h)) return times(1h) + "h";
    if (whole(1min) && value >= 5min) return times(1min) + "min";
    if (whole(1s)) return times(1s) + "s";
    return times(1ms) + "ms";
}

std::string show_size(std::uint64_t value) {
    using shown_unit = std::pair<unsigned, std::string_view>;
    for (const auto& [bits, name] :
         {shown_unit{30, "GiB"}, shown_unit{20, "MiB"}, shown_unit{10, "KiB"}}) {
        const auto whole = value >> bits;
        if (whole != 0 && whole << bits == value) return std::to_string(whole) + std::string(name);
    }
    return std::to_string(value);
}

}  // namespace sluice::config
