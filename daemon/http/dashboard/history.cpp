#include "daemon/http/dashboard/history.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::daemon {

namespace {

constexpr auto resources = static_cast<std::size_t>(metrics::error_class::resources);

float rate(std::uint64_t now, std::uint64_t before, double seconds) {
    if (seconds <= 0) return no_figure;
    return static_cast<float>(static_cast<double>(now - before) / seconds);
}

bucket_counts difference(const bucket_counts& now, const bucket_counts& before) {
    bucket_counts out{};
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = now[i] - std::min(now[i], before[i]);
    return out;
}

float figure(std::optional<double> value) {
    return value ? static_cast<float>(*value) : no_figure;
}

// The figures of a step that come from counters.
void fill_rates(pool_point& out, const pool_counts& now, const pool_counts& before,
                double seconds) {
    out.queries_per_second = rate(now.queries, before.queries, seconds);
    out.errors_per_second = rate(now.all_errors(), before.all_errors(), seconds);
    const auto queries = difference(now.query_seconds, before.query_seconds);
    out.p50 = figure(quantile(queries, 0.5));
    out.p95 = figure(quantile(queries, 0.95));
    out.p99 = figure(quantile(queries, 0.99));
    out.wait_p99 = figure(quantile(difference(now.wait_seconds, before.wait_seconds), 0.99));
}

trouble_counts trouble_of(const reading& now, const pool_counts& sum) {
    trouble_counts out;
    out.clients_refused = now.whole.refused;
    out.client_login_failures = now.whole.login_failures;
    out.internal_errors = now.whole.internal_errors;
    out.server_protocol_errors = now.whole.server_protocol_errors;
    out.upstream_login_failures = sum.login_failures;
    out.resource_errors = sum.errors[resources];
    out.log_lines_dropped = now.whole.log_lines_dropped;
    if (now.kv) {
        out.kv_clients_refused = now.kv->refused;
        out.kv_auth_failures = now.kv->auth_failures;
        out.kv_log_errors = now.kv->plain.log_errors;
        out.kv_checkpoint_failures = now.kv->plain.checkpoint_failures;
        out.kv_backup_failures = now.kv->plain.backup_failures;
    }
    return out;
}

trouble_counts operator-(const trouble_counts& now, const trouble_counts& before) {
    return {now.clients_refused - before.clients_refused,
            now.client_login_failures - before.client_login_failures,
            now.internal_errors - before.internal_errors,
            now.server_protocol_errors - before.server_protocol_errors,
            now.upstream_login_failures - before.upstream_login_failures,
            now.resource_errors - before.resource_errors,
            now.log_lines_dropped - before.log_lines_dropped,
            now.kv_clients_refused - before.kv_clients_refused,
            now.kv_auth_failures - before.kv_auth_failures,
            now.kv_log_errors - before.kv_log_errors,
            now.kv_checkpoint_failures - before.kv_checkpoint_failures,
            now.kv_backup_failures - before.kv_backup_failures};
}

history::pool_name name_of(const pool_reading& pool) {
    return {pool.database, pool.user};
}

}  // namespace

bool history::is_due(std::chrono::steady_clock::time_point now) const noexcept {
    return turn_ == 0 || now - last_ >= step;
}

void history::add(const reading& now, sample_time when) {
    if (whole_.empty()) {
        whole_.resize(points);
        trouble_.resize(points);
        errors_.resize(points);
    }
    const auto seconds =
        turn_ == 0 ? 0.0 : std::chrono::duration<double>(when.steady - last_).count();
    const auto place = turn_ % points;
    rank_pools(now);
    choose(now);
    for (auto& [name, track] : tracks_)
        track.ring[place] = {};

    pool_counts sum;
    for (const auto& pool : now.pools) {
        sum.add(pool.counts);
        const auto at = tracks_.find(name_of(pool));
        if (at == tracks_.end()) continue;
        auto& [ring, before, score] = at->second;
        auto& point = ring[place];
        fill_rates(point, pool.counts, before, seconds);
        point.utilization = static_cast<float>(pool.utilization());
        point.waiting = static_cast<float>(pool.clients.waiting);
        point.oldest_wait = static_cast<float>(pool.oldest_wait_seconds);
        before = pool.counts;
    }
    whole_[place] = whole_of(now, sum, seconds);
    // Milliseconds: who asks for what came after a point names the time that it was told.
    whole_[place].unix_time = std::round(when.unix_time * 1000) / 1000;
    trouble_[place] = trouble_of(now, sum);
    errors_[place] = sum.errors;
    before_ = sum;
    kv_before_ = now.kv;
    last_ = when.steady;
    ++turn_;
}

whole_point history::whole_of(const reading& now, const pool_counts& sum, double seconds) const {
    whole_point out;
    std::uint64_t size = 0;
    std::uint64_t busy = 0;
    std::uint64_t waiting = 0;
    double oldest = 0;
    for (const auto& pool : now.pools) {
        size += pool.size;
        busy += pool.busy_connections();
        waiting += pool.clients.waiting;
        oldest = std::max(oldest, pool.oldest_wait_seconds);
    }
    const auto& before = before_ ? *before_ : sum;
    fill_rates(out.pools, sum, before, seconds);
    for (std::size_t i = 0; i < sum.errors.size(); ++i)
        out.errors_per_second[i] = rate(sum.errors[i], before.errors[i], seconds);
    out.pools.utilization =
        size == 0 ? 0.0F
                  : static_cast<float>(static_cast<double>(busy) / static_cast<double>(size));
    out.pools.waiting = static_cast<float>(waiting);
    out.pools.oldest_wait = static_cast<float>(oldest);
    out.client_connections = static_cast<float>(now.whole.client_connections);
    out.resident_bytes = figure(now.usage.resident_bytes);
    if (now.kv) {
        out.kv_stored_bytes = static_cast<float>(now.kv->plain.stored_bytes);
        if (kv_before_) {
            out.kv_commands_per_second = rate(now.kv->commands, kv_before_->commands, seconds);
            out.kv_p99 = figure(
                quantile(difference(now.kv->command_seconds, kv_before_->command_seconds), 0.99));
        }
    }
    return out;
}

