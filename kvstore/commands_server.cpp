#include "kvstore/client.hpp"

namespace sluice::kvstore {

std::span<const command> server_commands() {
    return {};
}

}  // namespace sluice::kvstore
