#include "daemon/http/dashboard/health.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string_view>

namespace sluice::daemon {

namespace {

using std::chrono::minutes;

constexpr std::size_t most_pools_named = 3;
constexpr auto recently = minutes(5);
constexpr double long_wait = 1;  // seconds
constexpr double too_long = 10;
constexpr double nearly_all = 0.9;  // of a pool's connections

std::string count_text(std::uint64_t count, std::string_view one, std::string_view many) {
    return std::to_string(count) + " " + std::string(count == 1 ? one : many);
}

std::string seconds_text(double value) {
    char text[32];
    std::snprintf(text, sizeof text, value < 10 ? "%.1f s" : "%.0f s", value);
    return text;
}

std::string percent_text(double share) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0f %%", share * 100);
    return text;
}

std::string age_text(double age_seconds) {
    const auto hours = age_seconds / 3600;
    char text[32];
    if (age_seconds < 120) return seconds_text(std::max(0.0, age_seconds));
    if (hours < 2) {
        std::snprintf(text, sizeof text, "%.0f minutes", age_seconds / 60);
    } else if (hours < 48) {
        std::snprintf(text, sizeof text, "%.0f hours", hours);
    } else {
        std::snprintf(text, sizeof text, "%.0f days", hours / 24);
    }
    return text;
}

std::string name_of_pool(const pool_reading& pool) {
    return "\"" + pool.database + "\" (user \"" + pool.user + "\")";
}

const char* advice_for_login(std::string_view sqlstate) {
    if (sqlstate.starts_with("28")) {
        return "Check the user and the password in the database's url, and pg_hba.conf there.";
    }
    if (sqlstate.starts_with("3D")) {
        return "Check the database's name in its url: the server has no such database.";
    }
    if (sqlstate.starts_with("53")) {
        return "PostgreSQL has no connections left: lower pool_size, or raise its max_connections.";
    }
    if (sqlstate.starts_with("57")) {
        return "PostgreSQL is starting or stopping: it is tried again until it is back.";
    }
    return "Check that the server runs and that its host and port are reached from here. It is "
           "tried again when a client comes.";
}

class judgement {
  public:
    judgement(const reading& now, const history& past, double unix_time)
        : now_(now), past_(past), time_(unix_time), trouble_(past.trouble_within(recently)) {}

    verdict made() && {
        about_upstreams();
        about_waiting();
        about_utilization();
        about_pins();
        about_listening();
        about_clients();
        about_process();
        if (now_.kv) {
            about_store(*now_.kv);
            about_copies(*now_.kv);
        }
        std::stable_sort(
            out_.findings.begin(), out_.findings.end(),
            [](const auto& one, const auto& other) { return one.level > other.level; });
        if (!out_.findings.empty()) out_.level = out_.findings.front().level;
        out_.summary = summary();
        return std::move(out_);
    }

  private:
    void add(alert_level level, std::string what, std::string advice) {
        out_.findings.push_back({level, std::move(what), std::move(advice)});
    }
    void warn(std::string what, std::string advice) {
        add(alert_level::warning, std::move(what), std::move(advice));
    }
    void alarm(std::string what, std::string advice) {
        add(alert_level::critical, std::move(what), std::move(advice));
    }

    // The first few pools that `is_bad` get a finding each, the rest one together.
    template <class IsBad, class Tell>
    void each_pool(IsBad is_bad, Tell tell, std::string_view rest) {
        std::size_t found = 0;
        for (const auto& pool : now_.pools) {
            if (!is_bad(pool)) continue;
            if (++found <= most_pools_named) tell(pool);
        }
        if (found > most_pools_named) {
            const auto more = found - most_pools_named;
            warn(count_text(more, "more pool ", "more pools ") + std::string(rest) + ".",
                 "See the table of pools.");
        }
    }

    void about_upstreams();
    void about_waiting();
    void about_utilization();
    void about_pins();
    void about_listening();
    void about_clients();
    void about_process();
    void about_store(const kv_reading& kv);
    void about_copies(const kv_reading& kv);
    [[nodiscard]] std::string summary() const;