// How busy each pool has been lately: queries that fade by half in about two minutes, and those who
// wait.
void history::rank_pools(const reading& now) {
    constexpr double fading = 0.97;
    constexpr double weight_of_waiter = 10;
    for (const auto& pool : now.pools) {
        auto at = ranks_.find(name_of(pool));
        if (at == ranks_.end()) {
            if (ranks_.size() >= most_ranks) continue;
            at = ranks_.emplace(name_of(pool), rank{0, 0, turn_, turn_}).first;
        }
        auto& one = at->second;
        one.score = one.score * fading + static_cast<double>(pool.counts.queries - one.queries) +
                    weight_of_waiter * static_cast<double>(pool.clients.waiting);
        one.queries = pool.counts.queries;
        one.turn = turn_;
    }
    std::erase_if(ranks_, [this](const auto& each) { return each.second.turn != turn_; });
    std::erase_if(tracks_, [this](const auto& each) { return !ranks_.contains(each.first); });
    for (auto& [name, track] : tracks_)
        track.score = ranks_.at(name).score;
}

// A pool that is not kept takes the place of one that is when it is twice as busy: that one's past
// is lost, so two pools alike must not take turns.
void history::choose(const reading& now) {
    const auto keep = [&](const pool_reading& pool) {
        const auto& known = ranks_.at(name_of(pool));
        kept_pool made;
        made.ring.resize(points);
        // All that a pool which was not there a step ago has counted belongs to this step.
        const bool is_new = turn_ > 0 && known.first_turn == turn_;
        if (!is_new) made.before = pool.counts;
        made.score = known.score;
        tracks_.emplace(name_of(pool), std::move(made));
    };
    for (const auto& pool : now.pools) {
        const auto name = name_of(pool);
        const auto at = ranks_.find(name);
        if (at == ranks_.end() || tracks_.contains(name)) continue;
        if (tracks_.size() < most_pools) {
            keep(pool);
            continue;
        }
        if (at->second.score <= 0) continue;
        const auto least = std::min_element(tracks_.begin(), tracks_.end(),
                                            [](const auto& one, const auto& other) {
                                                return one.second.score < other.second.score;
                                            });
        if (at->second.score <= 2 * least->second.score) continue;
        tracks_.erase(least);
        keep(pool);
    }
}

std::vector<std::size_t> history::places(double since) const {
    std::vector<std::size_t> out;
    const auto count = std::min<std::uint64_t>(turn_, points);
    for (auto turn = turn_ - count; turn < turn_; ++turn) {
        const auto place = static_cast<std::size_t>(turn % points);
        if (whole_[place].unix_time > since) out.push_back(place);
    }
    return out;
}

const history::kept_pool* history::find(const pool_name& name) const {
    const auto at = tracks_.find(name);
    return at == tracks_.end() ? nullptr : &at->second;
}

std::optional<pool_point> history::latest(const pool_name& name) const {
    const auto* track = find(name);
    if (track == nullptr || turn_ == 0) return std::nullopt;
    return track->ring[(turn_ - 1) % points];
}

std::optional<whole_point> history::latest() const {
    if (turn_ == 0) return std::nullopt;
    return whole_[(turn_ - 1) % points];
}

trouble_counts history::trouble_within(std::chrono::seconds back) const {
    if (turn_ == 0) return {};
    const auto steps = std::min<std::uint64_t>(
        {turn_ - 1, points - 1, static_cast<std::uint64_t>(back.count() / step.count())});
    return trouble_[(turn_ - 1) % points] - trouble_[(turn_ - 1 - steps) % points];
}

std::optional<double> history::utilization_within(const pool_name& name,
                                                  std::chrono::seconds back) const {
    const auto* track = find(name);
    const auto wanted =
        std::min<std::uint64_t>(points, static_cast<std::uint64_t>(back.count() / step.count()));
    if (track == nullptr || turn_ < wanted) return std::nullopt;
    double sum = 0;
    std::uint64_t known = 0;
    for (std::uint64_t i = 1; i <= wanted; ++i) {
        const auto value = track->ring[(turn_ - i) % points].utilization;
        if (std::isnan(value)) continue;
        sum += static_cast<double>(value);
        ++known;
    }
    if (known * 2 < wanted) return std::nullopt;
    return sum / static_cast<double>(known);
}

std::array<std::uint64_t, error_kinds.size()> history::errors_within() const {
    std::array<std::uint64_t, error_kinds.size()> out{};
    if (turn_ == 0) return out;
    const auto steps = std::min<std::uint64_t>(turn_ - 1, points - 1);
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = errors_[(turn_ - 1) % points][i] - errors_[(turn_ - 1 - steps) % points][i];
    return out;
}

}  // namespace sluice::daemon
