// What the key-value port tells of itself: INFO's facts and metrics.

#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "daemon/kv/service.hpp"
#include "daemon/net/certificate.hpp"
#include "daemon/version.hpp"
#include "metrics/process.hpp"

namespace sluice::daemon {

namespace {

double seconds_of(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

std::string operating_system() {
    utsname names{};
    if (::uname(&names) != 0) return "unknown";
    return std::string(names.sysname) + " " + names.release + " " + names.machine;
}

std::vector<metrics::kv_snapshot::project> largest_of(const kvstore::store::totals& all) {
    constexpr std::size_t most = 20;
    std::vector<metrics::kv_snapshot::project> out(std::min(most, all.spaces.size()));
    std::vector<const kvstore::store::totals::keyspace*> order;
    order.reserve(all.spaces.size());
    for (const auto& one : all.spaces)
        order.push_back(&one);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(out.size()),
                      order.end(),
                      [](const auto* one, const auto* other) { return one->bytes > other->bytes; });
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = {order[i]->id, order[i]->keys, order[i]->bytes};
    return out;
}

}  // namespace

// Of this start; clients see by it that the server is another one.
std::string kv_service::random_id() {
    constexpr std::string_view digits = "0123456789abcdef";
    std::random_device from;
    std::string out;
    for (int i = 0; i < 40; ++i)
        out += digits[from() % 16];
    return out;
}

kvstore::host::process_facts kv_service::facts() const {
    process_facts out;
    const auto usage = metrics::read_process_usage();
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    out.version = version;
    out.config_file = config_file_;
    out.os = operating_system();
    out.run_id = run_id_;
    out.process_id = ::getpid();
    out.port = port_;
    out.started_ms = started_ms_;
    out.memory = static_cast<std::uint64_t>(usage.resident_bytes.value_or(0));
    out.peak_memory = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
    out.system_memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    out.cpu_user = seconds_of(used.ru_utime);
    out.cpu_system = seconds_of(used.ru_stime);
    for (const auto& room : rooms_) {
        out.workers.push_back(&room->counts);
        out.connections += room->counts.clients_accepted.value();
        out.rejected += room->counts.clients_refused.value();
    }
    const std::lock_guard lock(settings_mutex_);
    out.maxclients = settings_.maxclients;
    return out;
}

void kv_service::fill(metrics::snapshot& out) {
    auto& kv = out.kv.emplace();
    kv.owner = shared_from_this();
    for (const auto& room : rooms_)
        kv.workers.push_back(&room->counts);
    for (const auto& row : kvstore::all_commands())
        kv.commands.emplace_back(row.name);
    kv.client_connections = clients_.load();
    {
        const std::lock_guard lock(settings_mutex_);
        kv.max_clients = settings_.maxclients;
        kv.max_project_size = settings_.max_project_size;
        kv.max_memory = settings_.max_memory;
        if (tls_ != nullptr) {
            if (const auto end = net::certificate_end(*tls_))
                out.certificates.push_back({"kv", *end});
        }
        if (!settings_.backup.directory.empty()) {
            kv.backup_every_seconds = std::chrono::duration<double>(settings_.backup.every).count();
        }
    }
    const auto totals = store.count();
    kv.known_projects = totals.projects;
    kv.memory = store.memory();
    kv.largest = largest_of(totals);
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
