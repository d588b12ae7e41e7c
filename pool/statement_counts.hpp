// What the statements of one worker's clients have cost since the last flush, by the shape of their
// texts: a table of a fixed size that only its worker touches, so that a query costs one hash of
// its text (none if it is prepared) and one addition. Every tick it is emptied into top_statements.
// What it has no room or no time for is counted without its text. Lives as long as its worker.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pool/top_statements.hpp"

namespace sluice::pool {

class statement_counts {
  public:
    explicit statement_counts(top_statements& whole);

    // What a running statement keeps of its text; 0 is a text that is not told apart.
    using handle = std::uint32_t;

    [[nodiscard]] bool on() const noexcept { return whole_.on(); }
    [[nodiscard]] handle find(std::string_view sql, bool standard_strings, std::uint32_t scope);
    // Of a text of which only the beginning is here.
    [[nodiscard]] handle find_unread(std::string_view beginning, std::uint32_t scope);
    // The handle still stands for what it stood for when it was found.
    [[nodiscard]] bool is_current(handle text) const noexcept {
        return text != 0 && slots_[index_of(text)].generation == text >> 16U;
    }

    void add(handle text, std::uint32_t scope, const statement_sums& sums);

    // Every tick. False: somebody reads the totals at this moment, and all waits for the next tick.
    bool flush(std::chrono::steady_clock::time_point now);

    static constexpr std::size_t remembered = 1024;
    static constexpr std::size_t buckets = 1024;
    static constexpr std::size_t ways = 4;
    // New texts of one tick; the rest waits for the next one.
    static constexpr std::size_t most_fresh = 32;
    static constexpr std::size_t most_fresh_bytes = 131072;

  private:
    struct slot {
        std::uint64_t shape = 0;  // 0: free
        statement_sums sums;
        std::uint32_t scope = 0;
        std::uint32_t used = 0;  // tick of the last find
        std::uint16_t generation = 0;
        std::uint8_t seen = 0;  // calls, up to 3
    };
    struct known_text {
        std::uint64_t exact = 0;
        handle text = 0;
    };
    struct fresh_text {
        std::uint32_t at;
        statement_text text;
    };

    [[nodiscard]] static std::uint32_t index_of(handle text) noexcept {
        return text & (buckets * ways - 1);
    }
    [[nodiscard]] handle handle_of(std::uint32_t at) const noexcept {
        return handle{slots_[at].generation} << 16U | 0x8000U | at;
    }
    template <class Text>
    [[nodiscard]] handle find_shape(std::uint64_t shape, std::uint32_t scope, std::size_t size,
                                    Text&& text);
    [[nodiscard]] slot* room_in(slot* bucket) const noexcept;
    void free(slot& one) noexcept;

    top_statements& whole_;
    std::vector<slot> slots_;
    std::vector<known_text> known_;       // texts that came before just so, by their hash
    std::vector<std::uint32_t> changed_;  // slots with something to flush
    std::vector<statement_sums> others_;  // by scope
    std::vector<std::uint32_t> changed_others_;
    std::vector<fresh_text> fresh_;
    std::size_t fresh_bytes_ = 0;
    std::uint32_t tick_ = 1;
};

}  // namespace sluice::pool
