// One message of a server on its way through server_link; for its source files only.
#pragma once

#include "pool/server_link.hpp"
#include "protocol/outgoing.hpp"

namespace sluice::pool {

struct server_link::frame_context {
    char type;
    protocol::byte_span part;  // header and as much of the body as is here
    protocol::byte_span body;
    client_link* client;
    protocol::outgoing& to_client;
    protocol::outgoing& to_server;
};

}  // namespace sluice::pool
