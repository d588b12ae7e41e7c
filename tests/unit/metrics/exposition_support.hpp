// A snapshot in which every number differs, and a small reader of the text format.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "metrics/exposition.hpp"

namespace sluice::metrics::test {

struct sample_daemon {
    pool_counters first_worker;
    pool_counters second_worker;
    worker_counters worker;
    kv_counters first_kv;
    kv_counters second_kv;
    histogram fsyncs;
    snapshot state;

    sample_daemon() {
        using namespace std::chrono_literals;
        first_worker.queries.add(7);
        second_worker.queries.add(5);
        first_worker.errors_by_class[static_cast<std::size_t>(error_class::transaction)].add(3);
        first_worker.query_seconds.record(10us);  // bucket le=1.6e-05
        second_worker.query_seconds.record(100us);
        second_worker.query_seconds.record(60s);  // beyond the last bound
        worker.protocol_errors.add(4);
        worker.log_lines_dropped.add(2);

        pool_snapshot pool;
        pool.database = "app";
        pool.user = "alice";
        pool.workers = {&first_worker, &second_worker};
        pool.size_limit = 20;
        pool.reserve = 5;
        pool.connections = {4, 11, 3, 2, 1};
        pool.clients = {4, 6, 90};
        pool.oldest_wait_seconds = 1.5;
        pool.listening_clients = 70;
        pool.listen_connections = 1;
        state.pools.push_back(pool);
        state.certificates = {{"postgres", 1.8e9}, {"kv", 1.9e9}};
        state.process.workers = {&worker};
        state.process.clients_logging_in = 8;
        state.process.client_connections = 108;
        state.process.max_client_conn = 10000;
        state.process.log_lines_dropped = 40;
        state.process.version = "1.2.3";
        state.process.usage = {0.5, 1e6, 2e6, 12, 1024, 1.7e9, 3};
        fill_kv();
    }

    void fill_kv() {
        using namespace std::chrono_literals;
        first_kv.clients_accepted.add(21);
        second_kv.clients_accepted.add(1);
        first_kv.clients_refused.add(22);
        first_kv.auth_failures.add(23);
        first_kv.protocol_errors.add(24);
        first_kv.bytes_received.add(25);
        first_kv.bytes_sent.add(26);
        first_kv.hits.add(27);
        first_kv.misses.add(28);
        first_kv.refused_writes.add(30);
        first_kv.count(0, 10'000, false);
        second_kv.count(0, 1'000'000'000, true);
        second_kv.count_rejected(0);
        second_kv.count_rejected(0);
        first_kv.count(2, 100'000, false);
        fsyncs.record(3ms);
        auto& kv = state.kv.emplace();
        kv.workers = {&first_kv, &second_kv};
        kv.commands = {"get", "", "config|set"};
        kv.client_connections = 31;
        kv.max_clients = 32;
        kv.projects = 33;
        kv.keys = 34;
        kv.stored_bytes = 35;
        kv.large_projects = 36;
        kv.damaged_projects = 37;
        kv.project_loads = 38;
        kv.project_unloads = 39;
        kv.expired_keys = 40;
        kv.writes_refused = true;
        kv.log_bytes = 41;
        kv.log_records = 42;
        kv.log_fsync_seconds = &fsyncs;
        kv.log_written_bytes = 29;
        kv.log_errors = 43;
        kv.checkpoints = 44;
        kv.checkpoint_seconds = 45.5;
        kv.checkpoint_failures = 46;
        kv.checkpoint_last_success = 1700000000.25;
        kv.checkpoint_last_bytes = 47;
        kv.backups = 50;
        kv.backup_last_success = 1700000001;
        kv.backup_last_bytes = 48;
        kv.backup_failures = 49;
    }
    sample_daemon(const sample_daemon&) = delete;
    sample_daemon& operator=(const sample_daemon&) = delete;
};

struct family_text {
    std::string type;
    std::string help;
    std::set<std::string> labels;  // the names of its labels, without a histogram's le
};

// The families of a page by name, from its HELP, TYPE and sample lines.
inline std::map<std::string, family_text> families_of(const std::string& page) {
    std::map<std::string, family_text> families;
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string first, kind, name;
        if (line.rfind("# ", 0) == 0) {
            words >> first >> kind >> name >> std::ws;
            std::string rest;
            std::getline(words, rest);
            (kind == "HELP" ? families[name].help : families[name].type) = rest;
            continue;
        }
        const auto open = line.find('{');
        if (open == std::string::npos) continue;
        name = line.substr(0, open);
        for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
            if (!families.contains(name) && name.ends_with(suffix)) {
                name.resize(name.size() - suffix.size());
            }
        }
        for (auto at = open; line[at] == '{' || line[at] == ',';) {
            const auto equals = line.find("=\"", at);
            const auto label = line.substr(at + 1, equals - at - 1);
            if (label != "le") families[name].labels.insert(label);
            at = equals + 2;
            while (line[at] != '"')
                at += line[at] == '\\' ? 2 : 1;
            ++at;
        }
    }
    return families;
}

// The value behind "name{labels}" as text, or nothing.
inline std::optional<std::string> value_of(const std::string& page, const std::string& series) {
    const auto at = ("\n" + page).find("\n" + series + " ");
    if (at == std::string::npos) return std::nullopt;
    const auto begin = at + series.size() + 1;
    return page.substr(begin, page.find('\n', begin) - begin);
}

}  // namespace sluice::metrics::test
