// The log's bytes, docs/kv-log.md, "Format": changes within a record's payload, the header of a
// segment, the frames of records and marks. Bytes in, bytes out; nothing is read from a file here.
// Any thread. Whatever comes in from a file is suspected: nothing is read beyond a view's end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kvstore/change.hpp"

namespace sluice::kvstore {

// Adds a change to a record's payload. A record is a batch of changes that are applied together.
void append_change(std::string& payload, const change& what);

// The changes of a payload, one after the other. The views are the payload's.
class change_reader {
  public:
    explicit change_reader(std::string_view payload) noexcept : rest_(payload) {}
    // False at the end, and at the first byte that is not of the format.
    [[nodiscard]] bool next(change& out) noexcept;
    [[nodiscard]] bool ok() const noexcept { return ok_; }

  private:
    [[nodiscard]] bool read_fields(change& out) noexcept;
    [[nodiscard]] bool read_byte(std::uint8_t& out) noexcept;
    [[nodiscard]] bool read_number(std::uint64_t& out) noexcept;
    [[nodiscard]] bool read_bytes(std::string_view& out) noexcept;
    [[nodiscard]] bool read_options(change& out, bool& expires) noexcept;
    [[nodiscard]] bool read_expiry(bool expires, change& out) noexcept;

    std::string_view rest_;
    bool ok_ = true;
};

inline constexpr std::uint32_t log_format_version = 1;
inline constexpr std::size_t segment_header_bytes = 48;
inline constexpr std::size_t frame_header_bytes = 24;
inline constexpr std::size_t mark_bytes = frame_header_bytes + 8;
inline constexpr std::uint64_t most_payload_bytes = 0xffff'ff00;

struct segment_header {
    log_number first = 1;
    log_number after = 0;  // the last record that older segments hold; above it they are void
    // Goes into the check of every frame: a value that a client made up, or a frame of another
    // log, is not taken for a frame of this one.
    std::uint64_t salt = 0;
};

void append_segment_header(std::string& out, const segment_header& header);

enum class header_verdict { good, damaged, unknown_version };
[[nodiscard]] header_verdict read_segment_header(std::string_view segment, segment_header& out,
                                                 std::uint32_t& version) noexcept;

[[nodiscard]] std::uint64_t payload_hash(std::string_view payload) noexcept;

// Writes frame_header_bytes to `at`.
void write_frame_header(char* at, std::uint64_t salt, log_number number, std::size_t length,
                        std::uint64_t hash) noexcept;
// Writes mark_bytes to `at`.
void write_mark(char* at, std::uint64_t salt, log_number safe) noexcept;

struct frame {
    enum class kind { record, mark, none };
    kind what = kind::none;
    log_number number = 0;  // of a record; what a mark says to be safe
    std::string_view payload;
    std::size_t bytes = 0;  // with its header
};

// The whole and undamaged frame at the beginning of `text`, or none.
[[nodiscard]] frame read_frame(std::string_view text, std::uint64_t salt) noexcept;

// "00000000000000000001.log"
[[nodiscard]] std::string segment_name(log_number first);
// True for exactly such names.
[[nodiscard]] bool parse_segment_name(std::string_view name, log_number& first) noexcept;

}  // namespace sluice::kvstore
