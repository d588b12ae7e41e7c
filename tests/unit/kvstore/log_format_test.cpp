#include "kvstore/log_format.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::kvstore {
namespace {

using namespace std::string_view_literals;

std::vector<change> some_changes() {
    return {
        {change_kind::put, value_form::json, 0, "key", "{}", 0, never},
        {change_kind::put, value_form::text, most_project_id, "a\0b"sv, "", 0, 1'700'000'000'000},
        {change_kind::put, value_form::undecided, 7, "", "\xff\x00"sv, 0, -1},
        {change_kind::splice, value_form::undecided, 300, "key", "value", 536'870'911, never},
        {change_kind::erase, value_form::undecided, 1, "key", {}, 0, never},
        {change_kind::expire, value_form::undecided, 1, "key", {}, 0, 5},
        {change_kind::expire, value_form::undecided, 1, "key", {}, 0, never},
        {change_kind::rename, value_form::undecided, 1, "key", "other", 0, never},
        {change_kind::clear, value_form::undecided, 128, {}, {}, 0, never},
        {change_kind::clear_all, value_form::undecided, 0, {}, {}, 0, never},
    };
}

TEST(log_format, change_of_each_kind_comes_back) {
    std::string payload;
    for (const auto& one : some_changes())
        append_change(payload, one);
    change_reader reader(payload);
    change got;
    for (const auto& one : some_changes()) {
        ASSERT_TRUE(reader.next(got));
        EXPECT_EQ(got, one);
    }
    EXPECT_FALSE(reader.next(got));
    EXPECT_TRUE(reader.ok());
}

TEST(log_format, change_cut_at_every_byte_is_an_error) {
    for (const auto& one : some_changes()) {
        std::string payload;
        append_change(payload, one);
        for (std::size_t length = 1; length < payload.size(); ++length) {
            const std::vector<char> cut(payload.begin(),
                                        payload.begin() + static_cast<std::ptrdiff_t>(length));
            change_reader reader({cut.data(), cut.size()});
            change got;
            EXPECT_FALSE(reader.next(got));
            EXPECT_FALSE(reader.ok());
            EXPECT_FALSE(reader.next(got));
        }
    }
}

TEST(log_format, change_that_is_not_of_the_format_is_an_error) {
    const auto is_bad = [](std::string_view payload) {
        change_reader reader(payload);
        change got;
        while (reader.next(got))
            continue;
        return !reader.ok();
    };
    EXPECT_FALSE(is_bad("\3\1\1k"sv));
    EXPECT_TRUE(is_bad("\0\1\1k"sv));  // unknown kinds
    EXPECT_TRUE(is_bad("\x8\1\1k"sv));
    EXPECT_TRUE(is_bad("\x6\x80\x80\x80\x80\x8"sv));  // project 2^31
    EXPECT_FALSE(is_bad("\x6\xff\xff\xff\xff\x7"sv));
    EXPECT_TRUE(is_bad("\x6\x81\x00"sv));    // a longer spelling
    EXPECT_TRUE(is_bad("\1\1\x8\1k\1v"sv));  // an unknown option
    EXPECT_TRUE(is_bad("\1\1\3\1k\1v"sv));   // an unknown form
    EXPECT_TRUE(is_bad("\5\1\x4\1k\xff\xff\xff\xff\xff\xff\xff\x7f"sv));
    EXPECT_TRUE(is_bad("\3\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1k"sv));  // a length of 2^64 - 1
    EXPECT_TRUE(is_bad("\3\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\2k"sv));  // and beyond
}

TEST(log_format, segment_header_with_any_byte_changed_is_not_good) {
    std::string text;
    append_segment_header(text, {5, 4, 99});
    ASSERT_EQ(text.size(), segment_header_bytes);
    segment_header header;
    std::uint32_t version = 0;
    ASSERT_EQ(read_segment_header(text, header, version), header_verdict::good);
    EXPECT_EQ(header.first, 5U);
    EXPECT_EQ(header.after, 4U);
    EXPECT_EQ(header.salt, 99U);
    for (std::size_t i = 0; i < text.size(); ++i) {
        EXPECT_EQ(read_segment_header(text.substr(0, i), header, version), header_verdict::damaged);
        auto changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 0x10);
        EXPECT_NE(read_segment_header(changed, header, version), header_verdict::good);
    }
    text[8] = 2;
    EXPECT_EQ(read_segment_header(text, header, version), header_verdict::unknown_version);
    EXPECT_EQ(version, 2U);
}

TEST(log_format, frame_comes_back_and_with_any_bit_changed_does_not) {
    const std::string payload = "some payload";
    std::string text(frame_header_bytes, '\0');
    write_frame_header(text.data(), 7, 12, payload.size(), payload_hash(payload));
    text += payload;
    const auto good = read_frame(text, 7);
    EXPECT_EQ(good.what, frame::kind::record);
    EXPECT_EQ(good.number, 12U);
    EXPECT_EQ(good.payload, payload);
    EXPECT_EQ(good.bytes, text.size());
    EXPECT_EQ(read_frame(text, 8).what, frame::kind::none);  // of another log
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
        auto changed = text;
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
        EXPECT_EQ(read_frame(changed, 7).what, frame::kind::none) << bit;
    }
    for (std::size_t length = 0; length < text.size(); ++length) {
        EXPECT_EQ(read_frame(text.substr(0, length), 7).what, frame::kind::none);
    }
    write_mark(text.data(), 7, 11);
    EXPECT_EQ(read_frame(text, 7).what, frame::kind::mark);
    EXPECT_EQ(read_frame(text, 7).number, 11U);
    EXPECT_EQ(read_frame(text, 7).bytes, mark_bytes);
}

TEST(log_format, segment_name_has_twenty_digits_and_nothing_else) {
    EXPECT_EQ(segment_name(1), "00000000000000000001.log");
    EXPECT_EQ(segment_name(~log_number{0}), "18446744073709551615.log");
    log_number first = 0;
    EXPECT_TRUE(parse_segment_name("00000000000000000042.log", first));
    EXPECT_EQ(first, 42U);
    EXPECT_TRUE(parse_segment_name("18446744073709551615.log", first));
    EXPECT_FALSE(parse_segment_name("18446744073709551616.log", first));
    EXPECT_FALSE(parse_segment_name("00000000000000000000.log", first));
    EXPECT_FALSE(parse_segment_name("0000000000000000001.log", first));
    EXPECT_FALSE(parse_segment_name("0000000000000000000x.log", first));
    EXPECT_FALSE(parse_segment_name("00000000000000000001.log.1.new", first));
    EXPECT_FALSE(parse_segment_name("", first));
}

}  // namespace
}  // namespace sluice::kvstore
