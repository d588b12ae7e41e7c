// CONFIG GET and SET on the key-value port: sluice's settings under the names that Redis has for
// them. What is set lasts until the next reload or start; the file is never written.

#include <array>
#include <charconv>
#include <limits>

#include "daemon/kv/service.hpp"
#include "kvstore/command.hpp"

namespace sluice::daemon {

namespace {

using kvstore::equals_in_any_case;

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

// Redis's: 100, 5k (1000), 5kb (1024), and so on up to g.
bool parse_memory(std::string_view text, std::uint64_t& out) {
    struct unit {
        std::string_view name;
        std::uint64_t bytes;
    };
    constexpr std::array units{unit{"", 1},           unit{"b", 1},        unit{"k", 1000},
                               unit{"kb", 1024},      unit{"m", 1000000},  unit{"mb", 1U << 20},
                               unit{"g", 1000000000}, unit{"gb", 1U << 30}};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc()) return false;
    const auto rest = text.substr(static_cast<std::size_t>(end - text.data()));
    for (const auto& one : units) {
        if (!equals_in_any_case(rest, one.name)) continue;
        if (out > std::numeric_limits<std::uint64_t>::max() / one.bytes) return false;
        out *= one.bytes;
        return true;
    }
    return false;
}

// Empty: `out` is set.
std::string parse_number(std::string_view text, std::int64_t least, std::int64_t most,
                         std::int64_t& out) {
    if (!kvstore::to_integer(text, out)) return "argument couldn't be parsed into an integer";
    if (out >= least && out <= most) return "";
    return "argument must be between " + std::to_string(least) + " and " + std::to_string(most) +
           " inclusive";
}

std::string parse_fsync(std::string_view text, config::fsync_policy& out) {
    for (const auto policy : {config::fsync_policy::everysec, config::fsync_policy::always,
                              config::fsync_policy::never}) {
        if (!equals_in_any_case(text, fsync_name(policy))) continue;
        out = policy;
        return "";
    }
    return "argument(s) must be one of the following: everysec, always, no";
}

// Changes a setting; empty: done.
std::string change(config::kv_settings& settings, std::string_view name, std::string_view value) {
    constexpr std::int64_t most_int = std::numeric_limits<std::int32_t>::max();
    std::int64_t number = 0;
    if (name == "maxclients") {
        auto why = parse_number(value, 1, std::numeric_limits<std::uint32_t>::max(), number);
        if (why.empty()) settings.maxclients = static_cast<std::uint32_t>(number);
        return why;
    }
    if (name == "timeout") {
        auto why = parse_number(value, 0, most_int, number);
        if (why.empty()) settings.timeout = std::chrono::seconds(number);
        return why;
    }
    if (name == "appendfsync") return parse_fsync(value, settings.fsync);
    if (name == "maxmemory") {
        return parse_memory(value, settings.max_memory) ? "" : "argument must be a memory value";
    }
    if (name == "protected-mode") {
        const bool is_yes = equals_in_any_case(value, "yes");
        if (!is_yes && !equals_in_any_case(value, "no")) return "argument must be 'yes' or 'no'";
        settings.protected_mode = is_yes;
        return "";
    }
    return "can't set immutable config";
}

}  // namespace

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
        {"hz", "10"},
        {"maxclients", number(s.maxclients)},
        {"maxmemory", number(s.max_memory)},
        {"maxmemory-policy", "noeviction"},
        {"port", number(port_)},
        {"proto-max-bulk-len", number(std::uint64_t{512} << 20)},
        {"protected-mode", yes_or_no(s.protected_mode)},
        {"save", ""},
        {"slowlog-log-slower-than", number(slow.slower_than_us())},
        {"slowlog-max-len", number(s.slowlog_max_len)},
        {"tcp-backlog", number(s.listen_backlog)},
        {"tcp-keepalive", seconds(s.tcp_keepalive)},
        {"timeout", seconds(s.timeout)},
    };
}

// The slow log's limit is finer here than in the file, so it is kept by the slow log alone.
std::string kv_service::set_configuration(std::string_view name, std::string_view value) {
    // Until it is everywhere: two at once, or one and a reload, are carried out in one order.
    const std::lock_guard lock(settings_mutex_);
    auto fresh = settings_;
    auto slower_than = slow.slower_than_us();
    std::int64_t most = fresh.slowlog_max_len;
    std::string why;
    if (name == "slowlog-log-slower-than") {
        why = parse_number(value, -1, std::numeric_limits<std::int64_t>::max(), slower_than);
    } else if (name == "slowlog-max-len") {
        why = parse_number(value, 0, std::numeric_limits<std::uint32_t>::max(), most);
        fresh.slowlog_max_len = static_cast<std::uint32_t>(most);
    } else {
        why = change(fresh, name, value);
    }
    if (!why.empty()) return why;
    slow.configure(slower_than, fresh.slowlog_max_len);
    settings_ = fresh;
    const auto changed = std::make_shared<const config::kv_settings>(std::move(fresh));
    log.info("setting changed by a client until the next reload",
             {{"setting", std::string(name)}, {"value", std::string(value)}});
    store.configure(*changed);
    for (auto* const worker : workers_)
        worker->post([this, worker, changed] { room_of(*worker).settings = changed; });
    return "";
}

}  // namespace sluice::daemon
