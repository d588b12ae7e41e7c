// The server itself and what it did: TIME, ROLE, WAIT, MONITOR, SLOWLOG, LATENCY, and commands of
// redis-server that have nothing to do here and say so.

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::uint32_t usual = admin | noscript | loading | stale;

void time(call& c) {
    std::string micros = std::to_string(c.now() % 1000 * 1000);
    c.out.array(2);
    c.out.bulk(std::to_string(c.now() / 1000));
    c.out.bulk(micros);
}

void role(call& c) {
    c.out.array(3);
    c.out.bulk("master");
    c.out.integer(0);
    c.out.array(0);
}

// There are no replicas to wait for.
void wait(call& c) {
    std::int64_t replicas = 0;
    std::int64_t timeout = 0;
    if (!c.integer(1, replicas)) return;
    if (!to_integer(c.arg(2), timeout)) {
        return c.out.error("ERR timeout is not an integer or out of range");
    }
    if (timeout < 0) return c.out.error("ERR timeout is negative");
    c.out.integer(0);
}

void lolwut(call& c) {
    c.out.verbatim(
        "       ________\n"
        "  ~~~~|        |~~~~~~~\n"
        "  ~~~~|  ||||  |~~~~~~~   a sluice lets through\n"
        "  ~~~~|__||||__|__          what may pass\n"
        "         ~~~~\n"
        "sluice " +
        c.in.outside.facts().version + ", as Redis ver. 7.0.15\n");
}

// It shows every user's keys and values.
void monitor(call& c) {
    if (!c.may_administer()) return;
    c.in.clients.add_monitor(*c.self.card);
    c.out.simple("OK");
}

void debug(call& c) {
    c.out.error("ERR DEBUG command not allowed: sluice has none of its subcommands");
}

void shutdown(call& c) {
    c.out.error(
        "ERR SHUTDOWN is not for clients: stop the service with `systemctl stop sluice`, or send "
        "SIGTERM to the process; everything is saved then");
}

// --- SLOWLOG ---

void slowlog_get(call& c) {
    if (c.args.size() > 3) return c.unknown_part();
    std::int64_t most = 10;
    if (c.args.size() == 3 && (!to_integer(c.arg(2), most) || most < -1)) {
        return c.out.error("ERR count should be greater than or equal to -1");
    }
    if (!c.may_administer()) return;
    const auto items = c.in.slow.newest(most < 0 ? SIZE_MAX : static_cast<std::size_t>(most));
    c.out.array(items.size());
    for (const auto& one : items) {
        c.out.array(6);
        c.out.integer(static_cast<std::int64_t>(one.id));
        c.out.integer(one.seconds);
        c.out.integer(one.microseconds);
        c.out.array(one.args.size());
        for (const auto& arg : one.args)
            c.out.bulk(arg);
        c.out.bulk(one.client);
        c.out.bulk(one.client_name);
    }
}

void slowlog_len(call& c) {
    c.out.integer(static_cast<std::int64_t>(c.in.slow.size()));
}

void slowlog_reset(call& c) {
    if (!c.may_administer()) return;
    c.in.slow.clear();
    c.out.simple("OK");
}

constexpr command slowlog_parts[] = {
    {"slowlog|get", -2, admin | loading | stale, 0, 0, 0, slowlog_get, "server", "2.2.12",
     "Answers the newest slow commands: 10 of them, or so many; -1: all.", "O(N), the entries"},
    {"slowlog|help", 2, loading | stale, 0, 0, 0, show_help, "server", "6.2.0", "Prints this help.",
     "O(1)"},
    {"slowlog|len", 2, admin | loading | stale, 0, 0, 0, slowlog_len, "server", "2.2.12",
     "Answers how many slow commands are kept.", "O(1)"},
    {"slowlog|reset", 2, admin | loading | stale, 0, 0, 0, slowlog_reset, "server", "2.2.12",
     "Forgets the slow commands.", "O(N), the entries"},
};

// --- LATENCY: events are not recorded, so there is never one ---

void no_events(call& c) {
    c.out.array(0);
}

void no_histograms(call& c) {
    c.out.map(0);
}

void latency_reset(call& c) {
    c.out.integer(0);
}

void latency_graph(call& c) {
    c.out.error("ERR No samples available for event '" + std::string(c.arg(2).substr(0, 128)) +
                "'");
}

