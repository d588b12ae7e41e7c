#include "protocol/outgoing.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sluice::protocol {
namespace {

std::string flat(const outgoing& from, std::size_t skip = 0) {
    std::string out;
    from.save_rest(skip, out);
    return out;
}

TEST(outgoing, empty_at_first_and_after_clear) {
    outgoing out;
    EXPECT_TRUE(out.empty());
    out.copy(as_bytes("x"));
    EXPECT_FALSE(out.empty());
    out.clear();
    EXPECT_TRUE(out.empty());
    EXPECT_EQ(out.size(), 0U);
    EXPECT_EQ(flat(out), "");
}

TEST(outgoing, nothing_adds_no_piece) {
    outgoing out;
    out.pass({});
    out.copy({});
    out.build([](std::string&) {});
    EXPECT_TRUE(out.empty());
}

TEST(outgoing, passed_runs_are_views_and_join_their_neighbours) {
    const std::string buffer = "abcdef";
    const auto all = as_bytes(buffer);
    outgoing out;
    out.pass(all.first(2));
    out.pass(all.subspan(2, 2));
    EXPECT_EQ(out.pieces(), 1U);
    EXPECT_EQ(out.piece(0).data(), all.data());
    out.pass(all.subspan(5));
    EXPECT_EQ(out.pieces(), 2U);
    EXPECT_EQ(flat(out), "abcdf");
}

TEST(outgoing, built_pieces_join_and_stay_in_order_with_passed_ones) {
    const std::string buffer = "PASSED";
    outgoing out;
    out.copy(as_bytes("one"));
    out.build([](std::string& to) { to += "two"; });
    EXPECT_EQ(out.pieces(), 1U);
    out.pass(as_bytes(buffer));
    out.copy(as_bytes("three"));
    EXPECT_EQ(out.pieces(), 3U);
    EXPECT_EQ(flat(out), "onetwoPASSEDthree");
    EXPECT_EQ(out.size(), 17U);
}

TEST(outgoing, rest_begins_at_any_byte) {
    const std::string buffer = "PASSED";
    outgoing out;
    out.copy(as_bytes("one"));
    out.pass(as_bytes(buffer));
    out.copy(as_bytes("two"));
    const std::string all = "onePASSEDtwo";
    for (std::size_t i = 0; i <= all.size(); ++i)
        EXPECT_EQ(flat(out, i), all.substr(i));
}

TEST(outgoing, settled_bytes_outlive_the_buffer) {
    std::string buffer = "PASSED";
    outgoing out;
    out.copy(as_bytes("one"));
    out.pass(as_bytes(buffer));
    out.settle();
    buffer.assign(buffer.size(), '?');
    EXPECT_EQ(flat(out), "onePASSED");
    EXPECT_EQ(out.pieces(), 1U);
    out.copy(as_bytes("more"));
    EXPECT_EQ(flat(out), "onePASSEDmore");
    EXPECT_EQ(out.size(), 13U);
}

TEST(outgoing, random_pieces_equal_their_concatenation) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    const std::string buffer(1000, 'p');
    for (int round = 0; round < 300; ++round) {
        outgoing out;
        std::string expected;
        for (auto left = random() % 30; left > 0; --left) {
            const auto from = random() % buffer.size();
            const auto run = as_bytes(buffer).subspan(from, random() % (buffer.size() - from));
            switch (random() % 8) {
                case 0:
                    out.settle();
                    break;
                case 1:
                case 2:
                case 3:
                    out.copy(as_bytes("built"));
                    expected += "built";
                    break;
                default:
                    out.pass(run);
                    expected += as_text(run);
            }
            ASSERT_EQ(out.size(), expected.size());
        }
        ASSERT_EQ(flat(out), expected);
    }
}

}  // namespace
}  // namespace sluice::protocol
