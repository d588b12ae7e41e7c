#include "kvstore/iso_time.hpp"

#include <algorithm>
#include <chrono>

namespace sluice::kvstore {

namespace {

constexpr time_ms first_time = -62'167'219'200'000;
constexpr time_ms last_time = 253'402'300'799'999;
constexpr std::string_view time_shape = "0000-00-00T00:00:00.000Z";

}  // namespace

std::string iso_time_text(time_ms time) {
    using namespace std::chrono;
    const sys_time<milliseconds> moment{milliseconds{std::clamp(time, first_time, last_time)}};
    const auto day = floor<days>(moment);
    const year_month_day date{day};
    const auto of_day = (moment - day).count();
    std::string text(time_shape);
    const auto put = [&text](std::size_t at, std::size_t digits, std::int64_t value) {
        for (; digits-- > 0; value /= 10)
            text[at + digits] = static_cast<char>('0' + value % 10);
    };
    put(0, 4, static_cast<int>(date.year()));
    put(5, 2, static_cast<unsigned>(date.month()));
    put(8, 2, static_cast<unsigned>(date.day()));
    put(11, 2, of_day / 3'600'000);
    put(14, 2, of_day / 60'000 % 60);
    put(17, 2, of_day / 1000 % 60);
    put(20, 3, of_day % 1000);
    return text;
}

time_ms parse_iso_time(std::string_view text) noexcept {
    using namespace std::chrono;
    if (text.size() != time_shape.size()) return 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool digit = text[i] >= '0' && text[i] <= '9';
        if (time_shape[i] == '0' ? !digit : text[i] != time_shape[i]) return 0;
    }
    const auto get = [text](std::size_t at, std::size_t digits) {
        unsigned value = 0;
        for (const char c : text.substr(at, digits))
            value = value * 10 + static_cast<unsigned>(c - '0');
        return value;
    };
    const year_month_day date{year{static_cast<int>(get(0, 4))}, month{get(5, 2)}, day{get(8, 2)}};
    if (!date.ok() || get(11, 2) > 23 || get(14, 2) > 59 || get(17, 2) > 59) return 0;
    const auto moment = sys_days{date} + hours{get(11, 2)} + minutes{get(14, 2)} +
                        seconds{get(17, 2)} + milliseconds{get(20, 3)};
    return duration_cast<milliseconds>(moment.time_since_epoch()).count();
}

}  // namespace sluice::kvstore
