// What the key-value port tells of itself: INFO's facts, CONFIG, metrics.

#include <algorithm>

#include "config/units.hpp"
#include "daemon/kv/service.hpp"
#include "daemon/version.hpp"
#include "metrics/process.hpp"

namespace sluice::daemon {

namespace {

std::string yes_or_no(bool value) {
    return value ? "yes" : "no";
}

std::string_view fsync_name(config::fsync_policy policy) {
    switch (policy) {
        case config::fsync_policy::always:
            return "always";
        case config::fsync_policy::everysec:
            return "everysec";
        case config::fsync_policy::never:
            return "no";
    }
    return "";
}

}  // namespace

kvstore::host::process_facts kv_service::facts() const {
    process_facts out;
    const auto usage = metrics::read_process_usage();
    out.version = version;
    out.config_file = config_file_;
    out.port = port_;
    out.started_ms = started_ms_;
    out.memory = static_cast<std::uint64_t>(usage.resident_bytes.value_or(0));
    out.cpu_user = usage.cpu_seconds.value_or(0);
    for (const auto& room : rooms_) {
        out.workers.push_back(&room->counts);
        out.connections += room->counts.clients_accepted.value();
        out.rejected += room->counts.clients_refused.value();
    }
    const std::lock_guard lock(settings_mutex_);
    out.maxclients = settings_.maxclients;
    return out;
}

std::vector<std::pair<std::string, std::string>> kv_service::configuration() const {
    const std::lock_guard lock(settings_mutex_);
    const auto& s = settings_;
    const auto number = [](auto value) { return std::to_string(value); };
    const auto seconds = [](config::milliseconds value) {
        return std::to_string(value.count() / 1000);
    };
    return {
        {"appendfsync", std::string(fsync_name(s.fsync))},
        {"appendonly", "yes"},
        {"bind", s.listen.empty() ? "" : s.listen[0].host},
        {"client-output-buffer-limit", "normal " + number(s.client_output_buffer_limit) + " 0 0"},
        {"databases", "2147483648"},
        {"dir", s.directory},
        {"maxclients", number(s.maxclients)},
        {"maxmemory", number(s.max_memory)},
        {"maxmemory-policy", "noeviction"},
        {"port", number(port_)},
        {"proto-max-bulk-len", number(std::uint64_t{512} << 20)},
        {"protected-mode", yes_or_no(s.protected_mode)},
        {"save", ""},
        {"slowlog-log-slower-than", number(slow.slower_than_us())},
        {"slowlog-max-len", number(s.slowlog_max_len)},
        {"tcp-keepalive", seconds(s.tcp_keepalive)},
        {"timeout", seconds(s.timeout)},
    };
}

std::string kv_service::set_configuration(std::string_view, std::string_view) {
    return "";
}

void kv_service::fill(metrics::snapshot& out) {
    auto& kv = out.kv.emplace();
    for (const auto& room : rooms_)
        kv.workers.push_back(&room->counts);
    for (const auto& row : kvstore::all_commands())
        kv.commands.emplace_back(row.name);
    kv.client_connections = clients_.load();
    {
        const std::lock_guard lock(settings_mutex_);
        kv.max_clients = settings_.maxclients;
    }
    const auto totals = store.count();
    kv.projects = totals.resident;
    kv.keys = totals.keys;
    kv.stored_bytes = totals.bytes;
    kv.large_projects = totals.big;
    kv.damaged_projects = totals.refused;
    kv.project_loads = store.counts.loads.load();
    kv.project_unloads = store.counts.unloads.load();
    kv.expired_keys = store.counts.expired_keys.load();
    const auto log_now = store.log().stats();
    kv.writes_refused = store.log().refusing();
    kv.log_bytes = log_now.bytes_on_disk;
    kv.log_records = store.log().last();
    kv.log_fsync_seconds = &store.log().fsync_seconds();
    kv.log_errors = log_now.write_errors;
    kv.log_written_bytes = log_now.bytes_written;
    kv.checkpoints = store.counts.checkpoints.load();
    kv.checkpoint_seconds = static_cast<double>(store.counts.checkpoint_ns.load()) * 1e-9;
    kv.checkpoint_failures = store.counts.checkpoint_failures.load();
    kv.checkpoint_last_success =
        static_cast<double>(store.counts.last_checkpoint_ms.load()) / 1000.0;
    kv.checkpoint_last_bytes = store.counts.last_checkpoint_bytes.load();
    kv.backups = store.counts.backups.load();
    kv.backup_last_success = static_cast<double>(store.counts.last_backup_ms.load()) / 1000.0;
    kv.backup_last_bytes = store.counts.last_backup_bytes.load();
    kv.backup_failures = store.counts.backup_failures.load();
}

}  // namespace sluice::daemon
