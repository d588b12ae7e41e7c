// A client's bytes: cut anywhere they must read as they do whole, and what was read, written as
// arrays, must read the same. The first byte chooses the limits.
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>

#include "protocol/resp.hpp"
#include "support/resp_transcript.hpp"

using namespace sluice;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

std::string as_arrays(const std::vector<std::vector<std::string>>& commands) {
    std::string out;
    protocol::resp_writer writer{out, 2};
    for (const auto& command : commands) {
        writer.array(command.size());
        for (const auto& argument : command)
            writer.bulk(argument);
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0 || size > 4096) return 0;
    protocol::resp_limits limits;
    limits.authenticated = (data[0] & 1) == 0;
    if ((data[0] & 2) != 0) limits.bulk = 64;
    const auto input = protocol::as_text({data + 1, size - 1});

    const auto whole = tests::read_resp(input, {}, limits);
    require(whole.honest);
    std::vector<std::size_t> cuts(input.size());
    std::iota(cuts.begin(), cuts.end(), std::size_t{0});
    require(tests::read_resp(input, cuts, limits) == whole);
    const std::size_t step = input.size() / 512 + 1;
    for (std::size_t cut = 0; cut <= input.size(); cut += step)
        require(tests::read_resp(input, {cut}, limits) == whole);

    const auto again = tests::read_resp(as_arrays(whole.commands), {});
    require(again.honest && again.error.empty() && again.left == 0);
    require(again.commands == whole.commands);
    return 0;
}
