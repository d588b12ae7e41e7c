#include "kvstore/client.hpp"

namespace sluice::kvstore {

std::span<const command> key_commands() {
    return {};
}

}  // namespace sluice::kvstore
