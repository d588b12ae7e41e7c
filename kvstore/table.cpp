#include "kvstore/table.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <random>
#include <utility>

namespace sluice::kvstore {

namespace {

// Chosen once a process, so that nobody can prepare keys that all fall into one bucket.
std::uint64_t process_seed() {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
}
const std::uint64_t hash_seed = process_seed();

std::uint64_t reversed(std::uint64_t v) noexcept {
    v = ((v >> 1) & 0x5555555555555555U) | ((v & 0x5555555555555555U) << 1);
    v = ((v >> 2) & 0x3333333333333333U) | ((v & 0x3333333333333333U) << 2);
    v = ((v >> 4) & 0x0F0F0F0F0F0F0F0FU) | ((v & 0x0F0F0F0F0F0F0F0FU) << 4);
    return __builtin_bswap64(v);
}

entry** make_heads(std::size_t count) {
    // Zeroed by the kernel page by page when it is big, not here and now.
    auto* const out = static_cast<entry**>(std::calloc(count, pointer_size));
    if (out == nullptr) throw std::bad_alloc();
    return out;
}

}  // namespace

std::uint32_t table::hash_of(std::string_view key) noexcept {
    return static_cast<std::uint32_t>(XXH3_64bits_withSeed(key.data(), key.size(), hash_seed));
}

table::~table() {
    for_each([](entry& e) { entry::destroy(&e); });
    for (auto& part : halves_)
        std::free(static_cast<void*>(part.heads));
}

void table::swap(table& other) noexcept {
    std::swap(halves_, other.halves_);
    std::swap(moved_, other.moved_);
    std::swap(still_, other.still_);
}

entry* table::find(std::uint32_t hash, std::string_view key) noexcept {
    if (is_moving()) move_some();
    for (const auto& part : halves_) {
        if (part.used == 0) continue;
        for (auto* at = part.heads[hash & part.mask]; at != nullptr; at = at->next) {
            if (at->hash == hash && at->key() == key) return at;
        }
    }
    return nullptr;
}

void table::insert(entry* fresh) {
    grow_if_due();
    auto& part = halves_[is_moving() ? 1 : 0];
    auto*& head = part.heads[fresh->hash & part.mask];
    fresh->next = head;
    head = fresh;
    ++part.used;
}

entry** table::link_of(const entry* which) noexcept {
    for (auto& part : halves_) {
        if (part.used == 0) continue;
        for (auto** link = &part.heads[which->hash & part.mask]; *link != nullptr;
             link = &(*link)->next) {
            if (*link == which) return link;
        }
    }
    return nullptr;
}

void table::replace(entry* old, entry* fresh) noexcept {
    auto** const link = link_of(old);
    fresh->next = old->next;
    *link = fresh;
}

void table::remove(entry* which) noexcept {
    for (auto& part : halves_) {
        if (part.used == 0) continue;
        for (auto** link = &part.heads[which->hash & part.mask]; *link != nullptr;
             link = &(*link)->next) {
            if (*link != which) continue;
            *link = which->next;
            --part.used;
            shrink_if_due();
            return;
        }
    }
}

entry* table::random(std::uint64_t seed) noexcept {
    const auto all = halves_[0].count() + halves_[1].count();
    if (size() == 0 || all == 0) return nullptr;  // the second says so to static analysis
    std::minstd_rand numbers(static_cast<std::minstd_rand::result_type>(seed));
    for (;;) {
        auto index = ((std::uint64_t{numbers()} << 31) ^ numbers()) % all;
        const auto& part = halves_[index < halves_[0].count() ? 0 : 1];
        if (index >= halves_[0].count()) index -= halves_[0].count();
        std::size_t length = 0;
        for (auto* at = part.heads[index]; at != nullptr; at = at->next)
            ++length;
        if (length == 0) continue;
        auto* at = part.heads[index];
        for (auto steps = numbers() % length; steps > 0; --steps)
            at = at->next;
        return at;
    }
}

void table::grow_if_due() {
    if (is_moving()) {
        move_some();
        return;
    }
    if (halves_[0].heads == nullptr) {
        halves_[0].heads = make_heads(smallest);
        halves_[0].mask = smallest - 1;
        return;
    }
    const auto count = halves_[0].count();
    // The low 32 bits of a hash tell no more buckets apart.
    if (still_ == 0 && halves_[0].used >= count && count < (std::size_t{1} << 31)) {
        begin_move(count * 2);
    }
}

void table::shrink_if_due() {
    if (is_moving() || still_ > 0) return;
    const auto count = halves_[0].count();
    if (count <= smallest || halves_[0].used >= count / 8) return;
    begin_move(std::max(smallest, std::bit_ceil(halves_[0].used + 1)));
}

void table::begin_move(std::size_t buckets) {
    halves_[1].heads = make_heads(buckets);
    halves_[1].mask = buckets - 1;
    moved_ = 0;
    move_some();
}

void table::move_some() noexcept {
    if (still_ > 0) return;
    auto& from = halves_[0];
    auto& to = halves_[1];
    for (int looks = 16; looks > 0 && from.used > 0; --looks, ++moved_) {
        auto* at = from.heads[moved_];
        if (at == nullptr) continue;
        from.heads[moved_] = nullptr;
        while (at != nullptr) {
            auto* const next = at->next;
            auto*& head = to.heads[at->hash & to.mask];
            at->next = head;
            head = at;
            --from.used;
            ++to.used;
            at = next;
        }
        ++moved_;
        break;
    }
    if (from.used > 0) return;
    std::free(static_cast<void*>(from.heads));
    from = std::exchange(to, half{});
    moved_ = settled;
}

std::uint64_t table::next_cursor(std::uint64_t cursor, std::uint64_t mask) noexcept {
    return reversed(reversed(cursor | ~mask) + 1);
}

}  // namespace sluice::kvstore
