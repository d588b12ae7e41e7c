#include "protocol/pg_frame.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sluice::protocol {
namespace {

header_status read(const std::string& bytes, frame_header& out) {
    return read_header(as_bytes(bytes), out);
}

TEST(pg_frame, header_needs_five_bytes) {
    const std::string whole("Q\0\0\0\6ab", 7);
    frame_header header;
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(read(whole.substr(0, i), header), header_status::partial);
    }
    EXPECT_EQ(read(whole.substr(0, 5), header), header_status::whole);
    EXPECT_EQ(header.type, 'Q');
    EXPECT_EQ(header.body, 2U);
    EXPECT_EQ(header.total(), 7U);
}

TEST(pg_frame, lengths_that_cannot_be_are_broken) {
    frame_header header;
    for (const std::uint32_t length :
         {0U, 1U, 3U, 0x4000'0004U, 0x7fff'ffffU, 0x8000'0000U, 0xffff'fffcU, 0xffff'ffffU}) {
        std::string bytes(5, 'Q');
        store_u32(bytes.data() + 1, length);
        EXPECT_EQ(read(bytes, header), header_status::broken) << length;
    }
    for (const std::uint32_t length : {4U, 0x3fff'ffffU, 0x4000'0003U}) {
        std::string bytes(5, 'Q');
        store_u32(bytes.data() + 1, length);
        EXPECT_EQ(read(bytes, header), header_status::whole) << length;
        EXPECT_EQ(header.total(), std::size_t{length} + 1);
    }
}

TEST(pg_frame, error_fields_are_found_in_any_order) {
    const std::string body{"Mtext\0RRoutine\0Xunknown\0C42601\0SFEHLER\0VERROR\0\0", 48};
    const auto fields = read_error_fields(as_bytes(body));
    EXPECT_EQ(fields.severity, "ERROR");
    EXPECT_EQ(fields.sqlstate, "42601");
    EXPECT_EQ(fields.message, "text");
    EXPECT_EQ(fields.routine, "Routine");
    EXPECT_FALSE(fields.fatal());
}

TEST(pg_frame, old_servers_have_only_the_localized_severity) {
    EXPECT_TRUE(read_error_fields(as_bytes({"SFATAL\0C57P01\0\0", 15})).fatal());
    EXPECT_TRUE(read_error_fields(as_bytes({"SPANIC\0\0", 8})).fatal());
    EXPECT_FALSE(read_error_fields(as_bytes({"SFATAL\0VERROR\0\0", 15})).fatal());
}

TEST(pg_frame, damaged_error_fields_are_survived) {
    const std::string body{"SERROR\0C42601\0Mtext\0\0", 21};
    for (std::size_t i = 0; i <= body.size(); ++i) {
        const auto fields = read_error_fields(as_bytes(std::string_view(body).substr(0, i)));
        EXPECT_EQ(fields.sqlstate, i >= 14 ? "42601" : "") << i;
    }
    EXPECT_EQ(read_error_fields({}).severity, "");
}

}  // namespace
}  // namespace sluice::protocol
