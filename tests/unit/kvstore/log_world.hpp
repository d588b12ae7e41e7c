// A log on files that can fail, with a clock that only the test moves, and what was put into it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kvstore/log_format.hpp"
#include "kvstore/recovery.hpp"
#include "kvstore/write_log.hpp"
#include "support/faulty_files.hpp"

namespace sluice::test {

using namespace std::chrono_literals;

struct recovered {
    kvstore::log_outcome outcome;
    std::vector<std::pair<kvstore::log_number, std::string>> records;
};

inline recovered read_back(kvstore::file_env& files, const std::string& directory = "db/log") {
    recovered result;
    result.outcome = kvstore::read_log(
        files, directory, [&](kvstore::log_number number, std::string_view payload) {
            result.records.emplace_back(number, std::string(payload));
            return true;
        });
    return result;
}

class log_world {
  public:
    explicit log_world(std::uint64_t seed = 1,
                       config::fsync_policy policy = config::fsync_policy::always,
                       std::uint64_t segment_bytes = kvstore::write_log::usual_segment_bytes)
        : files(seed), policy_(policy), segment_bytes_(segment_bytes) {}

    // A daemon starts: recovery, then the log. False: it was refused.
    [[nodiscard]] bool start() {
        log = std::make_unique<kvstore::write_log>(files, "db/log", policy_, segment_bytes_);
        log->on_progress = [this] { ++progress; };
        const auto found = read_back(files);
        if (!found.outcome.ok()) return false;
        records.resize(found.outcome.next - 1);
        return !log->open(found.outcome.next, found.outcome.held);
    }

    // 0: not taken.
    kvstore::log_number put(const std::string& payload) {
        if (log->reserve(payload.size()) != kvstore::admission::granted) return 0;
        records.push_back(payload);
        return log->append(payload, payload.size());
    }

    void step() { due = log->step(now); }

    // Steps until nothing is due at this time.
    void settle() {
        for (int i = 0; i < 100; ++i) {
            step();
            if (due > now) return;
        }
        ADD_FAILURE() << "the writer never rests";
    }

    void pass(std::chrono::milliseconds time) {
        const auto end = now + time;
        for (settle(); due <= end; settle())
            now = due;
        now = end;
        settle();
    }

    faulty_files files;
    std::unique_ptr<kvstore::write_log> log;
    std::vector<std::string> records;  // [0] is record 1
    kvstore::monotonic now{1000s};
    kvstore::monotonic due{};
    int progress = 0;

  private:
    config::fsync_policy policy_;
    std::uint64_t segment_bytes_;
};

}  // namespace sluice::test
