#include "protocol/rx_buffer.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sluice::protocol {
namespace {

TEST(rx_buffer, starts_without_memory) {
    const rx_buffer buffer;
    EXPECT_TRUE(buffer.empty());
    EXPECT_EQ(buffer.size(), 0U);
    EXPECT_EQ(buffer.capacity(), 0U);
    EXPECT_TRUE(buffer.readable().empty());
}

TEST(rx_buffer, what_is_appended_is_read_in_order) {
    rx_buffer buffer;
    buffer.append(as_bytes("hello "));
    buffer.append(as_bytes("world"));
    EXPECT_EQ(as_text(buffer.readable()), "hello world");
    buffer.consume(6);
    EXPECT_EQ(as_text(buffer.readable()), "world");
    buffer.append(as_bytes("!"));
    EXPECT_EQ(as_text(buffer.readable()), "world!");
    buffer.consume(6);
    EXPECT_TRUE(buffer.empty());
}

TEST(rx_buffer, appending_nothing_takes_no_memory) {
    rx_buffer buffer;
    buffer.append({});
    EXPECT_EQ(buffer.capacity(), 0U);
}

TEST(rx_buffer, prepare_gives_room_and_keeps_what_is_there) {
    rx_buffer buffer;
    buffer.append(as_bytes("abc"));
    const auto room = buffer.prepare(1000);
    EXPECT_GE(room.size(), 997U);
    EXPECT_GE(buffer.capacity(), 1000U);
    room[0] = 'd';
    buffer.commit(1);
    EXPECT_EQ(as_text(buffer.readable()), "abcd");
}

TEST(rx_buffer, release_gives_memory_back_when_empty_only) {
    rx_buffer buffer;
    buffer.append(as_bytes(std::string(5000, 'x')));
    buffer.release();
    EXPECT_GE(buffer.capacity(), 5000U);
    EXPECT_EQ(buffer.size(), 5000U);
    buffer.consume(5000);
    buffer.release();
    EXPECT_EQ(buffer.capacity(), 0U);
    buffer.append(as_bytes("again"));
    EXPECT_EQ(as_text(buffer.readable()), "again");
}

TEST(rx_buffer, lent_bytes_are_read_in_place_and_what_is_left_is_kept) {
    std::string lent = "hello world";
    rx_buffer buffer;
    buffer.lend(as_bytes(lent));
    EXPECT_EQ(buffer.readable().data(), as_bytes(lent).data());
    EXPECT_EQ(buffer.capacity(), 0U);
    buffer.consume(6);
    buffer.keep();
    lent.assign(lent.size(), '?');
    EXPECT_EQ(as_text(buffer.readable()), "world");
    buffer.append(as_bytes("!"));
    EXPECT_EQ(as_text(buffer.readable()), "world!");
}

TEST(rx_buffer, lent_bytes_that_were_all_taken_need_no_memory) {
    const std::string lent = "hello";
    rx_buffer buffer;
    buffer.lend(as_bytes(lent));
    buffer.consume(5);
    buffer.keep();
    EXPECT_TRUE(buffer.empty());
    EXPECT_EQ(buffer.capacity(), 0U);
}

TEST(rx_buffer, appending_to_lent_bytes_keeps_them_first) {
    std::string lent = "hello ";
    rx_buffer buffer;
    buffer.lend(as_bytes(lent));
    buffer.append(as_bytes("world"));
    lent.assign(lent.size(), '?');
    EXPECT_EQ(as_text(buffer.readable()), "hello world");
}

TEST(rx_buffer, room_within_a_limit_never_takes_more_than_it) {
    rx_buffer buffer;
    const std::string_view text = "0123456789";
    buffer.lend(as_bytes(text));
    buffer.consume(4);
    auto room = buffer.prepare_within(8);
    EXPECT_EQ(room.size(), 2U);
    room[0] = 'a';
    room[1] = 'b';
    buffer.commit(2);
    EXPECT_EQ(as_text(buffer.readable()), "456789ab");
    EXPECT_TRUE(buffer.prepare_within(8).empty());
    EXPECT_TRUE(buffer.prepare_within(4).empty());
    buffer.consume(3);
    EXPECT_EQ(buffer.prepare_within(8).size(), 3U);
    EXPECT_EQ(as_text(buffer.readable()), "789ab");
    EXPECT_EQ(buffer.capacity(), 8U);
    buffer.consume(5);
    EXPECT_EQ(buffer.prepare_within(8).size(), 8U);
    EXPECT_EQ(buffer.capacity(), 8U);
    EXPECT_EQ(buffer.prepare_within(4).size(), 4U);
    EXPECT_EQ(buffer.capacity(), 4U);
}

TEST(rx_buffer, a_stream_through_it_stays_whole_and_small) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    rx_buffer buffer;
    std::uint8_t written = 0;
    std::uint8_t read = 0;
    for (int step = 0; step < 20000; ++step) {
        const auto room = buffer.prepare(512);
        ASSERT_FALSE(room.empty());
        const auto n = random() % (room.size() + 1);
        for (std::size_t i = 0; i < n; ++i)
            room[i] = written++;
        buffer.commit(n);
        const auto take =
            buffer.size() > 256 ? buffer.size() - random() % 256 : random() % (buffer.size() + 1);
        for (const auto byte : buffer.readable().first(take))
            ASSERT_EQ(byte, read++);
        buffer.consume(take);
        ASSERT_LE(buffer.capacity(), 2048U);
    }
}

}  // namespace
}  // namespace sluice::protocol
