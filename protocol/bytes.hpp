// Bounds-checked cursors over wire bytes (network byte order). Every untrusted length goes through
// `reader`; nothing else in the project does pointer arithmetic on input.
// Views handed out point into the caller's buffer and live as long as it is left alone.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace sluice::protocol {

using byte_span = std::span<const std::uint8_t>;

inline std::string_view as_text(byte_span bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline byte_span as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Reads forward. The first read that does not fit sets a sticky failure; from then on every read
// gives zero or empty, so a parser tests ok() once at its end.
class reader {
  public:
    explicit reader(byte_span bytes) noexcept : rest_(bytes) {}

    [[nodiscard]] bool ok() const noexcept { return !failed_; }
    [[nodiscard]] bool at_end() const noexcept { return !failed_ && rest_.empty(); }
    [[nodiscard]] std::size_t left() const noexcept { return rest_.size(); }

    byte_span take(std::size_t n) noexcept {
        if (n > rest_.size()) {  // never "pos + n <= size": it can wrap
            fail();
            return {};
        }
        const auto out = rest_.first(n);
        rest_ = rest_.subspan(n);
        return out;
    }
    byte_span take_rest() noexcept { return take(rest_.size()); }

    std::uint8_t u8() noexcept { return integer<std::uint8_t>(); }
    std::uint16_t u16() noexcept { return integer<std::uint16_t>(); }
    std::uint32_t u32() noexcept { return integer<std::uint32_t>(); }

    // A zero-terminated string; the zero is consumed and not part of the result.
    std::string_view text() noexcept {
        const void* zero = rest_.empty() ? nullptr : std::memchr(rest_.data(), 0, rest_.size());
        if (zero == nullptr) {
            fail();
            return {};
        }
        const auto length =
            static_cast<std::size_t>(static_cast<const std::uint8_t*>(zero) - rest_.data());
        const auto out = as_text(rest_.first(length));
        rest_ = rest_.subspan(length + 1);
        return out;
    }

  private:
    void fail() noexcept {
        failed_ = true;
        rest_ = {};
    }

    template <class Int>
    Int integer() noexcept {
        const auto bytes = take(sizeof(Int));
        Int value = 0;
        for (const auto byte : bytes) {
            value = static_cast<Int>((static_cast<std::uint64_t>(value) << 8) | byte);
        }
        return value;
    }

    byte_span rest_;
    bool failed_ = false;
};

inline std::uint32_t load_u32(const std::uint8_t* at) noexcept {
    return (std::uint32_t{at[0]} << 24) | (std::uint32_t{at[1]} << 16) |
           (std::uint32_t{at[2]} << 8) | std::uint32_t{at[3]};
}

inline void store_u32(char* at, std::uint32_t value) noexcept {
    at[0] = static_cast<char>(value >> 24);
    at[1] = static_cast<char>(value >> 16);
    at[2] = static_cast<char>(value >> 8);
    at[3] = static_cast<char>(value);
}

}  // namespace sluice::protocol
