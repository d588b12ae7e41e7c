#include <gtest/gtest.h>

#include <limits>

#include "protocol/resp.hpp"

namespace sluice::protocol {
namespace {

template <class Write>
std::string written(int version, Write write) {
    std::string out = "before";
    resp_writer writer{out, version};
    EXPECT_EQ(writer.version(), version);
    write(writer);
    return out.substr(6);
}

template <class Write>
void expect_both(std::string_view text, Write write) {
    EXPECT_EQ(written(2, write), text);
    EXPECT_EQ(written(3, write), text);
}

template <class Write>
void expect_each(std::string_view two, std::string_view three, Write write) {
    EXPECT_EQ(written(2, write), two);
    EXPECT_EQ(written(3, write), three);
}

TEST(resp_writer, types_of_both_versions_are_the_same_in_both) {
    using namespace std::string_view_literals;
    expect_both("+OK\r\n", [](auto& w) { w.simple("OK"); });
    expect_both(":0\r\n", [](auto& w) { w.integer(0); });
    expect_both(":-9223372036854775808\r\n",
                [](auto& w) { w.integer(std::numeric_limits<std::int64_t>::min()); });
    expect_both(":9223372036854775807\r\n",
                [](auto& w) { w.integer(std::numeric_limits<std::int64_t>::max()); });
    expect_both("$0\r\n\r\n", [](auto& w) { w.bulk(""); });
    expect_both("$5\r\na\0\r\n\xff\r\n"sv, [](auto& w) { w.bulk("a\0\r\n\xff"sv); });
    expect_both("$536870912\r\n", [](auto& w) { w.bulk_header(536870912); });
    expect_both("*0\r\n", [](auto& w) { w.array(0); });
    expect_both("*12\r\n", [](auto& w) { w.array(12); });
}

TEST(resp_writer, types_of_version_3_have_their_stand_in_in_version_2) {
    expect_each("$-1\r\n", "_\r\n", [](auto& w) { w.nil(); });
    expect_each("*-1\r\n", "_\r\n", [](auto& w) { w.nil_array(); });
    expect_each("*14\r\n", "%7\r\n", [](auto& w) { w.map(7); });
    expect_each("*7\r\n", "~7\r\n", [](auto& w) { w.set(7); });
    expect_each(":1\r\n", "#t\r\n", [](auto& w) { w.boolean(true); });
    expect_each(":0\r\n", "#f\r\n", [](auto& w) { w.boolean(false); });
    expect_each("$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n", [](auto& w) { w.verbatim("a\nb"); });
    expect_each("$0\r\n\r\n", "=4\r\ntxt:\r\n", [](auto& w) { w.verbatim(""); });
}

TEST(resp_writer, error_stays_one_line) {
    expect_both("-ERR unknown command 'a'\r\n",
                [](auto& w) { w.error("ERR unknown command 'a'"); });
    expect_both("-ERR a  b c d\r\n", [](auto& w) { w.error("ERR a\r\nb\rc\nd"); });
    std::string out = "$1\r\n\n\r\n";
    resp_writer{out, 2}.error("ERR");
    EXPECT_EQ(out, "$1\r\n\n\r\n-ERR\r\n");
}

}  // namespace
}  // namespace sluice::protocol
