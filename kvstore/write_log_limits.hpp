// The sizes and times of write_log, for its own two files.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace sluice::kvstore::log_limits {

using namespace std::chrono_literals;

// A batch: one write, one mark.
inline constexpr std::size_t chunk_bytes = std::size_t{256} << 10;
// A record from that on is copied without the lock and is a batch of its own.
inline constexpr std::size_t own_chunk_bytes = std::size_t{64} << 10;
// That many wait: written at once, without waiting for more.
inline constexpr std::size_t many_chunks = 8;
inline constexpr std::size_t most_spare = 32;
inline constexpr std::uint64_t most_unsynced = std::uint64_t{8} << 20;

// Blocks kept ready on the disk; doubled when commands had to wait for some.
inline constexpr std::uint64_t least_ahead = std::uint64_t{1} << 20;
inline constexpr std::uint64_t most_ahead = std::uint64_t{16} << 20;
inline constexpr std::uint64_t block = std::uint64_t{64} << 10;
// Nothing is refused on a full disk before less than this is left.
inline constexpr std::int64_t least_room = std::int64_t{64} << 10;
// The room where nothing can be reserved on the disk.
inline constexpr std::int64_t endless_room = std::int64_t{1} << 60;

inline constexpr auto collect_for = 1ms;
inline constexpr auto sync_each = 1s;
inline constexpr auto first_retry = 100ms;
inline constexpr auto last_retry = 1000ms;
inline constexpr auto change_retry = 1000ms;
inline constexpr auto trim_after = 1s;
inline constexpr auto longest_sleep = 60s;

// A quota is a full disk too; std::errc has no name for it.
[[nodiscard]] inline bool is_full(const std::error_code& error) noexcept {
    return error == std::errc::no_space_on_device ||
           error == std::error_code(EDQUOT, std::generic_category());
}

}  // namespace sluice::kvstore::log_limits