void latency_doctor(call& c) {
    c.out.verbatim(
        "Latency events are not recorded here. SLOWLOG GET has the slowest commands, and the "
        "monitoring port histograms of commands and of the log's fsyncs.\n");
}

constexpr command latency_parts[] = {
    {"latency|doctor", 2, usual, 0, 0, 0, latency_doctor, "server", "2.8.13",
     "Says where latencies can be seen.", "O(1)"},
    {"latency|graph", 3, usual, 0, 0, 0, latency_graph, "server", "2.8.13",
     "Nothing: events are not recorded.", "O(1)"},
    {"latency|help", 2, loading | stale, 0, 0, 0, show_help, "server", "2.8.13",
     "Prints this help.", "O(1)"},
    {"latency|histogram", -2, usual, 0, 0, 0, no_histograms, "server", "7.0.0",
     "Nothing: the monitoring has histograms.", "O(1)"},
    {"latency|history", 3, usual, 0, 0, 0, no_events, "server", "2.8.13",
     "Nothing: events are not recorded.", "O(1)"},
    {"latency|latest", 2, usual, 0, 0, 0, no_events, "server", "2.8.13",
     "Nothing: events are not recorded.", "O(1)"},
    {"latency|reset", -2, usual, 0, 0, 0, latency_reset, "server", "2.8.13",
     "Nothing: events are not recorded.", "O(1)"},
};

// --- MODULE ---

void module_list(call& c) {
    c.out.array(0);
}

void module_refused(call& c) {
    c.out.error("ERR MODULE command not allowed: sluice loads no modules");
}

constexpr command module_parts[] = {
    {"module|help", 2, loading | stale, 0, 0, 0, show_help, "server", "5.0.0", "Prints this help.",
     "O(1)"},
    {"module|list", 2, admin | noscript, 0, 0, 0, module_list, "server", "4.0.0",
     "Nothing: there are no modules.", "O(1)"},
    {"module|load", -3, admin | noscript, 0, 0, 0, module_refused, "server", "4.0.0",
     "Refused: no modules are loaded.", "O(1)"},
    {"module|loadex", -3, admin | noscript, 0, 0, 0, module_refused, "server", "7.0.0",
     "Refused: no modules are loaded.", "O(1)"},
    {"module|unload", 3, admin | noscript, 0, 0, 0, module_refused, "server", "4.0.0",
     "Refused: no modules are loaded.", "O(1)"},
};

template <const auto& Parts>
std::span<const command> as_parts() {
    return Parts;
}

constexpr command rows[] = {
    {"debug", -2, usual, 0, 0, 0, debug, "server", "1.0.0", "Refused: there is nothing to debug.",
     "O(1)"},
    {"latency", -2, 0, 0, 0, 0, nullptr, "server", "2.8.13", "Commands about latency events.",
     "Depends on subcommand.", 0, as_parts<latency_parts>},
    {"lolwut", -1, readonly | fast, 0, 0, 0, lolwut, "server", "5.0.0",
     "Shows a small picture and the version.", "O(1)"},
    {"module", -2, 0, 0, 0, 0, nullptr, "server", "4.0.0", "Commands about modules.",
     "Depends on subcommand.", 0, as_parts<module_parts>},
    {"monitor", 1, usual | no_multi, 0, 0, 0, monitor, "server", "1.0.0",
     "Shows every command that is carried out, until the client leaves.", "O(1)"},
    {"role", 1, noscript | loading | stale | fast, 0, 0, 0, role, "server", "2.8.12",
     "Answers that the server is a master without replicas.", "O(1)"},
    {"shutdown", -1, usual | no_multi, 0, 0, 0, shutdown, "server", "1.0.0",
     "Refused: the service manager stops the server.", "O(1)"},
    {"slowlog", -2, 0, 0, 0, 0, nullptr, "server", "2.2.12", "Commands about slow commands.",
     "Depends on subcommand.", 0, as_parts<slowlog_parts>},
    {"time", 1, loading | stale | fast, 0, 0, 0, time, "server", "2.6.0",
     "Answers the seconds since 1970, and the microseconds in this one.", "O(1)"},
    {"wait", 3, noscript, 0, 0, 0, wait, "generic", "3.0.0",
     "Answers 0: there are no replicas to wait for.", "O(1)"},
};

}  // namespace

std::span<const command> server_commands() {
    return rows;
}

}  // namespace sluice::kvstore
