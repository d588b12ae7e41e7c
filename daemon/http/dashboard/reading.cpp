#include "daemon/http/dashboard/reading.hpp"

#include <algorithm>
#include <numeric>

#include "metrics/utf8.hpp"

namespace sluice::daemon {

namespace {

void add_to(bucket_counts& sum, const metrics::histogram& from) {
    for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += from.count(i);
}

template <class Array>
void add_array(Array& sum, const Array& other) noexcept {
    for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += other[i];
}

void add_block(pool_counts& sum, const metrics::pool_counters& block) {
    sum.queries += block.queries.value();
    sum.transactions += block.transactions.value();
    sum.logins += block.upstream_logins.value();
    sum.login_failures += block.upstream_login_failures.value();
    for (std::size_t i = 0; i < sum.errors.size(); ++i)
        sum.errors[i] += block.errors_by_class[i].value();
    for (std::size_t i = 0; i < sum.pins.size(); ++i)
        sum.pins[i] += block.pins[i].value();
    add_to(sum.query_seconds, block.query_seconds);
    add_to(sum.wait_seconds, block.wait_seconds);
}

pool_reading read_pool(const metrics::pool_snapshot& from) {
    pool_reading out;
    out.database = metrics::shown_text(from.database);
    out.user = metrics::shown_text(from.user);
    out.size = from.size_limit;
    out.reserve = from.reserve;
    out.connections = from.connections;
    out.clients = from.clients;
    out.oldest_wait_seconds = from.oldest_wait_seconds;
    out.pinned = from.pinned;
    out.listening_clients = from.listening_clients;
    out.listen_connections = from.listen_connections;
    out.upstream = from.upstream;
    out.upstream.sqlstate = metrics::shown_text(from.upstream.sqlstate);
    out.upstream.message = metrics::shown_text(from.upstream.message);
    for (const auto* block : from.workers)
        add_block(out.counts, *block);
    return out;
}

whole_reading read_whole(const metrics::process_snapshot& from) {
    whole_reading out;
    out.client_connections = from.client_connections;
    out.max_client_conn = from.max_client_conn;
    out.logging_in = from.clients_logging_in;
    out.log_lines_dropped = from.log_lines_dropped;
    for (const auto* block : from.workers) {
        out.accepted += block->clients_accepted.value();
        out.refused += block->clients_refused.value();
        out.login_failures += block->client_login_failures.value();
        out.protocol_errors += block->protocol_errors.value();
        out.server_protocol_errors += block->server_protocol_errors.value();
        out.internal_errors += block->internal_errors.value();
        out.log_lines_dropped += block->log_lines_dropped.value();
    }
    return out;
}

kv_reading read_kv(const metrics::kv_snapshot& from) {
    kv_reading out;
    out.plain = from;
    out.plain.workers.clear();
    out.plain.commands.clear();
    out.plain.log_fsync_seconds = nullptr;
    for (const auto* block : from.workers) {
        for (const auto& command : block->commands) {
            out.commands += command.calls.value();
            out.command_errors += command.failures.value() + command.rejections.value();
        }
        out.accepted += block->clients_accepted.value();
        out.refused += block->clients_refused.value();
        out.auth_failures += block->auth_failures.value();
        out.hits += block->hits.value();
        out.misses += block->misses.value();
        add_to(out.command_seconds, block->command_seconds);
    }
    return out;
}

}  // namespace

void pool_counts::add(const pool_counts& other) noexcept {
    queries += other.queries;
    transactions += other.transactions;
    logins += other.logins;
    login_failures += other.login_failures;
    add_array(errors, other.errors);
    add_array(pins, other.pins);
    add_array(query_seconds, other.query_seconds);
    add_array(wait_seconds, other.wait_seconds);
}

std::uint64_t pool_counts::all_errors() const noexcept {
    return std::accumulate(errors.begin(), errors.end(), std::uint64_t{0});
}

std::uint64_t pool_reading::busy_connections() const noexcept {
    return connections.active + connections.login + connections.closing + connections.cancelling;
}

std::uint64_t pool_reading::all_connections() const noexcept {
    return busy_connections() + connections.idle;
}

std::uint64_t pool_reading::all_pinned() const noexcept {
    return std::accumulate(pinned.begin(), pinned.end(), std::uint64_t{0});
}

double pool_reading::utilization() const noexcept {
    return size == 0 ? 0.0 : static_cast<double>(busy_connections()) / static_cast<double>(size);
}

upstream_state pool_reading::state() const noexcept {
    if (all_connections() > connections.login) return upstream_state::awake;
    if (!upstream.reached && !upstream.sqlstate.empty()) return upstream_state::failing;
    return connections.login > 0 ? upstream_state::waking : upstream_state::asleep;
}

reading read(const metrics::snapshot& from) {
    reading out;
    out.version = from.process.version;
    out.usage = from.process.usage;
    out.whole = read_whole(from.process);
    out.pools.reserve(from.pools.size());
    for (const auto& pool : from.pools)
        out.pools.push_back(read_pool(pool));
    if (from.kv) out.kv = read_kv(*from.kv);
    return out;
}

const char* name_of(upstream_state state) noexcept {
    switch (state) {
        case upstream_state::asleep:
            return "asleep";
        case upstream_state::waking:
            return "waking";
        case upstream_state::awake:
            return "awake";
        case upstream_state::failing:
            return "failing";
    }
    return "?";
}

std::optional<double> quantile(const bucket_counts& counts, double q) noexcept {
    const auto all = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
    if (all == 0) return std::nullopt;
    const auto rank = q * static_cast<double>(all);
    double below = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const auto here = static_cast<double>(counts[i]);
        const auto lower = i == 0 ? 0.0 : metrics::histogram::bound(i - 1);
        if (here > 0 && below + here >= rank) {
            if (i + 1 == counts.size()) return lower;
            const auto upper = metrics::histogram::bound(i);
            return lower + (upper - lower) * std::max(0.0, rank - below) / here;
        }
        below += here;
    }
    return metrics::histogram::bound(counts.size() - 2);
}

}  // namespace sluice::daemon
