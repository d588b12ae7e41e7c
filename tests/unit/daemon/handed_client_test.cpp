#include "daemon/kv/handed_client.hpp"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

handed_client example() {
    handed_client out;
    out.is_unix = true;
    out.is_known = true;
    out.peer = "[::1]:5";
    out.id = 18446744073709551615U;
    out.connected_ms = -1;
    out.selected = 2147483647;
    out.version = 3;
    out.user = std::string("a\tb%\n\0c ", 8);
    out.name = "me";
    out.library_version = "\xc3\xa9";
    return out;
}

TEST(handed_client, text_brings_every_field_back) {
    const auto in = example();
    handed_client out;
    ASSERT_TRUE(read_client(text_of(in), out));
    EXPECT_TRUE(out.is_unix);
    EXPECT_FALSE(out.is_loopback);
    EXPECT_TRUE(out.tls_settled);
    EXPECT_TRUE(out.is_known);
    EXPECT_FALSE(out.is_silenced);
    EXPECT_EQ(out.peer, in.peer);
    EXPECT_EQ(out.id, in.id);
    EXPECT_EQ(out.connected_ms, in.connected_ms);
    EXPECT_EQ(out.selected, in.selected);
    EXPECT_EQ(out.version, in.version);
    EXPECT_EQ(out.user, in.user);
    EXPECT_EQ(out.name, in.name);
    EXPECT_EQ(out.library_name, "");
    EXPECT_EQ(out.library_version, in.library_version);
}

TEST(handed_client, text_that_is_cut_is_refused) {
    const auto whole = text_of(example());
    handed_client out;
    for (std::size_t n = 0; n < whole.size(); ++n) {
        EXPECT_FALSE(read_client(std::string_view(whole).substr(0, n), out)) << n;
    }
    EXPECT_FALSE(read_client(whole + "\t", out));
}

TEST(handed_client, text_with_a_broken_escape_is_refused) {
    for (const char* const bad : {"%", "%4", "%zz"}) {
        auto in = example();
        in.name = "NAME";
        auto text = text_of(in);
        text.replace(text.find("NAME"), 4, bad);
        handed_client out;
        EXPECT_FALSE(read_client(text, out)) << bad;
    }
}

}  // namespace
}  // namespace sluice::daemon
