#include "kvstore/client.hpp"

namespace sluice::kvstore {

std::span<const command> scan_commands() {
    return {};
}

}  // namespace sluice::kvstore
