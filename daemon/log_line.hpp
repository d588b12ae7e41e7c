// One log line: what may be in it, and how it is written as text or as JSON.
// Pure and for any thread. Values are views into what the caller owns and are formatted before
// the call returns. The message and the keys are literals, checked by the compiler, so nothing
// that comes from a peer can be one; values are escaped, so they cannot start a line or a field.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "config/schema.hpp"

namespace sluice::daemon {

// What happened, in a few words. Printable ASCII; a string literal and nothing else.
class log_message {
  public:
    // NOLINTNEXTLINE(google-explicit-constructor): callers write plain literals
    consteval log_message(const char* literal) : text_(literal) {
        for (const char c : text_) {
            if (c < ' ' || c > '~') throw "a log message is printable ASCII";
        }
    }
    [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

  private:
    std::string_view text_;
};

// Lower-case letters, digits and underscores; not one of the names that every line has.
class log_key {
  public:
    // NOLINTNEXTLINE(google-explicit-constructor): callers write plain literals
    consteval log_key(const char* literal) : text_(literal) {
        for (const char c : text_) {
            const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
            if (!plain) throw "a log key is made of a-z, 0-9 and _";
        }
        if (text_.empty() || text_ == "time" || text_ == "level" || text_ == "message") {
            throw "every line has a time, a level and a message already";
        }
    }
    [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

  private:
    std::string_view text_;
};

// Text, a number, a truth value or a duration. Durations are written in seconds.
class log_value {
  public:
    using storage = std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool,
                                 std::chrono::nanoseconds>;

    // NOLINTBEGIN(google-explicit-constructor): callers write plain values
    template <class Text>
    requires std::convertible_to<const Text&, std::string_view> log_value(const Text& text)
    noexcept : value_(std::string_view(text)) {}
    template <class Bool>
    requires std::same_as<Bool, bool> log_value(Bool value)
    noexcept : value_(value) {}
    template <std::integral Int>
    requires(!std::same_as<Int, bool>) log_value(Int value)
    noexcept {
        if constexpr (std::is_signed_v<Int>) {
            value_ = static_cast<std::int64_t>(value);
        } else {
            value_ = static_cast<std::uint64_t>(value);
        }
    }
    log_value(double value) noexcept : value_(value) {}
    template <class Rep, class Period>
    log_value(std::chrono::duration<Rep, Period> value) noexcept
        : value_(std::chrono::duration_cast<std::chrono::nanoseconds>(value)) {}
    // NOLINTEND(google-explicit-constructor)

    [[nodiscard]] const storage& get() const noexcept { return value_; }

  private:
    storage value_;
};

struct log_field {
    log_key key;
    log_value value;
};

using log_fields = std::initializer_list<log_field>;

// A text value is cut after so many bytes.
inline constexpr std::size_t log_value_limit = 1024;

// A whole line with its line feed:
//   2026-11-22T10:56:59.123Z info  client connected database=app user="a b"
//   {"time":"2026-11-22T10:56:59.123Z","level":"info","message":"client connected",...}
std::string format_log_line(config::log_format format, std::chrono::system_clock::time_point time,
                            config::log_level level, std::string_view message, log_fields fields);

}  // namespace sluice::daemon
