#include "pool/client_registry.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::pool {
namespace {

client_entry entry(std::uint64_t serial, std::string secret = "secret") {
    client_entry out;
    out.serial = serial;
    out.worker = 3;
    out.secret = std::move(secret);
    out.description = "client " + std::to_string(serial);
    return out;
}

TEST(client_registry, find_wants_the_id_and_the_whole_secret) {
    client_registry registry;
    const auto id = registry.add(entry(7), 1234);
    EXPECT_EQ(id, 1234U);
    const auto found = registry.find(id, "secret");
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->serial, 7U);
    EXPECT_EQ(found->worker, 3U);
    EXPECT_EQ(found->process_id, id);
    for (const auto* wrong : {"", "secre", "secrets", "Secret"}) {
        EXPECT_FALSE(registry.find(id, wrong).has_value()) << wrong;
    }
    EXPECT_FALSE(registry.find(id + 1, "secret").has_value());
}

TEST(client_registry, ids_are_positive_and_different) {
    client_registry registry;
    std::set<std::uint32_t> ids;
    for (const std::uint32_t guess : {0U, 0U, 1U, 0x8000'0000U, 0xffff'ffffU, 0x7fff'ffffU, 1U}) {
        const auto id = registry.add(entry(1), guess);
        EXPECT_GT(static_cast<std::int32_t>(id), 0);
        EXPECT_TRUE(ids.insert(id).second) << id;
    }
}

TEST(client_registry, removed_clients_are_gone_and_their_ids_free) {
    client_registry registry;
    const auto id = registry.add(entry(1), 5);
    registry.remove(id);
    registry.remove(id);
    EXPECT_FALSE(registry.find(id, "secret").has_value());
    EXPECT_EQ(registry.add(entry(2), 5), id);
}

TEST(client_registry, clients_are_described_by_serial) {
    client_registry registry;
    registry.add(entry(1), 5);
    registry.add(entry(2), 5);
    EXPECT_EQ(registry.describe(2), "client 2");
    EXPECT_EQ(registry.describe(3), "");
}

}  // namespace
}  // namespace sluice::pool
