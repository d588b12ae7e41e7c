// A key and its value in one piece of memory:
//   entry | expiry (16 bytes, only of keys that expire) | key | value, or the pointer to its blob
// A small key costs 24 bytes and a pointer in its table beyond its own bytes. Owned by a table.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "kvstore/blob.hpp"
#include "kvstore/change.hpp"

namespace sluice::kvstore {

// Named, since the size of a pointer mostly is a mistake for that of what it points to.
inline constexpr std::size_t pointer_size = sizeof(void*);

class entry {
  public:
    // A bigger value lies in a blob: it is neither copied for a reply nor for a snapshot.
    static constexpr std::size_t largest_inline = 8192;

    struct content {
        std::string_view key;
        std::string_view value;
        time_ms expires = never;
        value_form form = value_form::undecided;
        blob* shared = nullptr;  // the value's blob, to hold on to instead of copying
    };
    [[nodiscard]] static entry* make(std::uint32_t hash, const content& from);
    static void destroy(entry* which) noexcept;
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;

    [[nodiscard]] std::string_view key() const noexcept { return {bytes() + lead(), key_size()}; }
    [[nodiscard]] std::string_view value() const noexcept {
        return {is_blob() ? shared()->data() : bytes() + lead() + key_size(), value_size()};
    }
    // The value's blob; null for a value that lies in the entry.
    [[nodiscard]] blob* shared() const noexcept {
        if (!is_blob()) return nullptr;
        blob* out = nullptr;
        std::memcpy(&out, bytes() + lead() + key_size(), pointer_size);
        return out;
    }
    [[nodiscard]] std::size_t key_size() const noexcept { return key_and_flags_ & size_mask; }
    [[nodiscard]] std::size_t value_size() const noexcept { return value_and_form_ & size_mask; }
    [[nodiscard]] value_form form() const noexcept {
        return static_cast<value_form>(value_and_form_ >> size_bits);
    }
    void set_form(value_form form) noexcept {
        value_and_form_ = static_cast<std::uint32_t>(value_size()) |
                          (static_cast<std::uint32_t>(form) << size_bits);
    }
    [[nodiscard]] bool expires() const noexcept { return (key_and_flags_ & expiry_flag) != 0; }
    [[nodiscard]] time_ms expiry() const noexcept {
        if (!expires()) return never;
        time_ms out = 0;
        std::memcpy(&out, bytes(), sizeof out);
        return out;
    }
    [[nodiscard]] bool is_expired(time_ms now) const noexcept {
        return expires() && expiry() <= now;
    }
    // Only of keys that expire: where the project's expiry queue has it.
    [[nodiscard]] std::size_t queue_index() const noexcept {
        std::uint64_t out = 0;
        std::memcpy(&out, bytes() + sizeof(time_ms), sizeof out);
        return out;
    }
    void set_queue_index(std::size_t index) noexcept {
        const std::uint64_t value = index;
        std::memcpy(bytes() + sizeof(time_ms), &value, sizeof value);
    }
    void set_expiry(time_ms at) noexcept { std::memcpy(bytes(), &at, sizeof at); }

    // Overwrites a value of the same size that lies in the entry; false: it needs another entry.
    bool overwrite(std::string_view value, value_form form) noexcept;
    // Writes `bytes` at `offset` if that needs no other memory.
    bool splice(std::uint64_t offset, std::string_view bytes) noexcept;

    entry* next = nullptr;   // in the table's bucket
    std::uint32_t hash = 0;  // of the key
    std::uint32_t used = 0;  // last access, in seconds since 1970

  private:
    static constexpr std::uint32_t size_bits = 30;  // 512 MiB, inclusive
    static constexpr std::uint32_t size_mask = (1U << size_bits) - 1;
    static constexpr std::uint32_t expiry_flag = 1U << 30;
    static constexpr std::uint32_t blob_flag = 1U << 31;

    entry() = default;
    [[nodiscard]] bool is_blob() const noexcept { return (key_and_flags_ & blob_flag) != 0; }
    [[nodiscard]] std::size_t lead() const noexcept { return expires() ? 16 : 0; }
    [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
    [[nodiscard]] const char* bytes() const noexcept {
        return reinterpret_cast<const char*>(this + 1);
    }

    std::uint32_t key_and_flags_ = 0;
    std::uint32_t value_and_form_ = 0;
};
static_assert(sizeof(entry) == 24);

}  // namespace sluice::kvstore
