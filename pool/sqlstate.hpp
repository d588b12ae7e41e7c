// SQLSTATEs sorted into the classes that the metrics tell apart.
#pragma once

#include <string_view>

#include "metrics/counters.hpp"

namespace sluice::pool {

inline metrics::error_class class_of(std::string_view sqlstate) noexcept {
    using metrics::error_class;
    const auto head = sqlstate.substr(0, 2);
    if (head == "08") return error_class::connection;
    if (head == "28") return error_class::authorization;
    if (head == "53") return error_class::resources;
    if (head == "57") return error_class::intervention;
    if (head == "42") return error_class::syntax;
    if (head == "23") return error_class::integrity;
    if (head == "25" || head == "40") return error_class::transaction;
    return error_class::other;
}

}  // namespace sluice::pool
