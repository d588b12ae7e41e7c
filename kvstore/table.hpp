// The keys of one project: a chained hash table of powers of two that grows and shrinks a bucket at
// a time, so that no command pays for all of it, and that can be walked by a cursor which any
// client may resume at any time (SCAN's promise: a key that is there all the while is met).
// Not thread-safe: its project's lock guards it. Owns its entries.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "kvstore/entry.hpp"

namespace sluice::kvstore {

class table {
  public:
    table() = default;
    table(table&& other) noexcept { swap(other); }
    table& operator=(table&& other) noexcept {
        swap(other);
        return *this;
    }
    ~table();

    [[nodiscard]] static std::uint32_t hash_of(std::string_view key) noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return halves_[0].used + halves_[1].used; }
    [[nodiscard]] entry* find(std::uint32_t hash, std::string_view key) noexcept;
    // The key must not be there.
    void insert(entry* fresh);
    // Puts `fresh` where `old` was, and gives `old` back to the caller.
    void replace(entry* old, entry* fresh) noexcept;
    // Takes it out; the caller destroys it.
    void remove(entry* which) noexcept;
    [[nodiscard]] entry* random(std::uint64_t seed) noexcept;

    // Meets the entries of one place of the walk; gives the next place, 0 at the end.
    template <class Visit>
    std::uint64_t scan(std::uint64_t cursor, Visit&& visit);
    template <class Visit>
    void for_each(Visit&& visit);

    // While a snapshot walks the buckets they stay where they are.
    void hold_still() noexcept { ++still_; }
    void move_again() noexcept { --still_; }
    // For that walk: two halves (the second one only while growing), their buckets by number.
    [[nodiscard]] std::size_t buckets(int which) const noexcept {
        return halves_[static_cast<std::size_t>(which)].count();
    }
    [[nodiscard]] entry* bucket(int which, std::size_t index) const noexcept {
        return halves_[static_cast<std::size_t>(which)].heads[index];
    }
    [[nodiscard]] bool is_moving() const noexcept { return moved_ != settled; }
    // What the table itself needs, without its entries.
    [[nodiscard]] std::size_t overhead() const noexcept {
        return (halves_[0].count() + halves_[1].count()) * pointer_size;
    }

  private:
    struct half {
        entry** heads = nullptr;
        std::size_t mask = 0;
        std::size_t used = 0;
        [[nodiscard]] std::size_t count() const noexcept { return heads == nullptr ? 0 : mask + 1; }
    };
    static constexpr std::size_t settled = static_cast<std::size_t>(-1);
    static constexpr std::size_t smallest = 4;

    void swap(table& other) noexcept;
    void grow_if_due();
    void shrink_if_due();
    void begin_move(std::size_t buckets);
    void move_some() noexcept;
    [[nodiscard]] entry** link_of(const entry* which) noexcept;
    static std::uint64_t next_cursor(std::uint64_t cursor, std::uint64_t mask) noexcept;

    std::array<half, 2> halves_{};
    std::size_t moved_ = settled;  // buckets of the first half that are empty for good
    int still_ = 0;
};

template <class Visit>
void table::for_each(Visit&& visit) {
    for (const auto& part : halves_) {
        const auto count = part.count();
        for (std::size_t i = 0; i < count; ++i) {
            // Entries lie anywhere: a walk would wait for memory most of the time.
            if (i + 12 < count) __builtin_prefetch(part.heads[i + 12]);
            for (auto* at = part.heads[i]; at != nullptr;) {
                auto* const next = at->next;
                visit(*at);
                at = next;
            }
        }
    }
}

// The cursor counts with its bits reversed: when the table doubles, a bucket's two successors have
// the same low bits and lie on the same side of the cursor as it did.
template <class Visit>
std::uint64_t table::scan(std::uint64_t cursor, Visit&& visit) {
    if (size() == 0) return 0;
    const auto meet = [&](const half& part, std::uint64_t at) {
        for (auto* e = part.heads[at & part.mask]; e != nullptr; e = e->next)
            visit(*e);
    };
    if (!is_moving()) {
        meet(halves_[0], cursor);
        return next_cursor(cursor, halves_[0].mask);
    }
    const bool growing = halves_[0].mask < halves_[1].mask;
    const auto& small = halves_[growing ? 0 : 1];
    const auto& large = halves_[growing ? 1 : 0];
    meet(small, cursor);
    // All buckets of the larger half that the smaller one's bucket stands for.
    do {
        meet(large, cursor);
        cursor = next_cursor(cursor, large.mask);
    } while ((cursor & (small.mask ^ large.mask)) != 0);
    return cursor;
}

}  // namespace sluice::kvstore