    const reading& now_;
    const history& past_;
    double time_;
    trouble_counts trouble_;
    verdict out_;
};

void judgement::about_upstreams() {
    each_pool([](const auto& pool) { return pool.state() == upstream_state::failing; },
              [this](const auto& pool) {
                  alarm("Pool " + name_of_pool(pool) + " cannot log in to PostgreSQL, " +
                            age_text(time_ - pool.upstream.failed_at) +
                            " ago: " + pool.upstream.sqlstate + " " + pool.upstream.message,
                        advice_for_login(pool.upstream.sqlstate));
              },
              "cannot log in to PostgreSQL");
    each_pool(
        [this](const auto& pool) {
            return pool.state() != upstream_state::failing && !pool.upstream.reached &&
                   !pool.upstream.sqlstate.empty() && time_ - pool.upstream.failed_at < 60;
        },
        [this](const auto& pool) {
            warn("Pool " + name_of_pool(pool) + " could not open another connection: " +
                     pool.upstream.sqlstate + " " + pool.upstream.message,
                 advice_for_login(pool.upstream.sqlstate));
        },
        "could not open another connection");
}

void judgement::about_waiting() {
    each_pool(
        [](const auto& pool) {
            return pool.clients.waiting > 0 && pool.oldest_wait_seconds >= long_wait &&
                   pool.state() != upstream_state::failing;
        },
        [this](const auto& pool) {
            const auto level =
                pool.oldest_wait_seconds >= too_long ? alert_level::critical : alert_level::warning;
            const bool wakes = pool.state() == upstream_state::waking;
            add(level,
                "Pool " + name_of_pool(pool) + ": " +
                    count_text(pool.clients.waiting, "client waits", "clients wait") +
                    " for a server connection, the first for " +
                    seconds_text(pool.oldest_wait_seconds) + ".",
                wakes ? "PostgreSQL is being logged in to: a suspended compute takes some seconds."
                      : "Look for long transactions and pinned clients in this pool; if "
                        "PostgreSQL has room, raise pool_size.");
        },
        "have clients that wait");
}

void judgement::about_utilization() {
    each_pool(
        [this](const auto& pool) {
            if (pool.clients.waiting > 0 && pool.oldest_wait_seconds >= long_wait) return false;
            const auto used =
                past_.utilization_within({pool.database, pool.user}, std::chrono::minutes(1));
            return used && *used >= nearly_all && pool.utilization() >= nearly_all;
        },
        [this](const auto& pool) {
            warn("Pool " + name_of_pool(pool) + " has had " +
                     percent_text(
                         *past_.utilization_within({pool.database, pool.user}, minutes(1))) +
                     " of its connections in use for a minute.",
                 "The next client will wait. Look for long transactions; if PostgreSQL has room, "
                 "raise pool_size.");
        },
        "use nearly all of their connections");
}

void judgement::about_pins() {
    each_pool([](const auto& pool) { return pool.size > 1 && pool.all_pinned() * 2 > pool.size; },
              [this](const auto& pool) {
                  warn("Pool " + name_of_pool(pool) + ": " +
                           count_text(pool.all_pinned(), "client keeps", "clients keep") +
                           " a connection between transactions, of " + std::to_string(pool.size) +
                           ".",
                       "See the pins by reason below; max_pinned and pin_timeout bound them.");
              },
              "are pinned by more than half");
}

void judgement::about_listening() {
    each_pool(
        [](const auto& pool) { return pool.listening_clients > 0 && pool.listen_connections == 0; },
        [this](const auto& pool) {
            warn("Pool " + name_of_pool(pool) + ": " +
                     count_text(pool.listening_clients, "client listens", "clients listen") +
                     ", but there is no connection for it: notifications are missed.",
                 "The connection is made again by itself as soon as PostgreSQL is reached.");
        },
        "miss notifications");
}

void judgement::about_clients() {
    const auto& whole = now_.whole;
    if (whole.max_client_conn > 0 && whole.client_connections * 10 >= whole.max_client_conn * 9) {
        warn(std::to_string(whole.client_connections) + " of " +
                 std::to_string(whole.max_client_conn) + " client connections are taken.",
             "Further clients will be refused: raise max_client_conn, or find who opens so many.");
    }
    if (trouble_.clients_refused > 0) {
        warn(count_text(trouble_.clients_refused, "client was", "clients were") +
                 " refused in the last five minutes.",
             "A limit on client connections was reached (max_client_conn and its kind): the log "
             "names it.");
    }
    constexpr std::uint64_t many_logins = 10;
    if (trouble_.client_login_failures >= many_logins) {
        warn(std::to_string(trouble_.client_login_failures) +
                 " clients failed to log in in the last five minutes.",
             "A wrong secret somewhere, or somebody is guessing: the log names users and "
             "addresses.");
    }
}

void judgement::about_process() {
    if (!now_.ready) {
        const bool told = out_.level != alert_level::fine || !out_.findings.empty();
        if (!told) alarm("Not ready: " + now_.why_not + ".", "Clients cannot be served now.");
    }
    const auto& usage = now_.usage;
    if (usage.open_fds && usage.max_fds && *usage.open_fds > 0.8 * *usage.max_fds) {
        warn("More than 80 % of the file descriptors are in use.",
             "Raise LimitNOFILE of the service, or lower max_client_conn.");
    }
    if (trouble_.internal_errors > 0) {
        warn(count_text(trouble_.internal_errors, "connection was", "connections were") +
                 " closed because of a bug in sluice in the last five minutes.",
             "Please report it, with the lines of the log.");
    }
    if (trouble_.server_protocol_errors > 0) {
        warn("PostgreSQL sent messages that break the protocol.",
             "Something between here and the server is not PostgreSQL: the log has more.");
    }
    if (trouble_.log_lines_dropped > 0) {
        warn("Lines of the log were left out in the last five minutes.",
             "Too many of one kind, or the log is not read fast enough.");
    }
}

void judgement::about_store(const kv_reading& kv) {
    const auto& now = kv.plain;
    if (now.writes_refused) {
        alarm("The key-value store refuses writes: its disk failed or is full.",
              "Make room in kv.directory; writes are taken again by themselves.");
    } else if (trouble_.kv_log_errors > 0) {
        alarm("The key-value store's log could not be written in the last five minutes.",
              "Look at the disk of kv.directory and at the log.");
    }
    if (now.damaged_projects > 0) {
        warn(count_text(now.damaged_projects, "project is", "projects are") +
                 " refused because of a damaged file.",
             "The log names the file that was set aside; sluice kv restore brings one back.");
    }
    if (now.max_project_size > 0 && !now.largest.empty() &&
        now.largest.front().bytes * 10 >= now.max_project_size * 9) {
        const auto& largest = now.largest.front();
        warn("Project " + std::to_string(largest.id) + " uses " +
                 percent_text(static_cast<double>(largest.bytes) /
                              static_cast<double>(now.max_project_size)) +
                 " of what a project may hold.",
             "Its writes will be refused: raise kv.max_project_size, or remove keys.");
    }
    if (now.max_clients > 0 && now.client_connections * 10 >= now.max_clients * 9) {
        warn(std::to_string(now.client_connections) + " of " + std::to_string(now.max_clients) +
                 " key-value clients are connected.",
             "Further clients will be refused: raise kv.maxclients.");
    }
    if (trouble_.kv_clients_refused > 0) {
        warn(count_text(trouble_.kv_clients_refused, "key-value client was",
                        "key-value clients were") +
                 " refused in the last five minutes.",
             "Because of kv.maxclients or kv.protected_mode: the log says which.");
    }
    constexpr std::uint64_t many_logins = 10;
    if (trouble_.kv_auth_failures >= many_logins) {
        warn(std::to_string(trouble_.kv_auth_failures) +
                 " key-value clients failed to log in in the last five minutes.",
             "A wrong secret somewhere, or somebody is guessing.");
    }
}

// Checkpoints and backups.
void judgement::about_copies(const kv_reading& kv) {
    const auto& now = kv.plain;
    if (trouble_.kv_checkpoint_failures > 0) {
        warn("A project's file could not be written in the last five minutes.",
             "The log keeps what it lacks: look at the disk of kv.directory.");
    }
    if (trouble_.kv_backup_failures > 0) {
        warn("A backup failed in the last five minutes.",
             "Look at kv.backup.directory and at the log.");
    }
    if (now.backup_every_seconds <= 0) return;
    const auto started = now_.usage.start_time_seconds.value_or(time_);
    // A first backup is made soon after the start: until then there is nothing to say.
    const auto since = now.backup_last_success > 0 ? now.backup_last_success : started;
    const auto age = time_ - since;
    if (age < 2 * now.backup_every_seconds) return;
    warn(now.backup_last_success > 0 ? "The last backup is " + age_text(age) + " old."
                                     : std::string("There is no backup yet."),
         "One is due every " + age_text(now.backup_every_seconds) +
             ": look at kv.backup.directory and at the log.");
}

std::string judgement::summary() const {
    std::uint64_t size = 0;
    std::uint64_t busy = 0;
    std::uint64_t waiting = 0;
    for (const auto& pool : now_.pools) {
        size += pool.size;
        busy += pool.busy_connections();
        waiting += pool.clients.waiting;
    }
    switch (out_.level) {
        case alert_level::critical:
            return out_.findings.size() == 1
                       ? std::string("Something is wrong.")
                       : "Something is wrong: " + std::to_string(out_.findings.size()) +
                             " findings.";
        case alert_level::warning:
            return count_text(out_.findings.size(), "thing needs", "things need") + " attention.";
        case alert_level::fine:
            break;
    }
    if (now_.pools.empty()) return "All is well. No client has come yet.";
    return "All is well: " + count_text(now_.pools.size(), "pool", "pools") + ", " +
           std::to_string(busy) + " of " + std::to_string(size) + " server connections in use, " +
           (waiting == 0 ? std::string("nobody waits.")
                         : count_text(waiting, "client waits.", "clients wait."));
}

}  // namespace

verdict judge(const reading& now, const history& past, double unix_time) {
    return judgement(now, past, unix_time).made();
}

const char* name_of(alert_level level) noexcept {
    switch (level) {
        case alert_level::fine:
            return "fine";
        case alert_level::warning:
            return "warning";
        case alert_level::critical:
            return "critical";
    }
    return "?";
}

}  // namespace sluice::daemon
