// One message of a client on its way through client_link; for its source files only.
#pragma once

#include <string_view>

#include "pool/client_link.hpp"
#include "protocol/outgoing.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::pool {

// A statement that is there to be deallocated in the place of one that other clients share.
inline constexpr std::string_view stand_in_name = "sluice_gone";

struct client_link::message {
    protocol::frame_header header;
    protocol::byte_span part;  // header and as much of the body as is here
    protocol::byte_span body;
    server_link* server;
    protocol::outgoing& to_server;
    protocol::outgoing& to_client;
    bool passes = false;  // the rest of the body follows to the server

    [[nodiscard]] bool whole() const noexcept { return part.size() == header.total(); }
};

}  // namespace sluice::pool
