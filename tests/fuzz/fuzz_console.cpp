// Bytes from a client of the admin console, whole and byte by byte: the same must come out, whole
// messages only, and every command wanted must be answered.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "pool/console_protocol.hpp"
#include "pool/console_shows.hpp"
#include "protocol/pg_frame.hpp"

using namespace sluice;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void feed(pool::console_protocol& console, std::string& buffer, std::string& out) {
    for (;;) {
        const auto taken = console.receive(protocol::as_bytes(buffer), out);
        require(taken <= buffer.size());
        buffer.erase(0, taken);
        if (console.want() != pool::console_want::answer) return;
        const auto& command = console.command();
        pool::console_answer answer;
        answer.tag = command.tag;
        if (command.verb == pool::console_verb::show) {
            pool::overview world;
            world.version = "x";
            if (!pool::columns_of(command.show).empty()) {
                answer.table = pool::render(command.show, world);
            }
        } else if (command.verb == pool::console_verb::kill_client) {
            answer = pool::console_answer::error("22023", "no");
        }
        console.answer(std::move(answer), out);
    }
}

void check_frames(std::string_view out) {
    while (!out.empty()) {
        protocol::frame_header header;
        require(protocol::read_header(protocol::as_bytes(out), header) ==
                protocol::header_status::whole);
        require(header.total() <= out.size());
        out.remove_prefix(header.total());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto input = protocol::as_text({data, size});
    pool::console_protocol whole("user", "pgbouncer");
    std::string buffer(input);
    std::string out;
    feed(whole, buffer, out);
    check_frames(out);

    pool::console_protocol piecewise("user", "pgbouncer");
    std::string held;
    std::string again;
    for (const char c : input) {
        if (piecewise.want() != pool::console_want::bytes) break;
        held += c;
        feed(piecewise, held, again);
    }
    require(again == out);
    require(piecewise.want() == whole.want());
    return 0;
}
