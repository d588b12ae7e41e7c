// INFO, in the words of redis-server 7.0: what it has and a store of strings and one log has too.
// Figures that are not measured are left out or zero, as Redis has them when it has nothing to say.

#include "kvstore/info.hpp"

#include <cstdio>

#include "kvstore/client.hpp"

namespace sluice::kvstore {

statistics& statistics::operator-=(const statistics& before) noexcept {
    for (std::size_t i = 0; i < std::min(commands.size(), before.commands.size()); ++i) {
        commands[i].calls -= before.commands[i].calls;
        commands[i].nanoseconds -= before.commands[i].nanoseconds;
        commands[i].failures -= before.commands[i].failures;
        commands[i].rejections -= before.commands[i].rejections;
    }
    for (std::size_t i = 0; i < errors.size(); ++i)
        errors[i] -= before.errors[i];
    connections -= before.connections;
    rejected -= before.rejected;
    received -= before.received;
    sent -= before.sent;
    hits -= before.hits;
    misses -= before.misses;
    expired -= before.expired;
    calls -= before.calls;
    return *this;
}

statistics sum_up(std::span<const metrics::kv_counters* const> workers,
                  std::uint64_t expired_keys) {
    statistics out;
    out.commands.resize(metrics::kv_counters::most_commands);
    out.expired = expired_keys;
    for (const auto* const one : workers) {
        for (std::size_t i = 0; i < out.commands.size(); ++i) {
            const auto& from = one->commands[i];
            out.commands[i].calls += from.calls.value();
            out.commands[i].nanoseconds += from.nanoseconds.value();
            out.commands[i].failures += from.failures.value();
            out.commands[i].rejections += from.rejections.value();
            out.calls += from.calls.value();
        }
        for (std::size_t i = 0; i < out.errors.size(); ++i)
            out.errors[i] += one->error_replies[i].value();
        out.connections += one->clients_accepted.value();
        out.rejected += one->clients_refused.value();
        out.received += one->bytes_received.value();
        out.sent += one->bytes_sent.value();
        out.hits += one->hits.value();
        out.misses += one->misses.value();
    }
    return out;
}

void for_each_project(call& c, const std::function<void(project&)>& what) {
    if (c.in.changes.holds_all()) {  // in a transaction: they are locked already
        for (const auto& one : c.in.db.all_held())
            what(*one);
        return;
    }
    c.in.changes.release();
    for (const auto& one : c.in.db.all()) {
        const std::lock_guard lock(one->mutex);
        what(*one);
    }
}

namespace {

using namespace flag;

std::string fixed(double value, int digits) {
    char text[64];
    const auto size = std::snprintf(text, sizeof text, "%.*f", digits, value);
    return {text, static_cast<std::size_t>(size)};
}

// 1.50M, as Redis rounds it.
std::string human(std::uint64_t bytes) {
    constexpr std::string_view units = "BKMGTP";
    if (bytes < 1024) return std::to_string(bytes) + "B";
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    return fixed(value, 2) + units[unit];
}

struct report {
    call& c;
    host::process_facts facts;
    statistics counts;
    std::string text;

