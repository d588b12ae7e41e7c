#include "kvstore/client.hpp"

namespace sluice::kvstore {

std::span<const command> expiry_commands() {
    return {};
}

}  // namespace sluice::kvstore
