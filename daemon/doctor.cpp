#include "daemon/doctor.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

#include "daemon/version.hpp"

namespace sluice::daemon {

expiry judge_expiry(long long seconds_left) noexcept {
    constexpr long long soon = 21LL * 86400;
    if (seconds_left <= 0) return expiry::over;
    return seconds_left < soon ? expiry::soon : expiry::fine;
}

std::string milliseconds_text(std::chrono::nanoseconds time) {
    const std::chrono::duration<double, std::milli> value = time;
    std::array<char, 32> out{};
    std::snprintf(out.data(), out.size(), value.count() < 10 ? "%.1f ms" : "%.0f ms",
                  value.count());
    return out.data();
}

pool_demand demand_of(const directory& from, const database_target& target) {
    const auto& all = from.postgres();
    const auto size = target.settings.pool_size.value_or(all.pool_size);
    const auto reserve = target.settings.reserve_pool_size.value_or(all.reserve_pool_size);
    const auto limit = target.settings.max_db_connections.value_or(all.max_db_connections);
    const auto of_user = [&](const config::user_settings& user) -> std::uint64_t {
        const std::uint64_t wanted =
            user.pool_size.value_or(size) + user.reserve_pool_size.value_or(reserve);
        const auto most = user.max_user_connections.value_or(all.max_user_connections);
        return most == 0 ? wanted : std::min<std::uint64_t>(wanted, most);
    };
    pool_demand out;
    out.is_bounded = target.name != "*";
    if (!target.address.user.empty()) {
        const std::uint64_t wanted = std::uint64_t{size} + reserve;
        out.connections = all.max_user_connections == 0
                              ? wanted
                              : std::min<std::uint64_t>(wanted, all.max_user_connections);
    } else {
        if (all.auth_type == config::auth_type::passthrough) out.is_bounded = false;
        if (all.users.has_value()) {
            for (const auto& [name, user] : *all.users)
                out.connections += of_user(user);
        }
    }
    if (limit != 0) {
        out.connections = out.is_bounded ? std::min<std::uint64_t>(out.connections, limit) : limit;
        out.is_bounded = target.name != "*";
    }
    return out;
}

int run_doctor(const std::string& config_file, bool json, const command_line& with) {
    const auto found = find_configuration(config_file, with.env);
    doctor_report report(with.out, json);
    const auto& settings = found.content.settings;
    report.ok("sluice", std::string("version ") + version);
    report.ok("configuration", found.file.empty() ? "DATABASE_URL and defaults" : found.file);
    for (const auto& warning : found.content.warnings)
        report.warn("configuration", warning, {});
    // Without certificates: those have lines of their own.
    auto plain = settings;
    plain.postgres.tls.mode = config::tls_mode::disable;
    std::unique_ptr<const directory> from;
    try {
        from = std::make_unique<const directory>(plain);
    } catch (const unusable_settings& error) {
        report.fail("configuration", error.what(), "Correct it, and try `sluice check`");
    }
    examine_certificates(settings, report);
    bool is_running = examine_store(settings, report);
    is_running = examine_listeners(settings, is_running, report);
    if (from != nullptr) {
        examine_descriptors(*from, report);
        examine_upstreams(*from, is_running, report);
    }
    report.end();
    return report.failures() == 0 ? exit_fine : exit_failure;
}

}  // namespace sluice::daemon