    void title(std::string_view name) {
        if (!text.empty()) text += "\r\n";
        text.append("# ").append(name).append("\r\n");
    }
    void line(std::string_view name, std::string_view value) {
        text.append(name).append(":").append(value).append("\r\n");
    }
    void line(std::string_view name, const std::string& value) {
        line(name, std::string_view(value));
    }
    void line(std::string_view name, const char* value) { line(name, std::string_view(value)); }
    template <class Number>
    void line(std::string_view name, Number value) {
        line(name, std::to_string(value));
    }
    void bytes(const std::string& name, std::uint64_t value) {
        line(name, value);
        line(name + "_human", human(value));
    }
};

void server(report& r) {
    const auto up = std::max<time_ms>(r.c.now() - r.facts.started_ms, 0) / 1000;
    r.title("Server");
    r.line("redis_version", "7.0.15");
    r.line("redis_git_sha1", "00000000");
    r.line("redis_git_dirty", 0);
    r.line("redis_mode", "standalone");
    r.line("sluice_version", r.facts.version);
    r.line("os", r.facts.os);
    r.line("arch_bits", sizeof(void*) * 8);
    r.line("multiplexing_api", "epoll");
    r.line("process_id", r.facts.process_id);
    r.line("run_id", r.facts.run_id);
    r.line("tcp_port", r.facts.port);
    r.line("server_time_usec", r.c.now() * 1000);
    r.line("uptime_in_seconds", up);
    r.line("uptime_in_days", up / 86400);
    r.line("hz", 10);  // expired keys are removed so often
    r.line("configured_hz", 10);
    r.line("lru_clock", r.c.now() / 1000 & 0xffffff);
    r.line("config_file", r.facts.config_file);
    r.line("io_threads_active", r.facts.workers.size() > 1 ? 1 : 0);
    r.line("workers", r.facts.workers.size());
}

void clients(report& r) {
    r.title("Clients");
    r.line("connected_clients", r.c.in.clients.size());
    r.line("cluster_connections", 0);
    r.line("maxclients", r.facts.maxclients);
    r.line("blocked_clients", 0);
    r.line("tracking_clients", 0);
    r.line("clients_in_timeout_table", 0);
}

// used_memory is what maxmemory is compared with: the projects in memory.
void memory(report& r) {
    const auto used = r.c.in.db.memory();
    const auto settings = r.c.in.db.settings();
    r.title("Memory");
    r.bytes("used_memory", used);
    r.bytes("used_memory_rss", r.facts.memory);
    r.bytes("used_memory_peak", std::max({r.facts.peak_memory, r.facts.memory, used}));
    r.line("used_memory_overhead", r.facts.memory > used ? r.facts.memory - used : 0);
    r.line("used_memory_startup", 0);
    r.line("used_memory_dataset", used);
    r.bytes("total_system_memory", r.facts.system_memory);
    r.bytes("used_memory_lua", 0);
    r.bytes("maxmemory", settings->max_memory);
    r.line("maxmemory_policy", "noeviction");
    r.line("mem_fragmentation_ratio",
           fixed(used == 0 ? 0.0 : static_cast<double>(r.facts.memory) / static_cast<double>(used),
                 2));
    r.line("mem_not_counted_for_evict", 0);
    r.line("mem_clients_slaves", 0);
    r.line("mem_aof_buffer", r.c.in.db.log().stats().unwritten_bytes);
    r.line("mem_allocator", "libc");
    r.line("active_defrag_running", 0);
    r.line("lazyfree_pending_objects", 0);
}

// Records that a restart would apply again: since the oldest change that no project's file has.
std::uint64_t unsaved_records(call& c) {
    const auto last = c.in.db.log().last();
    auto first = last + 1;
    for_each_project(c, [&first](project& one) {
        if (one.is_unsaved()) first = std::min(first, one.first_unsaved);
    });
    return first > last ? 0 : last + 1 - first;
}

// Checkpoints of projects' files stand for Redis's RDB, the log for its AOF.
void persistence(report& r, std::uint64_t unsaved) {
    auto& db = r.c.in.db;
    const auto log = db.log().stats();
    const auto saves = db.counts.checkpoints.load();
    r.title("Persistence");
    r.line("loading", 0);
    r.line("async_loading", 0);
    r.line("rdb_changes_since_last_save", unsaved);
    r.line("rdb_bgsave_in_progress", r.c.in.outside.is_saving() ? 1 : 0);
    r.line("rdb_last_save_time", db.counts.last_checkpoint_ms.load() / 1000);
    r.line("rdb_last_bgsave_status", db.counts.checkpoint_failures.load() == 0 ? "ok" : "err");
    r.line("rdb_last_bgsave_time_sec", -1);
    r.line("rdb_current_bgsave_time_sec", -1);
    r.line("rdb_saves", saves);
    r.line("rdb_last_cow_size", 0);
    r.line("aof_enabled", 1);
    r.line("aof_rewrite_in_progress", 0);
    r.line("aof_rewrite_scheduled", 0);
    r.line("aof_last_rewrite_time_sec", -1);
    r.line("aof_current_rewrite_time_sec", -1);
    r.line("aof_last_bgrewrite_status", "ok");
    r.line("aof_last_write_status", db.log().refusing() ? "err" : "ok");
    r.line("aof_last_cow_size", 0);
    r.line("aof_current_size", log.bytes_on_disk);
    r.line("aof_buffer_length", log.unwritten_bytes);
    r.line("log_records", db.log().last());
    r.line("log_segments", log.segments);
    r.line("log_fsyncs", log.fsyncs);
    r.line("log_write_errors", log.write_errors);
}

void stats(report& r) {
    std::uint64_t errors = 0;
    for (const auto one : r.counts.errors)
        errors += one;
    r.title("Stats");
    r.line("total_connections_received", r.counts.connections);
    r.line("total_commands_processed", r.counts.calls);
    r.line("instantaneous_ops_per_sec", 0);
    r.line("total_net_input_bytes", r.counts.received);
    r.line("total_net_output_bytes", r.counts.sent);
    r.line("instantaneous_input_kbps", "0.00");
    r.line("instantaneous_output_kbps", "0.00");
    r.line("rejected_connections", r.counts.rejected);
    r.line("sync_full", 0);
    r.line("sync_partial_ok", 0);
    r.line("sync_partial_err", 0);
    r.line("expired_keys", r.counts.expired);
    r.line("evicted_keys", 0);
    r.line("evicted_clients", 0);
    r.line("keyspace_hits", r.counts.hits);
    r.line("keyspace_misses", r.counts.misses);
    r.line("pubsub_channels", 0);
    r.line("pubsub_patterns", 0);
    r.line("latest_fork_usec", 0);
    r.line("total_forks", 0);
    r.line("migrate_cached_sockets", 0);
    r.line("slave_expires_tracked_keys", 0);
    r.line("active_defrag_hits", 0);
    r.line("active_defrag_misses", 0);
    r.line("active_defrag_key_hits", 0);
    r.line("active_defrag_key_misses", 0);
    r.line("total_error_replies", errors);
}

void replication(report& r) {
    r.title("Replication");
    r.line("role", "master");
    r.line("connected_slaves", 0);
    r.line("master_failover_state", "no-failover");
    r.line("master_replid", r.facts.run_id);
    r.line("master_replid2", std::string(40, '0'));
    r.line("master_repl_offset", 0);
    r.line("second_repl_offset", -1);
    r.line("repl_backlog_active", 0);
    r.line("repl_backlog_size", 0);
    r.line("repl_backlog_first_byte_offset", 0);
    r.line("repl_backlog_histlen", 0);
}

void cpu(report& r) {
    r.title("CPU");
    r.line("used_cpu_sys", fixed(r.facts.cpu_system, 6));
    r.line("used_cpu_user", fixed(r.facts.cpu_user, 6));
    r.line("used_cpu_sys_children", "0.000000");
    r.line("used_cpu_user_children", "0.000000");
}

void commandstats(report& r) {
    r.title("Commandstats");
    for (const auto& row : all_commands()) {
        if (row.number >= r.counts.commands.size() || row.has(hidden)) continue;
        const auto& one = r.counts.commands[row.number];
        if (one.calls == 0 && one.rejections == 0) continue;
        const auto usec = one.nanoseconds / 1000;
        const auto each = one.calls == 0 ? 0.0
                                         : static_cast<double>(one.nanoseconds) / 1000.0 /
                                               static_cast<double>(one.calls);
        r.line("cmdstat_" + std::string(row.name),
               "calls=" + std::to_string(one.calls) + ",usec=" + std::to_string(usec) +
                   ",usec_per_call=" + fixed(each, 2) +
                   ",rejected_calls=" + std::to_string(one.rejections) +
                   ",failed_calls=" + std::to_string(one.failures));
    }
}

void errorstats(report& r) {
    r.title("Errorstats");
    for (std::size_t i = 0; i < error_words.size(); ++i) {
        if (r.counts.errors[i] == 0) continue;
        r.line("errorstat_" + std::string(error_words[i]),
               "count=" + std::to_string(r.counts.errors[i]));
    }
}

void sluice(report& r) {
    std::uint64_t known = 0;
    std::uint64_t resident = 0;
    std::uint64_t refused = 0;
    std::uint64_t keys = 0;
    std::uint64_t bytes = 0;
    for_each_project(r.c, [&](project& one) {
        ++known;
        if (one.state == project::residence::refused) ++refused;
        if (one.state != project::residence::resident) return;
        ++resident;
        keys += one.keys();
        bytes += one.bytes();
    });
    r.title("Sluice");
    r.line("projects_known", known);
    r.line("projects_in_memory", resident);
    r.line("projects_refused", refused);
    r.line("keys_in_memory", keys);
    r.line("bytes_in_memory", bytes);
    r.line("project_loads", r.c.in.db.counts.loads.load());
    r.line("project_unloads", r.c.in.db.counts.unloads.load());
    r.line("checkpoint_failures", r.c.in.db.counts.checkpoint_failures.load());
    r.line("backups", r.c.in.db.counts.backups.load());
    r.line("backup_failures", r.c.in.db.counts.backup_failures.load());
    r.line("last_backup_time", r.c.in.db.counts.last_backup_ms.load() / 1000);
}

// Of projects in memory, and of those only that the user may open.
void keyspace(report& r) {
    r.title("Keyspace");
    for_each_project(r.c, [&r](project& one) {
        if (one.state != project::residence::resident || one.keys() == 0) return;
        if (!r.c.self.is_control && !r.c.self.who->may_open(one.id())) return;
        r.line("db" + std::to_string(one.id()), "keys=" + std::to_string(one.keys()) + ",expires=" +
                                                    std::to_string(one.expiring()) + ",avg_ttl=0");
    });
}

enum class in_default { yes, no };
struct section {
    std::string_view name;
    in_default shown;
};
constexpr section sections[] = {
    {"server", in_default::yes},      {"clients", in_default::yes},
    {"memory", in_default::yes},      {"persistence", in_default::yes},
    {"stats", in_default::yes},       {"replication", in_default::yes},
    {"cpu", in_default::yes},         {"modules", in_default::yes},
    {"commandstats", in_default::no}, {"errorstats", in_default::yes},
    {"cluster", in_default::yes},     {"sluice", in_default::yes},
    {"keyspace", in_default::yes},
};

bool is_wanted(const call& c, const section& one) {
    if (c.args.size() == 1) return one.shown == in_default::yes;
    for (std::size_t i = 1; i < c.args.size(); ++i) {
        if (c.is(i, one.name) || c.is(i, "all") || c.is(i, "everything")) return true;
        if (c.is(i, "default") && one.shown == in_default::yes) return true;
    }
    return false;
}

void write_section(report& r, std::string_view name) {
    const auto is = [name](std::string_view other) { return name == other; };
    if (is("server")) server(r);
    if (is("clients")) clients(r);
    if (is("memory")) memory(r);
    if (is("persistence")) persistence(r, unsaved_records(r.c));
    if (is("stats")) stats(r);
    if (is("replication")) replication(r);
    if (is("cpu")) cpu(r);
    if (is("modules")) r.title("Modules");
    if (is("commandstats")) commandstats(r);
    if (is("errorstats")) errorstats(r);
    if (is("cluster")) {
        r.title("Cluster");
        r.line("cluster_enabled", 0);
    }
    if (is("sluice")) sluice(r);
    if (is("keyspace")) keyspace(r);
}

void info(call& c) {
    report out{c, c.in.outside.facts(), {}, {}};
    out.counts = c.in.outside.statistics_since.since(
        sum_up(out.facts.workers, c.in.db.counts.expired_keys.load()));
    for (const auto& one : sections) {
        if (is_wanted(c, one)) write_section(out, one.name);
    }
    c.out.verbatim(out.text);
}

constexpr command rows[] = {
    {"info", -1, loading | stale | counts, 0, 0, 0, info, "server", "1.0.0",
     "Tells how the server is, in sections of name:value lines.", "O(1), O(N) projects"},
};

}  // namespace

std::span<const command> info_commands() {
    return rows;
}

}  // namespace sluice::kvstore
