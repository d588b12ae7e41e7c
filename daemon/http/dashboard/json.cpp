#include "daemon/http/dashboard/json.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "metrics/utf8.hpp"

namespace sluice::daemon {

namespace {

namespace json = boost::json;

// Four digits are enough for a plot, and short.
json::value short_number(double value) {
    if (!std::isfinite(value)) return nullptr;
    if (value == 0) return 0;
    const auto digits = 4 - static_cast<int>(std::ceil(std::log10(std::fabs(value))));
    const auto scale = std::pow(10.0, std::max(0, digits));
    const auto out = std::round(value * scale) / scale;
    if (out == std::floor(out) && std::fabs(out) < 9e15) return static_cast<std::int64_t>(out);
    return out;
}

json::value number(std::optional<double> value) {
    return value ? short_number(*value) : json::value(nullptr);
}

// Of a figure whose every digit counts: bytes, times.
json::value whole_number(std::optional<double> value) {
    if (!value || !std::isfinite(*value)) return nullptr;
    return static_cast<std::int64_t>(*value);
}

json::value unix_time_or_null(double value) {
    if (value <= 0) return nullptr;
    return std::round(value * 1000) / 1000;
}

template <class Names, class Counts>
json::object by_name(const Names& names, const Counts& counts) {
    json::object out;
    for (std::size_t i = 0; i < names.size(); ++i)
        out[names[i]] = counts[i];
    return out;
}

json::object point_object(const std::optional<pool_point>& point) {
    const auto at = point.value_or(pool_point{});
    const auto figure = [](float value) { return short_number(static_cast<double>(value)); };
    return {{"queries_per_second", figure(at.queries_per_second)},
            {"errors_per_second", figure(at.errors_per_second)},
            {"p50", figure(at.p50)},
            {"p95", figure(at.p95)},
            {"p99", figure(at.p99)},
            {"wait_p99", figure(at.wait_p99)}};
}

json::object upstream_object(const pool_reading& pool) {
    json::object out{{"state", name_of(pool.state())},
                     {"logins", pool.counts.logins},
                     {"login_failures", pool.counts.login_failures},
                     {"last_error", nullptr}};
    if (!pool.upstream.sqlstate.empty()) {
        out["last_error"] = json::object{{"sqlstate", pool.upstream.sqlstate},
                                         {"message", pool.upstream.message},
                                         {"time", unix_time_or_null(pool.upstream.failed_at)}};
    }
    return out;
}

json::object pool_object(const pool_reading& pool, const history& past) {
    const auto& connections = pool.connections;
    return {{"database", pool.database},
            {"user", pool.user},
            {"size", pool.size},
            {"reserve", pool.reserve},
            {"utilization", short_number(pool.utilization())},
            {"connections",
             {{"active", connections.active},
              {"idle", connections.idle},
              {"login", connections.login},
              {"closing", connections.closing},
              {"cancelling", connections.cancelling}}},
            {"clients",
             {{"active", pool.clients.active},
              {"waiting", pool.clients.waiting},
              {"idle", pool.clients.idle},
              {"listening", pool.listening_clients}}},
            {"oldest_wait", short_number(pool.oldest_wait_seconds)},
            {"upstream", upstream_object(pool)},
            {"queries", pool.counts.queries},
            {"transactions", pool.counts.transactions},
            {"errors", by_name(error_kinds, pool.counts.errors)},
            {"pins", by_name(metrics::pin_reason_names, pool.counts.pins)},
            {"pinned", by_name(metrics::pin_reason_names, pool.pinned)},
            {"now", point_object(past.latest({pool.database, pool.user}))}};
}

// Those in trouble first, then the busiest; of the rest the order of names stays.
std::vector<const pool_reading*> shown_pools(const status_facts& facts, std::size_t most) {
    struct ranked {
        const pool_reading* pool;
        bool in_trouble;
        double score;
    };
    std::vector<ranked> all;
    all.reserve(facts.now.pools.size());
    for (const auto& pool : facts.now.pools) {
        const auto* track = facts.past.find({pool.database, pool.user});
        all.push_back({&pool, pool.state() == upstream_state::failing || pool.clients.waiting > 0,
                       track == nullptr ? -1.0 : track->score});
    }
    if (all.size() > most) {
        std::stable_sort(all.begin(), all.end(), [](const auto& one, const auto& other) {
            if (one.in_trouble != other.in_trouble) return one.in_trouble;
            return one.score > other.score;
        });
        all.resize(most);
    }
    std::vector<const pool_reading*> out;
    out.reserve(all.size());
    for (const auto& each : all)
        out.push_back(each.pool);
    return out;
}

json::object totals_object(const status_facts& facts) {
    pool_counts sum;
    std::array<std::uint64_t, metrics::pin_reason_names.size()> pinned{};
    std::uint64_t size = 0;
    std::uint64_t busy = 0;
    std::uint64_t open = 0;
    std::uint64_t waiting = 0;
    double oldest = 0;
    for (const auto& pool : facts.now.pools) {
        sum.add(pool.counts);
        for (std::size_t i = 0; i < pinned.size(); ++i)
            pinned[i] += pool.pinned[i];
        size += pool.size;
        busy += pool.busy_connections();
        open += pool.all_connections();
        waiting += pool.clients.waiting;
        oldest = std::max(oldest, pool.oldest_wait_seconds);
    }
    std::optional<pool_point> point;
    if (const auto latest = facts.past.latest()) point = latest->pools;
    return {{"size", size},
            {"connections", open},
            {"busy", busy},
            {"waiting", waiting},
            {"oldest_wait", short_number(oldest)},
            {"queries", sum.queries},
            {"transactions", sum.transactions},
            {"errors", by_name(error_kinds, sum.errors)},
            {"recent_errors", by_name(error_kinds, facts.past.errors_within())},
            {"pins", by_name(metrics::pin_reason_names, sum.pins)},
            {"pinned", by_name(metrics::pin_reason_names, pinned)},
            {"now", point_object(point)}};
}

json::object health_object(const status_facts& facts) {
    auto found = judge(facts.now, facts.past, facts.unix_time);
    json::array findings;
    for (auto& each : found.findings) {
        findings.push_back(json::object{{"level", name_of(each.level)},
                                        {"what", std::move(each.what)},
                                        {"advice", std::move(each.advice)}});
    }
    return {{"level", name_of(found.level)},
            {"summary", std::move(found.summary)},
            {"findings", std::move(findings)}};
}

json::object process_object(const status_facts& facts) {
    const auto& usage = facts.now.usage;
    std::optional<double> uptime;
    if (usage.start_time_seconds)
        uptime = std::max(0.0, facts.unix_time - *usage.start_time_seconds);
    return {{"version", facts.now.version},
            {"ready", facts.now.ready},
            {"uptime", whole_number(uptime)},
            {"cpu_seconds", number(usage.cpu_seconds)},
            {"resident_bytes", whole_number(usage.resident_bytes)},
            {"open_fds", whole_number(usage.open_fds)},
            {"max_fds", whole_number(usage.max_fds)},
            {"threads", whole_number(usage.threads)}};
}

json::object clients_object(const whole_reading& whole) {
    return {{"open", whole.client_connections},
            {"max", whole.max_client_conn},
            {"logging_in", whole.logging_in},
            {"accepted", whole.accepted},
            {"refused", whole.refused},
            {"login_failures", whole.login_failures},
            {"protocol_errors", whole.protocol_errors}};
}

json::array projects_array(const metrics::kv_snapshot& kv) {
    json::array out;
    for (const auto& one : kv.largest)
        out.push_back(json::object{{"id", one.id}, {"keys", one.keys}, {"bytes", one.bytes}});
    return out;
}

json::value kv_value(const std::optional<kv_reading>& kv) {
    if (!kv) return nullptr;
    const auto& now = kv->plain;
    return json::object{
        {"clients", {{"open", now.client_connections}, {"max", now.max_clients}}},
        {"commands", kv->commands},
        {"command_errors", kv->command_errors},
        {"hits", kv->hits},
        {"misses", kv->misses},
        {"projects_known", now.known_projects},
        {"projects_in_memory", now.projects},
        {"damaged_projects", now.damaged_projects},
        {"large_projects", now.large_projects},
        {"keys", now.keys},
        {"stored_bytes", now.stored_bytes},
        {"memory", now.memory},
        {"max_memory", now.max_memory},
        {"max_project_size", now.max_project_size},
        {"writes_refused", now.writes_refused},
        {"log_bytes", now.log_bytes},
        {"log_errors", now.log_errors},
        {"checkpoint",
         {{"last_success", unix_time_or_null(now.checkpoint_last_success)},
          {"failures", now.checkpoint_failures}}},
        {"backup",
         {{"every", now.backup_every_seconds > 0 ? short_number(now.backup_every_seconds)
                                                 : json::value(nullptr)},
          {"last_success", unix_time_or_null(now.backup_last_success)},
          {"last_bytes", now.backup_last_bytes},
          {"failures", now.backup_failures}}},
        {"projects", projects_array(now)}};
}

json::value statements_value(const std::optional<std::vector<pool::statement_total>>& all) {
    if (!all) return nullptr;
    const auto in_seconds = [](std::chrono::microseconds value) {
        return short_number(std::chrono::duration<double>(value).count());
    };
    json::array out;
    for (const auto& one : *all) {
        out.push_back(json::object{{"database", metrics::shown_text(one.database)},
                                   {"user", metrics::shown_text(one.user)},
                                   {"text", metrics::shown_text(one.text)},
                                   {"calls", one.calls},
                                   {"errors", one.errors},
                                   {"total", in_seconds(one.total)},
                                   {"slowest", in_seconds(one.slowest)}});
    }
    return out;
}

// One array of a figure over the places.
template <class Get>
json::array series(const std::vector<std::size_t>& places, Get get) {
    json::array out;
    out.reserve(places.size());
    for (const auto place : places)
        out.push_back(short_number(static_cast<double>(get(place))));
    return out;
}

template <class Point>
void add_pool_series(json::object& to, const std::vector<std::size_t>& places, Point point) {
    const auto add = [&](const char* name, float pool_point::*member) {
        to[name] = series(places, [&](std::size_t place) { return point(place).*member; });
    };
    add("queries_per_second", &pool_point::queries_per_second);
    add("p50", &pool_point::p50);
    add("p95", &pool_point::p95);
    add("p99", &pool_point::p99);
    add("errors_per_second", &pool_point::errors_per_second);
    add("utilization", &pool_point::utilization);
    add("waiting", &pool_point::waiting);
    add("oldest_wait", &pool_point::oldest_wait);
    add("wait_p99", &pool_point::wait_p99);
}

json::object whole_series(const history& past, const std::vector<std::size_t>& places) {
    json::object out;
    add_pool_series(out, places, [&](std::size_t place) -> const pool_point& {
        return past.whole(place).pools;
    });
    json::object errors;
    for (std::size_t i = 0; i < error_kinds.size(); ++i) {
        errors[error_kinds[i]] = series(
            places, [&](std::size_t place) { return past.whole(place).errors_per_second[i]; });
    }
    out["errors"] = std::move(errors);
    const auto add = [&](const char* name, float whole_point::*member) {
        out[name] = series(places, [&](std::size_t place) { return past.whole(place).*member; });
    };
    add("clients", &whole_point::client_connections);
    add("kv_commands_per_second", &whole_point::kv_commands_per_second);
    add("kv_p99", &whole_point::kv_p99);
    add("kv_stored_bytes", &whole_point::kv_stored_bytes);
    add("resident_bytes", &whole_point::resident_bytes);
    return out;
}

}  // namespace

std::string status_json(const status_facts& facts, std::size_t most_pools) {
    json::array pools;
    for (const auto* pool : shown_pools(facts, most_pools))
        pools.push_back(pool_object(*pool, facts.past));
    const json::object out{{"time", unix_time_or_null(facts.unix_time)},
                           {"health", health_object(facts)},
                           {"process", process_object(facts)},
                           {"clients", clients_object(facts.now.whole)},
                           {"totals", totals_object(facts)},
                           {"pool_count", facts.now.pools.size()},
                           {"pools", std::move(pools)},
                           {"kv", kv_value(facts.now.kv)},
                           {"statements", statements_value(facts.statements)}};
    return json::serialize(out) + "\n";
}

std::string history_json(const history& past, double since, double unix_time) {
    const auto places = past.places(since);
    json::array times;
    for (const auto place : places)
        times.push_back(unix_time_or_null(past.whole(place).unix_time));
    json::array pools;
    for (const auto& [name, track] : past.pools()) {
        json::object one{{"database", name.first}, {"user", name.second}};
        add_pool_series(one, places, [&ring = track.ring](std::size_t place) -> const pool_point& {
            return ring[place];
        });
        pools.push_back(std::move(one));
    }
    const json::object out{{"time", unix_time_or_null(unix_time)},
                           {"step", history::step.count()},
                           {"seconds", history::step.count() * std::int64_t{history::points}},
                           {"times", std::move(times)},
                           {"whole", whole_series(past, places)},
                           {"pools", std::move(pools)}};
    return json::serialize(out) + "\n";
}

}  // namespace sluice::daemon
