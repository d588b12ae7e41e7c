// Arbitrary bytes of a client, interleaved with arbitrary bytes of its server, through the links:
// never a crash or a read beyond the buffer, never more taken than given, no endless wait for bytes
// that are there, and bounded books. Input: pieces of a type byte, a length byte and that many
// bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "pool/client_link.hpp"
#include "pool/server_link.hpp"

using namespace sluice;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

struct world {
    explicit world(std::uint32_t max_statements)
        : server(table, {{"TimeZone", "UTC"}, {"application_name", ""}}),
          client(table, statements, 1) {
        client.set_max_statements(max_statements);
        client.reported = server.reported();
    }

    void from_client(protocol::byte_span bytes) {
        client_rx.append(protocol::as_text(bytes));
        for (int round = 0; round < 3 && !client_rx.empty() && !over; ++round) {
            protocol::outgoing to_server;
            protocol::outgoing to_client;
            if (held && server.idle() && !server.apply_settings(client, to_server, to_client)) {
                return;
            }
            const std::string exact(client_rx);
            const auto taken = client.receive(protocol::as_bytes(exact), held ? &server : nullptr,
                                              to_server, to_client);
            require(taken <= exact.size());
            require(to_server.size() <= 4 * exact.size() + (64U << 10));
            client_rx.erase(0, taken);
            switch (client.want()) {
                case pool::client_want::bytes:
                    require(client_rx.empty() || client.needed() > client_rx.size());
                    return;
                case pool::client_want::server:
                    require(!held);
                    held = true;
                    break;
                case pool::client_want::patience:
                    return;
                case pool::client_want::goodbye:
                    over = true;
                    break;
                case pool::client_want::rejection:
                    require(client.rejection().sqlstate.size() == 5);
                    over = true;
                    break;
            }
            require(server.owed.size() <= 17000);
        }
    }

    void from_server(protocol::byte_span bytes) {
        if (server.health() != pool::link_health::fine) return;
        server_rx.append(protocol::as_text(bytes));
        protocol::outgoing to_server;
        protocol::outgoing to_client;
        const std::string exact(server_rx);
        const auto taken = server.receive(protocol::as_bytes(exact), held ? &client : nullptr,
                                          to_client, to_server);
        require(taken <= exact.size());
        server_rx.erase(0, taken);
        if (server.health() != pool::link_health::fine) {
            over = true;
            return;
        }
        if (held && server.idle() && !client.in_message()) {
            held = false;
            clean();
        } else if (!held) {
            clean();
        }
    }

    void clean() {
        protocol::outgoing to_server;
        if (server.clean_up(to_server)) require(server.idle());
    }

    void leave() {
        if (!held) return;
        held = false;
        over = true;
        protocol::outgoing to_server;
        if (!server.idle() && server.abandon(client.in_message(), to_server)) clean();
    }

    pool::parameter_table table;
    pool::statement_table statements;
    pool::server_link server;
    pool::client_link client;
    std::string client_rx;
    std::string server_rx;
    bool held = false;
    bool over = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    world now(data[0] % 4);
    for (std::size_t at = 1; at + 2 <= size;) {
        const auto kind = data[at] % 8;
        const auto length = std::min<std::size_t>(data[at + 1], size - at - 2);
        const protocol::byte_span bytes{data + at + 2, length};
        at += 2 + length;
        if (kind < 4 && !now.over) {
            now.from_client(bytes);
        } else if (kind == 7) {
            now.leave();
        } else {
            now.from_server(bytes);
        }
        require(now.server.prepared.size() <= 256);
    }
    return 0;
}
