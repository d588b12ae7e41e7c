// A contiguous receive area: bytes are appended at the end and consumed from the front, and what is
// left of a message stays until the rest of it has come. It starts without memory, grows to what
// is asked for and gives its memory back when told so, because most clients are idle most of the time.
// Views of readable() live until the next prepare(), consume() or release().
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
    [[nodiscard]] byte_span readable() const noexcept {
        return {data_.get() + begin_, end_ - begin_};
    }
    [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
    [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

    // Room behind the readable bytes, in a buffer of at least `wanted` bytes in all.
    std::span<std::uint8_t> prepare(std::size_t wanted) {
        if (begin_ == end_) {
            begin_ = end_ = 0;
        }
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
    void commit(std::size_t n) noexcept { end_ += n; }
    void consume(std::size_t n) noexcept { begin_ += n; }

    void append(byte_span bytes) {
        if (bytes.empty()) return;
        const auto room = prepare(size() + bytes.size() + begin_);
        std::memcpy(room.data(), bytes.data(), bytes.size());
        commit(bytes.size());
    }

    // Shrinks an empty buffer to at most `keep` bytes (0: no memory at all).
    void release(std::size_t keep) {
        if (!empty() || capacity_ <= keep) return;
        begin_ = end_ = 0;
        capacity_ = keep;
        data_ = keep == 0 ? nullptr : std::make_unique_for_overwrite<std::uint8_t[]>(keep);
    }

  private:
    void move_to(std::size_t capacity) {
        auto bigger = std::make_unique_for_overwrite<std::uint8_t[]>(capacity);
        if (!empty()) std::memcpy(bigger.get(), data_.get() + begin_, size());
        end_ -= begin_;
        begin_ = 0;
        data_ = std::move(bigger);
        capacity_ = capacity;
    }

    std::unique_ptr<std::uint8_t[]> data_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

}  // namespace sluice::protocol
