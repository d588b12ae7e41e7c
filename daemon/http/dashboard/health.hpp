// Whether anything is wrong, in words, and what to do about it: the first thing on the dashboard.
// Pure: judges a reading and the history before it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/http/dashboard/history.hpp"
#include "daemon/http/dashboard/reading.hpp"

namespace sluice::daemon {

enum class alert_level { fine, warning, critical };

struct finding {
    alert_level level = alert_level::warning;
    std::string what;    // one sentence
    std::string advice;  // what to do
};

struct verdict {
    alert_level level = alert_level::fine;
    std::string summary;            // one line for the whole
    std::vector<finding> findings;  // the worst first
};

[[nodiscard]] verdict judge(const reading& now, const history& past, double unix_time);

[[nodiscard]] const char* name_of(alert_level level) noexcept;

}  // namespace sluice::daemon
