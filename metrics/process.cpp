#include "metrics/process.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

namespace sluice::metrics {
namespace {

std::string read_whole(const char* path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

// "btime <seconds since the epoch>" is a line of /proc/stat.
std::optional<double> boot_time() {
    const std::string text = read_whole("/proc/stat");
    constexpr std::string_view key = "\nbtime ";
    const auto at = text.find(key);
    if (at == std::string::npos) return std::nullopt;
    double seconds = 0;
    const char* first = text.data() + at + key.size();
    const auto [end, ec] = std::from_chars(first, text.data() + text.size(), seconds);
    if (ec != std::errc{}) return std::nullopt;
    return seconds;
}

std::optional<double> count_open_fds() {
    struct closer {
        void operator()(DIR* open) const { closedir(open); }
    };
    const std::unique_ptr<DIR, closer> directory(opendir("/proc/self/fd"));
    if (!directory) return std::nullopt;
    double count = 0;
    while (const dirent* entry = readdir(directory.get())) {
        if (entry->d_name[0] != '.') ++count;
    }
    return count - 1;  // the directory itself is open while it is read
}

std::optional<double> fd_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
    return static_cast<double>(limit.rlim_cur);
}

}  // namespace

std::optional<process_stat> parse_process_stat(std::string_view text) {
    // The second field is the program's name in parentheses; it may hold spaces and parentheses
    // itself, so fields are counted from the last ')'. The next one is number 3 of proc(5).
    const auto name_end = text.rfind(')');
    if (name_end == std::string_view::npos) return std::nullopt;
    text.remove_prefix(name_end + 1);

    constexpr std::size_t first_field = 3;
    constexpr std::size_t last_field = 24;
    std::array<double, last_field + 1> fields{};
    for (std::size_t number = first_field; number <= last_field; ++number) {
        const auto begin = text.find_first_not_of(" \n");
        if (begin == std::string_view::npos) return std::nullopt;
        text.remove_prefix(begin);
        const auto length = std::min(text.find_first_of(" \n"), text.size());
        if (number > first_field) {  // field 3 is the state, a letter
            const auto [end, ec] =
                std::from_chars(text.data(), text.data() + length, fields[number]);
            if (ec != std::errc{} || end != text.data() + length) return std::nullopt;
        }
        text.remove_prefix(length);
    }
    return process_stat{fields[14], fields[15], fields[20], fields[22], fields[23], fields[24]};
}

process_usage read_process_usage() {
    process_usage usage;
    usage.open_fds = count_open_fds();
    usage.max_fds = fd_limit();
    if (const auto stat = parse_process_stat(read_whole("/proc/self/stat"))) {
        const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
        const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
        usage.cpu_seconds = (stat->user_ticks + stat->system_ticks) / ticks;
        usage.virtual_bytes = stat->virtual_bytes;
        usage.resident_bytes = stat->resident_pages * page;
        usage.threads = stat->threads;
        if (const auto boot = boot_time()) {
            usage.start_time_seconds = *boot + stat->start_ticks / ticks;
        }
    }
    return usage;
}

}  // namespace sluice::metrics
