// What is to be sent to one peer, in order: runs of bytes that lie in somebody's receive buffer
// (passed on without a copy) and messages built here. Passed runs are views: the list has to be
// sent, or settle()d, before the buffer that they point into is touched.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <string>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

class outgoing {
  public:
    [[nodiscard]] bool empty() const noexcept { return pieces_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t pieces() const noexcept { return pieces_.size(); }

    void clear() noexcept {
        pieces_.clear();
        built_.clear();
        size_ = 0;
    }

    // Passes a run on; it joins the last one when it lies right behind it.
    void pass(byte_span run) {
        if (run.empty()) return;
        size_ += run.size();
        if (!pieces_.empty() && pieces_.back().passed != nullptr &&
            pieces_.back().passed + pieces_.back().length == run.data()) {
            pieces_.back().length += run.size();
            return;
        }
        pieces_.push_back({run.data(), 0, run.size()});
    }

    // Appends what `build(std::string&)` appends to its argument.
    template <class Build>
    void build(Build&& append) {
        const auto from = built_.size();
        append(built_);
        const auto length = built_.size() - from;
        if (length == 0) return;
        size_ += length;
        if (!pieces_.empty() && pieces_.back().passed == nullptr) {
            pieces_.back().length += length;  // built pieces lie one behind the other
            return;
        }
        pieces_.push_back({nullptr, from, length});
    }
    void copy(byte_span bytes) {
        build([&](std::string& out) { out.append(as_text(bytes)); });
    }

    [[nodiscard]] byte_span piece(std::size_t i) const noexcept {
        const auto& p = pieces_[i];
        if (p.passed != nullptr) return {p.passed, p.length};
        return as_bytes(std::string_view(built_).substr(p.from, p.length));
    }

    // Copies what is left from byte `from` on to `to`.
    void save_rest(std::size_t from, std::string& to) const {
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            const auto bytes = piece(i);
            if (from >= bytes.size()) {
                from -= bytes.size();
                continue;
            }
            to.append(as_text(bytes.subspan(from)));
            from = 0;
        }
    }

    // Turns passed runs into copies, so that the receive buffer may change.
    void settle() {
        std::string all;
        all.reserve(size_);
        save_rest(0, all);
        pieces_.clear();
        built_ = std::move(all);
        if (size_ != 0) pieces_.push_back({nullptr, 0, size_});
    }

  private:
    struct part {
        const std::uint8_t* passed;  // null: in built_
        std::size_t from;            // offset in built_
        std::size_t length;
    };
    boost::container::small_vector<part, 8> pieces_;
    std::string built_;
    std::size_t size_ = 0;
};

}  // namespace sluice::protocol
