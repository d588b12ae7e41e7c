#include "kvstore/snapshot.hpp"

#include <algorithm>
#include <cassert>

namespace sluice::kvstore {

namespace {

// Above malloc's threshold: given back to the kernel when the snapshot ends.
constexpr std::size_t arena_size = std::size_t{1} << 20;

}  // namespace

snapshot::~snapshot() {
    assert(!running_);
}

void snapshot::begin(project& of) {
    header_ = {of.id(), of.created_ms, of.updated_ms, of.last_change};
    for (int half = 0; half < 2; ++half) {
        done_[half].assign(of.table_.buckets(half), false);
    }
    // A vector of a million entries that grows copies them with the project's lock held.
    entries_.reserve(of.keys());
    of.table_.hold_still();
    of.snapshot_ = this;
    running_ = true;
}

void snapshot::end(project& of) noexcept {
    if (!running_) return;
    running_ = false;
    if (!has_taken_) of.table_.move_again();
    of.snapshot_ = nullptr;
}

void snapshot::abandon(project& of) noexcept {
    end(of);
}

bool snapshot::step(project& of, std::size_t bytes) {
    const auto& from = has_taken_ ? taken_ : of.table_;
    const auto goal = bytes_ + bytes;
    std::size_t looks = 0;
    for (; half_ < 2; ++half_, index_ = 0) {
        for (const auto count = done_[half_].size(); index_ < count; ++index_) {
            if (bytes_ >= goal || ++looks > 16384) return false;
            if (!done_[half_][index_]) copy_bucket(from, half_, index_);
        }
    }
    end(of);
    return true;
}

void snapshot::copy_bucket(const table& from, int half, std::size_t index) {
    done_[half][index] = true;
    for (const auto* e = from.bucket(half, index); e != nullptr; e = e->next)
        copy(*e);
}

void snapshot::copy(const entry& e) {
    stored_entry out;
    out.key = keep(e.key());
    if (auto* const content = e.shared()) {
        held_.emplace_back(content);
        out.value = e.value();
    } else {
        out.value = keep(e.value());
    }
    out.expires = e.expiry();
    out.form = e.form();
    entries_.push_back(out);
    bytes_ += sizeof(stored_entry) + e.key_size() + (e.shared() != nullptr ? 0 : e.value_size());
}

std::string_view snapshot::keep(std::string_view bytes) {
    if (bytes.empty()) return {};
    if (arenas_.empty() || arenas_.back().size - arenas_.back().used < bytes.size()) {
        const auto size = std::max(arena_size, bytes.size());
        arenas_.push_back({std::make_unique_for_overwrite<char[]>(size), size, 0});
    }
    auto& last = arenas_.back();
    char* const at = last.memory.get() + last.used;
    std::memcpy(at, bytes.data(), bytes.size());
    last.used += bytes.size();
    return {at, bytes.size()};
}

void snapshot::save(project& of, std::uint32_t hash) {
    if (has_taken_) return;  // what is in the project now came after the moment
    for (int half = 0; half < 2; ++half) {
        const auto count = done_[half].size();
        if (count == 0) continue;
        const auto index = hash & (count - 1);
        if (!done_[half][index]) copy_bucket(of.table_, half, index);
    }
}

void snapshot::take_all(project& of) {
    if (has_taken_) return;
    of.table_.move_again();
    taken_ = std::move(of.table_);
    of.table_ = table();
    has_taken_ = true;
}

std::vector<stored_entry>& snapshot::sorted() {
    std::sort(
        entries_.begin(), entries_.end(),
        [](const stored_entry& one, const stored_entry& other) { return one.key < other.key; });
    return entries_;
}

}  // namespace sluice::kvstore
