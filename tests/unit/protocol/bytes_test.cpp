#include "protocol/bytes.hpp"

#include <gtest/gtest.h>

namespace sluice::protocol {
namespace {

TEST(reader, integers_are_in_network_order) {
    reader in(as_bytes({"\x01\x02\x03\x80\x00\x00\x01\xff", 8}));
    EXPECT_EQ(in.u8(), 1U);
    EXPECT_EQ(in.u16(), 0x0203U);
    EXPECT_EQ(in.u32(), 0x80000001U);
    EXPECT_FALSE(in.at_end());
    EXPECT_EQ(in.left(), 1U);
    EXPECT_EQ(in.u8(), 0xffU);
    EXPECT_TRUE(in.at_end());
}

TEST(reader, failure_is_sticky_and_gives_nothing) {
    reader in(as_bytes("abc"));
    EXPECT_EQ(in.u32(), 0U);
    EXPECT_FALSE(in.ok());
    EXPECT_EQ(in.u8(), 0U);
    EXPECT_EQ(in.text(), "");
    EXPECT_TRUE(in.take(1).empty());
    EXPECT_TRUE(in.take_rest().empty());
    EXPECT_FALSE(in.at_end());
}

TEST(reader, text_needs_its_zero) {
    reader in(as_bytes({"ab\0\0cd", 6}));
    EXPECT_EQ(in.text(), "ab");
    EXPECT_EQ(in.text(), "");
    EXPECT_TRUE(in.ok());
    EXPECT_EQ(in.text(), "");
    EXPECT_FALSE(in.ok());
    reader empty({});
    EXPECT_EQ(empty.text(), "");
    EXPECT_FALSE(empty.ok());
}

TEST(reader, a_length_beyond_the_end_does_not_wrap) {
    reader in(as_bytes("abc"));
    EXPECT_TRUE(in.take(~std::size_t{0}).empty());
    EXPECT_FALSE(in.ok());
}

TEST(reader, rest_may_be_empty) {
    reader in(as_bytes("abc"));
    EXPECT_EQ(as_text(in.take_rest()), "abc");
    EXPECT_TRUE(in.take_rest().empty());
    EXPECT_TRUE(in.at_end());
}

TEST(u32, stored_is_loaded) {
    char raw[4];
    for (const std::uint32_t value : {0U, 1U, 0x01020304U, 0x80000000U, 0xffffffffU}) {
        store_u32(raw, value);
        EXPECT_EQ(load_u32(reinterpret_cast<const std::uint8_t*>(raw)), value);
    }
    store_u32(raw, 0x01020304U);
    EXPECT_EQ(std::string_view(raw, 4), std::string_view("\1\2\3\4", 4));
}

}  // namespace
}  // namespace sluice::protocol
