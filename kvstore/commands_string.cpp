// Strings and counters. https://redis.io/commands/?group=string

#include "kvstore/client.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

void get(call& c) {
    const auto* const found = c.read(c.arg(1));
    if (found == nullptr) return c.out.nil();
    c.value(*found);
}

constexpr command rows[] = {
    {"get", 2, readonly | fast | data, 1, 1, 1, get, "string", "1.0.0",
     "Answers the value of a key.", "O(1)"},
};

}  // namespace

std::span<const command> string_commands() {
    return rows;
}

}  // namespace sluice::kvstore
