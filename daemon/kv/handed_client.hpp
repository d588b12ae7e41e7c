// A client of the key-value port on its way from one process to the next: its connection, and all
// that its session knows between two commands. A plain value; `descriptor` is the holder's to
// close.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvstore/change.hpp"

namespace sluice::daemon {

struct handed_client {
    int descriptor = -1;
    bool is_unix = false;
    bool is_loopback = false;
    bool tls_settled = true;   // false: it has said nothing yet, and may begin with TLS
    bool is_known = false;     // has authenticated, or need not
    bool is_silenced = false;  // CLIENT REPLY OFF
    std::string peer;
    std::uint64_t id = 0;
    std::int64_t connected_ms = 0;
    kvstore::project_id selected = 0;
    int version = 2;
    std::string user;
    std::string name;
    std::string library_name;
    std::string library_version;
    std::string bytes;  // what it has sent and was not carried out
};

// Everything but the descriptor and the bytes, as a line of text, and back; false: no such line.
[[nodiscard]] std::string text_of(const handed_client& client);
[[nodiscard]] bool read_client(std::string_view text, handed_client& out);

}  // namespace sluice::daemon
