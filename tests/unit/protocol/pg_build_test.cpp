#include "protocol/pg_build.hpp"

#include <gtest/gtest.h>

#include "protocol/pg_frame.hpp"

namespace sluice::protocol {
namespace {

template <std::size_t N>
std::string bytes(const char (&literal)[N]) {
    return {literal, N - 1};
}

template <class Build>
std::string built(Build append) {
    std::string out = "before";  // is left alone
    append(out);
    EXPECT_EQ(out.substr(0, 6), "before");
    return out.substr(6);
}

TEST(pg_build, messages_are_as_the_documentation_says) {
    EXPECT_EQ(built([](auto& out) { append_ready(out, 'T'); }), bytes("Z\0\0\0\5T"));
    EXPECT_EQ(built([](auto& out) { append_query(out, "x"); }), bytes("Q\0\0\0\6x\0"));
    EXPECT_EQ(built([](auto& out) { append_empty(out, 'S'); }), bytes("S\0\0\0\4"));
    EXPECT_EQ(built([](auto& out) { append_copy_fail(out, "no"); }), bytes("f\0\0\0\7no\0"));
    EXPECT_EQ(built([](auto& out) { append_close_statement(out, "s"); }), bytes("C\0\0\0\7Ss\0"));
    EXPECT_EQ(built([](auto& out) { append_parameter_status(out, "a", "b"); }),
              bytes("S\0\0\0\10a\0b\0"));
    EXPECT_EQ(built([](auto& out) {
                  append_parse(out, "s", "q", {"\0\0", 2});
              }),
              bytes("P\0\0\0\12s\0q\0\0\0"));
    EXPECT_EQ(built([](auto& out) { append_backend_key(out, 0x01020304, "key!"); }),
              bytes("K\0\0\0\14\1\2\3\4key!"));
}

TEST(pg_build, errors_hold_what_is_given_and_end_with_a_zero) {
    EXPECT_EQ(built([](auto& out) { append_error(out, {.sqlstate = "42601", .message = "m"}); }),
              bytes("E\0\0\0\x1dSERROR\0VERROR\0C42601\0Mm\0\0"));
    const auto notice = built([](auto& out) {
        append_notice(out, {"NOTICE", "00000", "m", "some detail", "some hint"});
    });
    EXPECT_EQ(notice[0], 'N');
    EXPECT_NE(notice.find(bytes("Dsome detail\0Hsome hint\0\0")), notice.npos);
    const auto fields = read_error_fields(as_bytes(std::string_view(notice).substr(5)));
    EXPECT_EQ(fields.severity, "NOTICE");
    EXPECT_EQ(fields.message, "m");
}

TEST(pg_build, a_frame_may_announce_bytes_that_follow_by_other_means) {
    std::string out;
    frame_writer frame(out, 'B');
    frame.text("p").byte('x').u32(7).bytes("yz");
    frame.finish(100);
    frame_header header;
    EXPECT_EQ(read_header(as_bytes(out), header), header_status::whole);
    EXPECT_EQ(header.total(), out.size() + 100);
    EXPECT_EQ(out.substr(5), bytes("p\0x\0\0\0\7yz"));
}

}  // namespace
}  // namespace sluice::protocol
