// A log directory of one or two segments made of the input, and a payload. The first byte says
// where the second segment begins, in sixteenths; zero: there is none. Records that come out must
// be in order, and a log that was accepted must take new records.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "kvstore/log_format.hpp"
#include "kvstore/recovery.hpp"
#include "kvstore/write_log.hpp"
#include "support/faulty_files.hpp"

using namespace sluice;
using namespace sluice::kvstore;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

// What is read is written the same way again.
void read_changes(std::string_view payload) {
    change_reader reader(payload);
    change one;
    std::string again;
    while (reader.next(one))
        append_change(again, one);
    require(!reader.ok() || again == payload);
    require(payload.starts_with(again));
}

void put_segment(test::faulty_files& files, std::string_view text) {
    segment_header header;
    std::uint32_t version = 0;
    log_number first = 1;
    if (read_segment_header(text, header, version) == header_verdict::good) first = header.first;
    if (first == 0) return;
    files.put("log/" + segment_name(first), std::string(text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
    read_changes(text);

    test::faulty_files files;
    const auto cut = text.size() * (data[0] % 16U) / 16;
    put_segment(files, cut == 0 ? text : text.substr(0, cut));
    if (cut != 0) put_segment(files, text.substr(cut));
    log_number last = 0;
    const auto outcome = read_log(files, "log", [&](log_number number, std::string_view payload) {
        require(number > last);
        last = number;
        read_changes(payload);
        return true;
    });
    if (!outcome.ok()) return 0;
    require(outcome.next > last && outcome.held < outcome.next && outcome.held >= last);
    if (outcome.next > (~log_number{0} >> 1)) return 0;

    write_log log(files, "log", config::fsync_policy::always);
    require(!log.open(outcome.next, outcome.held));
    require(log.reserve(3) == admission::granted);
    require(log.append("new", 3) == outcome.next);
    require(!log.close());
    std::uint64_t records = 0;
    const auto again = read_log(files, "log", [&](log_number number, std::string_view payload) {
        ++records;
        require(number != outcome.next || payload == "new");
        return true;
    });
    require(again.ok() && again.notices.empty());
    require(records == outcome.records + 1 && again.next == outcome.next + 1);
    return 0;
}
