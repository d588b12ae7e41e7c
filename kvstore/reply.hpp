// Replies on their way to one client: text, and big values that are passed on where they lie and
// held until they have been sent. A worker uses one for all its clients, one after the other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvstore/entry.hpp"
#include "protocol/outgoing.hpp"

namespace sluice::kvstore {

class reply_buffer {
  public:
    std::string text;

    [[nodiscard]] std::size_t size() const noexcept { return text.size() + held_bytes_; }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    void clear() {
        text.clear();
        if (text.capacity() > most_kept) std::string().swap(text);
        pieces_.clear();
        held_bytes_ = 0;
        writes_.clear();
    }
    // Appends a value; not copied if it lies in a blob.
    void append_value(const entry& from) {
        auto* const shared = from.shared();
        if (shared == nullptr) {
            text.append(from.value());
            return;
        }
        pieces_.push_back({text.size(), from.value(), blob_ref(shared)});
        held_bytes_ += from.value_size();
    }
    // Views of this buffer: sent, or copied, before it is touched again.
    void pass_to(protocol::outgoing& out) const {
        std::size_t from = 0;
        for (const auto& one : pieces_) {
            out.pass(protocol::as_bytes(std::string_view(text).substr(from, one.at - from)));
            out.pass(protocol::as_bytes(one.value));
            from = one.at;
        }
        out.pass(protocol::as_bytes(std::string_view(text).substr(from)));
    }
    // Forgets what was appended since the buffer had this much text.
    struct mark {
        std::size_t text = 0;
        std::size_t pieces = 0;
        std::size_t all = 0;  // bytes
    };
    [[nodiscard]] mark here() const noexcept { return {text.size(), pieces_.size(), size()}; }
    void rewind(mark to) {
        text.resize(to.text);
        while (pieces_.size() > to.pieces) {
            held_bytes_ -= pieces_.back().value.size();
            pieces_.pop_back();
        }
    }

    // What was appended since `from` answers a write: it counts once the log is safe.
    struct span {
        std::size_t from = 0;  // in all bytes, big values included
        std::size_t to = 0;
    };
    void note_write(std::size_t from) { writes_.push_back({from, size()}); }
    [[nodiscard]] const std::vector<span>& writes() const noexcept { return writes_; }

  private:
    static constexpr std::size_t most_kept = std::size_t{1} << 20;
    struct piece {
        std::size_t at;  // in the text, before which it goes
        std::string_view value;
        blob_ref keep;
    };
    std::vector<piece> pieces_;
    std::size_t held_bytes_ = 0;
    std::vector<span> writes_;
};

}  // namespace sluice::kvstore
