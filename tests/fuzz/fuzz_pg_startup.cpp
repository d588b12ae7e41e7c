// First packets, whole and fed byte by byte to client_opening: both must read the same, and what
// comes out must hold what the header promises.
#include <cstdint>
#include <cstdlib>

#include "protocol/pg_startup.hpp"

using namespace sluice::protocol;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void check(const first_packet& packet, byte_span input) {
    require(packet.consumed <= input.size());
    require(packet.consumed <= first_packet_most);
    switch (packet.kind) {
        case first_packet_kind::need_more:
        case first_packet_kind::direct_tls:
            require(packet.consumed == 0);
            break;
        case first_packet_kind::bad:
            require(std::string_view{packet.error.sqlstate}.size() == 5);
            require(!packet.error.message.empty());
            break;
        case first_packet_kind::ssl_request:
        case first_packet_kind::gssenc_request:
            require(packet.consumed == 8);
            break;
        case first_packet_kind::cancel:
            require(packet.cancel.secret.size() >= 4 && packet.cancel.secret.size() <= 256);
            break;
        case first_packet_kind::startup: {
            const auto& request = packet.startup;
            require(!request.user.empty() && !request.database.empty());
            require(request.minor == 0 || request.minor == newest_minor);
            require(request.minor <= request.requested_minor);
            for (const auto& [name, value] : request.settings) {
                require(name.find('\0') == std::string::npos);
                require(value.find('\0') == std::string::npos);
            }
            const auto answer = negotiate_protocol_version(request);
            require(load_u32(as_bytes(answer).data() + 1) + 1 == answer.size());
            break;
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto offer = (data[0] & 1) != 0 ? tls_offer::yes : tls_offer::no;
    const byte_span input{data + 1, size - 1};
    const auto whole = parse_first_packet(input);
    check(whole, input);

    client_opening opening{offer};
    std::size_t begin = 0;
    for (std::size_t end = 0; end <= input.size(); ++end) {
        const auto step = opening.step(input.subspan(begin, end - begin));
        require(step.consumed <= end - begin);
        begin += step.consumed;
        if (step.what == opening_step::kind::startup && begin == step.consumed) {
            require(whole.kind == first_packet_kind::startup && whole.startup == step.startup);
        }
        if (step.what == opening_step::kind::begin_tls ||
            (step.what == opening_step::kind::answer && step.byte == 'S')) {
            opening.tls_started();
            if (begin == end && step.consumed == 0) break;  // a ClientHello: TLS would take it
        } else if (step.what != opening_step::kind::need_more &&
                   step.what != opening_step::kind::answer) {
            require(opening.step(input).what == opening_step::kind::fail);
            break;
        }
    }
    return 0;
}
