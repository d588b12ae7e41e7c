// Text that must not outlive its use: a password on its way to whoever checks it. Move-only; the
// bytes are overwritten when it is destroyed, moved from or assigned to.
// A plain std::string is not enough: moving a short one leaves its bytes behind in the source.
#pragma once

#include <openssl/crypto.h>

#include <string>
#include <string_view>
#include <utility>

namespace sluice::protocol {

inline void wipe(std::string& text) noexcept {
    OPENSSL_cleanse(text.data(), text.size());
    text.clear();
}

class secret {
  public:
    secret() = default;
    explicit secret(std::string_view text) : text_(text) {}
    secret(secret&& other) noexcept { take(other); }
    secret& operator=(secret&& other) noexcept {
        if (this != &other) {
            wipe(text_);
            take(other);
        }
        return *this;
    }
    ~secret() { wipe(text_); }

    [[nodiscard]] std::string_view view() const noexcept { return text_; }
    [[nodiscard]] const char* c_str() const noexcept { return text_.c_str(); }
    [[nodiscard]] bool empty() const noexcept { return text_.empty(); }

  private:
    void take(secret& other) noexcept {
        // The move copies a short text and leaves its bytes in the source's inline buffer.
        text_ = std::move(other.text_);
        other.text_.resize(other.text_.capacity());
        wipe(other.text_);
    }

    std::string text_;
};

}  // namespace sluice::protocol
