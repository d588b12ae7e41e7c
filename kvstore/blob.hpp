// Bytes of a big value, shared: a reply on its way out and a snapshot being written hold on to them
// while the key gets another value. Immutable while shared; whoever holds the only reference may
// change them. References may be dropped on any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace sluice::kvstore {

class blob {
  public:
    // One reference, the caller's. Room for `capacity` bytes, none of them set.
    static blob* make(std::size_t capacity) {
        void* const memory = ::operator new(sizeof(blob) + capacity);
        return ::new (memory) blob(capacity);
    }
    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
        this->~blob();
        ::operator delete(this);
    }
    [[nodiscard]] bool is_shared() const noexcept {
        return references_.load(std::memory_order_acquire) != 1;
    }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] char* data() noexcept { return reinterpret_cast<char*>(this + 1); }
    [[nodiscard]] const char* data() const noexcept {
        return reinterpret_cast<const char*>(this + 1);
    }

  private:
    explicit blob(std::size_t capacity) noexcept : capacity_(capacity) {}

    std::atomic<std::size_t> references_{1};
    std::size_t capacity_;
};

// One counted reference.
class blob_ref {
  public:
    blob_ref() = default;
    explicit blob_ref(blob* shared) noexcept : blob_(shared) {
        if (blob_ != nullptr) blob_->add_reference();
    }
    blob_ref(blob_ref&& other) noexcept : blob_(std::exchange(other.blob_, nullptr)) {}
    blob_ref& operator=(blob_ref&& other) noexcept {
        std::swap(blob_, other.blob_);
        return *this;
    }
    ~blob_ref() {
        if (blob_ != nullptr) blob_->drop_reference();
    }

    explicit operator bool() const noexcept { return blob_ != nullptr; }

  private:
    blob* blob_ = nullptr;
};

}  // namespace sluice::kvstore
