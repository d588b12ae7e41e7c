// What was received and not consumed yet: contiguous, appended at the end, consumed from the front.
// It has no memory of its own while nothing is left over: a receive into a shared buffer is lent to
// it, and keep() saves what was not consumed, because most connections are idle most of the time.
// Views of readable() live until the next prepare(), consume(), lend(), keep() or release().
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

class rx_buffer {
  public:
    [[nodiscard]] byte_span readable() const noexcept { return {base() + begin_, end_ - begin_}; }
    [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
    [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

    // Makes somebody else's bytes the content; only while empty, and until keep().
    void lend(byte_span bytes) noexcept {
        lent_ = bytes.data();
        begin_ = 0;
        end_ = bytes.size();
    }
    // What is left of lent bytes moves into memory of our own.
    void keep() {
        if (lent_ == nullptr) return;
        const auto rest = readable();
        lent_ = nullptr;
        begin_ = end_ = 0;
        append(rest);
    }

    // Room behind the readable bytes, in a buffer of at least `wanted` bytes in all.
    std::span<std::uint8_t> prepare(std::size_t wanted) {
        keep();
        if (begin_ == end_) begin_ = end_ = 0;
        if (capacity_ < wanted) {
            move_to(wanted);
        } else if (begin_ > 0 && capacity_ - end_ < capacity_ / 2 && size() < capacity_ / 2) {
            std::memmove(data_.get(), data_.get() + begin_, size());
            end_ -= begin_;
            begin_ = 0;
        }
        if (end_ == capacity_) move_to(std::max<std::size_t>(capacity_ * 2, 64));
        return {data_.get() + end_, capacity_ - end_};
    }
    // Room up to `most` readable bytes in all, in a buffer of just that size; empty when they are
    // there. For a peer that nobody has vouched for.
    std::span<std::uint8_t> prepare_within(std::size_t most) {
        keep();
        if (size() >= most) return {};
        if (capacity_ != most) {
            move_to(most);
        } else if (begin_ > 0) {
            std::memmove(data_.get(), data_.get() + begin_, size());
            end_ -= begin_;
            begin_ = 0;
        }
        return {data_.get() + end_, most - end_};
    }
    void commit(std::size_t n) noexcept { end_ += n; }
    void consume(std::size_t n) noexcept { begin_ += n; }

    void append(byte_span bytes) {
        if (bytes.empty()) return;
        auto room = prepare(size() + bytes.size());
        if (room.size() < bytes.size()) {
            move_to(size() + bytes.size());
            room = {data_.get() + end_, capacity_ - end_};
        }
        std::memcpy(room.data(), bytes.data(), bytes.size());
        commit(bytes.size());
    }

    // Gives the memory of an empty buffer back.
    void release() noexcept {
        if (!empty() || lent_ != nullptr) return;
        begin_ = end_ = capacity_ = 0;
        data_.reset();
    }

  private:
    [[nodiscard]] const std::uint8_t* base() const noexcept {
        return lent_ != nullptr ? lent_ : data_.get();
    }
    void move_to(std::size_t capacity) {
        auto bigger = std::make_unique_for_overwrite<std::uint8_t[]>(capacity);
        if (!empty()) std::memcpy(bigger.get(), data_.get() + begin_, size());
        end_ -= begin_;
        begin_ = 0;
        data_ = std::move(bigger);
        capacity_ = capacity;
    }

    std::unique_ptr<std::uint8_t[]> data_;
    const std::uint8_t* lent_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

}  // namespace sluice::protocol
