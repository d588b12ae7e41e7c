// Reads the log: docs/kv-log.md, "Recovery". At start, before the log is opened for writing, or
// later what was there then. Blocks its thread; changes no file.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/change.hpp"
#include "kvstore/file_env.hpp"

namespace sluice::kvstore {

// Something an operator is told although the start goes on.
struct log_notice {
    std::string file;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;  // that were dropped
    std::string what;         // the whole sentence, with file, offset and bytes
};

struct log_outcome {
    std::string problem;   // empty: all went well. Else what is wrong, where, and what to do
    log_number first = 1;  // records below are not in the log: project files must have them
    log_number next = 1;   // the least number that a new record may have
    log_number held = 0;   // the last record that is in the log; next - 1, or less after a cut
    std::uint64_t records = 0;
    std::uint64_t bytes = 0;  // of all segments
    std::vector<log_notice> notices;

    [[nodiscard]] bool ok() const noexcept { return problem.empty(); }
};

// Gets every record once, in order. False: the payload makes no sense, which ends the reading with
// a problem. The view lives until it returns.
using record_visitor = std::function<bool(log_number number, std::string_view payload)>;

// `directory` is the log's own (".replitdb/log"); one that does not exist is an empty log. After a
// problem the visitor may have had records already: what it made of them is to be thrown away.
// Segments that begin at or above `end` are left alone: the log that is open writes to them.
[[nodiscard]] log_outcome read_log(file_env& files, const std::string& directory,
                                   const record_visitor& visitor,
                                   log_number end = std::numeric_limits<log_number>::max());

}  // namespace sluice::kvstore
