#include "daemon/http/dashboard/dashboard.hpp"

#include "daemon/http/dashboard/json.hpp"

namespace sluice::daemon {

std::string dashboard::status(const reading& now, double unix_time,
                              std::optional<std::vector<pool::statement_total>> statements) const {
    return status_json({now, past_, unix_time, std::move(statements)});
}

std::string dashboard::recent(double since, double unix_time) const {
    return history_json(past_, since, unix_time);
}

}  // namespace sluice::daemon
