// `sluice doctor`: looks at everything that sluice needs, without changing anything, and says what
// to do about what is wrong. Blocking; one thread. Errors are lines of the report; a configuration
// that cannot be loaded is thrown as by `check`. No password is ever in a line.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "daemon/cli.hpp"
#include "daemon/doctor_report.hpp"
#include "daemon/pg/directory.hpp"

namespace sluice::daemon {

// exit_fine, or exit_failure when a line says so.
[[nodiscard]] int run_doctor(const std::string& config_file, bool json, const command_line& with);

// The most server connections that the pools of one database may have open.
struct pool_demand {
    std::uint64_t connections = 0;
    bool is_bounded = true;  // false: any client may bring a pool of its own
};
[[nodiscard]] pool_demand demand_of(const directory& from, const database_target& target);

// doctor_upstream.cpp: databases, each server once.
// `is_running`: connections that are open may be sluice's own.
void examine_upstreams(const directory& from, bool is_running, doctor_report& report);

// doctor_local.cpp
void examine_descriptors(const directory& from, doctor_report& report);
void examine_certificates(const config::settings& settings, doctor_report& report);
// True: a running sluice answers there.
[[nodiscard]] bool examine_listeners(const config::settings& settings, bool is_running,
                                     doctor_report& report);
// doctor_store.cpp; true: a running sluice holds the store.
[[nodiscard]] bool examine_store(const config::settings& settings, doctor_report& report);

// Of a certificate's end, in days from now; its last second is the argument. Exposed for its test.
enum class expiry { fine, soon, over };
[[nodiscard]] expiry judge_expiry(long long seconds_left) noexcept;

[[nodiscard]] std::string milliseconds_text(std::chrono::nanoseconds time);

}  // namespace sluice::daemon
