// The expected outcomes were checked against redis-server 7.0.15.
#include "protocol/resp.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>

#include "support/resp_transcript.hpp"

namespace sluice::protocol {
namespace {

using namespace std::string_literals;
using tests::read_resp;
using tests::resp_transcript;
using commands = std::vector<std::vector<std::string>>;

constexpr resp_limits before_login{.authenticated = false};

std::string encoded(const std::vector<std::string>& command) {
    std::string out;
    resp_writer writer{out, 2};
    writer.array(command.size());
    for (const auto& argument : command)
        writer.bulk(argument);
    return out;
}

// Reads the input whole, cut in two at every byte, byte by byte and, if it is not broken and leaves
// nothing, twice behind itself; all must read the same.
resp_transcript read_every_way(const std::string& input, resp_limits limits = {}) {
    const auto whole = read_resp(input, {}, limits);
    EXPECT_TRUE(whole.honest);
    for (std::size_t cut = 0; cut <= input.size(); ++cut)
        EXPECT_EQ(read_resp(input, {cut}, limits), whole) << "cut at " << cut;
    std::vector<std::size_t> cuts(input.size());
    std::iota(cuts.begin(), cuts.end(), std::size_t{0});
    EXPECT_EQ(read_resp(input, cuts, limits), whole) << "byte by byte";
    if (whole.error.empty() && whole.left == 0) {
        auto twice = whole;
        twice.commands.insert(twice.commands.end(), whole.commands.begin(), whole.commands.end());
        EXPECT_EQ(read_resp(input + input, {}, limits), twice);
        EXPECT_EQ(read_resp(input + input, {input.size() + input.size() / 2}, limits), twice);
    }
    return whole;
}

commands read_good(const std::string& input) {
    const auto read = read_every_way(input);
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(read.left, 0U);
    return read.commands;
}

std::string error_of(const std::string& input, resp_limits limits = {}) {
    const auto read = read_every_way(input, limits);
    EXPECT_EQ(read.commands, commands{});
    return read.error;
}

// For inputs too long to be cut everywhere.
std::string error_of_long(const std::string& input, resp_limits limits = {}) {
    const auto whole = read_resp(input, {}, limits);
    EXPECT_TRUE(whole.honest);
    EXPECT_EQ(whole.commands, commands{});
    std::vector<std::size_t> cuts(input.size());
    std::iota(cuts.begin(), cuts.end(), std::size_t{0});
    resp_parser parser;
    auto result = resp_parser::outcome::incomplete;
    for (std::size_t end = 0; result != resp_parser::outcome::broken && end <= input.size(); ++end)
        result = parser.next(as_bytes(input).first(end), limits);
    EXPECT_EQ(parser.error(), whole.error);
    for (const std::size_t cut : {1UL, input.size() / 2, input.size() - 1})
        EXPECT_EQ(read_resp(input, {cut}, limits), whole) << "cut at " << cut;
    return whole.error;
}

TEST(resp_parser, arrays_of_bulks_are_commands) {
    EXPECT_EQ(read_good("*1\r\n$4\r\nPING\r\n"), (commands{{"PING"}}));
    EXPECT_EQ(read_good("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$12\r\n\r\n*1\r\n$1\r\n\0\xff\r\n"s),
              (commands{{"SET", "key", "\r\n*1\r\n$1\r\n\0\xff"s}}));
    EXPECT_EQ(read_good("*2\r\n$0\r\n\r\n$0\r\n\r\n*1\r\n$1\r\na\r\n"),
              (commands{{"", ""}, {"a"}}));
}

TEST(resp_parser, random_pipelines_are_read_at_any_cut) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    for (int round = 0; round < 50; ++round) {
        std::string input;
        commands expected;
        for (auto left = random() % 4; left != 0; --left) {
            auto& command = expected.emplace_back(1 + random() % 5);
            for (auto& argument : command) {
                argument.resize(random() % 40);
                for (auto& c : argument)
                    c = static_cast<char>(random());
            }
            input += encoded(command);
        }
        EXPECT_EQ(read_good(input), expected);
    }
}

TEST(resp_parser, empty_lines_and_empty_arrays_are_passed_over) {
    EXPECT_EQ(read_good(""), commands{});
    EXPECT_EQ(read_good("\r\n\n \t\v\f \r\n"), commands{});
    EXPECT_EQ(read_good("\r\n*1\r\n$1\r\na\r\n\nb\r\n"), (commands{{"a"}, {"b"}}));
    EXPECT_EQ(read_good("*0\r\n*-1\r\n*-9223372036854775808\r\n*1\r\n$1\r\na\r\n*0\r\n"),
              commands{{"a"}});
}

TEST(resp_parser, passed_over_bytes_are_consumed_before_more_came) {
    resp_parser parser;
    const std::string_view input = "\r\n*0\r\n*1\r\n$4\r\nPI";
    EXPECT_EQ(parser.next(as_bytes(input), {}), resp_parser::outcome::incomplete);
    EXPECT_EQ(parser.consumed(), 6U);
    EXPECT_EQ(parser.wanted(), 14U);
    EXPECT_EQ(parser.next(as_bytes("*1\r\n$4\r\nPING\r\n*"), {}), resp_parser::outcome::command);
    EXPECT_EQ(parser.consumed(), 14U);
    EXPECT_EQ(parser.wanted(), 0U);
}

TEST(resp_parser, same_bytes_again_stay_incomplete) {
    resp_parser parser;
    for (const std::string_view input : {"*", "*1\r", "*1\r\n$1\r\n", "*1\r\n$1\r\na"}) {
        for (int i = 0; i < 3; ++i)
            EXPECT_EQ(parser.next(as_bytes(input), {}), resp_parser::outcome::incomplete) << input;
        EXPECT_TRUE(parser.args().empty());
    }
    EXPECT_EQ(parser.next(as_bytes("*1\r\n$1\r\na\r\n"), {}), resp_parser::outcome::command);
}

TEST(resp_parser, inline_words_are_split_at_white_space) {
    EXPECT_EQ(read_good("PING\r\n"), commands{{"PING"}});
    EXPECT_EQ(read_good("PING\n"), commands{{"PING"}});
    EXPECT_EQ(read_good("  SET\tk \v\f v\r \r\n"), (commands{{"SET", "k", "v"}}));
    EXPECT_EQ(read_good("a\vb c\fd\n"), (commands{{"a\vb", "c\fd"}}));
    EXPECT_EQ(read_good("$1 \xff\xfe +OK\n"), (commands{{"$1", "\xff\xfe", "+OK"}}));
}

TEST(resp_parser, inline_quotes_hold_white_space_and_escapes) {
    EXPECT_EQ(read_good(R"(x "a b" '' "")"
                        "\r\n"),
              (commands{{"x", "a b", "", ""}}));
    EXPECT_EQ(read_good(R"(x "a\x41\n\r\t\b\a\q\"\\\x00" 'b\'c\n\x41')"
                        "\n"),
              (commands{{"x", "aA\n\r\t\b\aq\"\\\0"s, R"(b'c\n\x41)"}}));
    EXPECT_EQ(read_good(R"(x "\x4" "\x" "\xzz" "\xfF")"
                        "\n"),
              (commands{{"x", "x4", "x", "xzz", "\xff"}}));
    EXPECT_EQ(read_good("a\"b c\" d'e f'\v\"g\"\n"), (commands{{"ab c", "de f", "g"}}));
}

TEST(resp_parser, unbalanced_quotes_break) {
    for (const std::string line : {R"("a"b)", R"('a'b)", R"("a""b")", R"("a)", R"('a)", R"(x ")",
                                   R"(x ')", R"("a\")", R"('a\')", R"("a\)", R"('a\)", R"("\x)"}) {
        EXPECT_EQ(error_of(line + "\r\n"), "Protocol error: unbalanced quotes in request") << line;
    }
}

TEST(resp_parser, counts_that_are_not_canonical_break) {
    for (const std::string count :
         {"x", "", " 1", "+1", "01", "1 ", "-", "-0", "00", "-01", "1x", "2147483648",
          "9223372036854775808", "-9223372036854775809", "99999999999999999999", "1\n$4"}) {
        EXPECT_EQ(error_of("*" + count + "\r\n"), "Protocol error: invalid multibulk length")
            << count;
    }
}

TEST(resp_parser, lengths_that_are_not_canonical_break) {
    for (const std::string length :
         {"x", "", " 1", "+1", "01", "1 ", "-", "-0", "-1", "00", "1x", "536870913",
          "999999999999999999", "9223372036854775808", "99999999999999999999", "1\n"}) {
        const auto input = "*2\r\n$1\r\na\r\n$" + length + "\r\n";
        EXPECT_EQ(error_of(input), "Protocol error: invalid bulk length") << length;
    }
}

TEST(resp_parser, other_types_in_an_array_break) {
    EXPECT_EQ(error_of("*1\r\n+a\r\n"), "Protocol error: expected '$', got '+'");
    EXPECT_EQ(error_of("*1\r\n*1\r\n$1\r\na\r\n"), "Protocol error: expected '$', got '*'");
    EXPECT_EQ(error_of("*2\r\n$1\r\na\r\n\r\n"), "Protocol error: expected '$', got '\r'");
    EXPECT_EQ(error_of("*1\r\n$1x\r\n"), "Protocol error: invalid bulk length");
}

TEST(resp_parser, commands_before_an_error_are_given_and_none_after_it) {
    const auto read = read_every_way("*1\r\n$1\r\na\r\nb\r\n*x\r\nc\r\n");
    EXPECT_EQ(read.commands, (commands{{"a"}, {"b"}}));
    EXPECT_EQ(read.error, "Protocol error: invalid multibulk length");

    resp_parser parser;
    EXPECT_EQ(parser.next(as_bytes("*x\r\n"), {}), resp_parser::outcome::broken);
    EXPECT_EQ(parser.next(as_bytes("PING\r\n"), {}), resp_parser::outcome::broken);
    EXPECT_EQ(parser.error(), "Protocol error: invalid multibulk length");
    EXPECT_TRUE(parser.args().empty());
}

TEST(resp_parser, bytes_behind_cr_and_bulk_are_not_looked_at) {
    EXPECT_EQ(read_good("*2\rX$1\rYaZZ$1\r\nb\0\0"s), (commands{{"a", "b"}}));
}

TEST(resp_parser, zero_byte_hides_the_rest_of_a_line) {
    for (const auto& input : {"a\0b\r\n"s, "*1\0\r\n"s, "\x16\x03\x01\0\r\n"s}) {
        const auto read = read_every_way(input);
        EXPECT_EQ(read.commands, commands{});
        EXPECT_EQ(read.error, "");
        EXPECT_EQ(read.left, input.size());
    }
    EXPECT_EQ(error_of_long("a\0\r\n"s + std::string(65533, 'b')),
              "Protocol error: too big inline request");
}

TEST(resp_parser, lines_without_an_end_break_behind_64_kib) {
    const std::string digits(65536, '1');
    EXPECT_EQ(error_of_long(digits), "");
    EXPECT_EQ(error_of_long(digits + '1'), "Protocol error: too big inline request");
    EXPECT_EQ(error_of_long("*" + digits), "Protocol error: too big mbulk count string");
    EXPECT_EQ(error_of_long("*1\r\n$" + digits), "Protocol error: too big bulk count string");
    EXPECT_EQ(error_of_long("*" + digits.substr(1) + "\r\n"),
              "Protocol error: invalid multibulk length");
    EXPECT_EQ(error_of_long("*1\r\n$" + digits.substr(1) + "\r\n"),
              "Protocol error: invalid bulk length");
    EXPECT_EQ(read_resp(digits + "\n", {}).commands, commands{{digits}});
    EXPECT_EQ(read_resp(digits + "\n", {65536}).commands, commands{{digits}});
}

TEST(resp_parser, before_login_ten_arguments_are_the_most) {
    const std::vector<std::string> ten(10, "a");
    const std::vector<std::string> eleven(11, "a");
    EXPECT_EQ(read_every_way(encoded(ten), before_login).commands, commands{ten});
    EXPECT_EQ(error_of("*11\r\n", before_login),
              "Protocol error: unauthenticated multibulk length");
    EXPECT_EQ(error_of("*2147483648\r\n", before_login),
              "Protocol error: invalid multibulk length");
    EXPECT_EQ(read_every_way("a a a a a a a a a a\n", before_login).commands, commands{ten});
    EXPECT_EQ(error_of("a a a a a a a a a a a\n", before_login),
              "Protocol error: unauthenticated multibulk length");
    EXPECT_EQ(read_good(encoded(eleven)), commands{eleven});
}

TEST(resp_parser, before_login_a_command_of_8192_bytes_is_the_longest) {
    // "*2 $1 a" take 11 bytes with their line ends, "$8164" 7, and the last end 2.
    const std::vector<std::string> longest{"a", std::string(8172, 'b')};
    ASSERT_EQ(encoded(longest).size(), most_before_login);
    for (const std::size_t cut : {1U, 100U, 8190U, 8191U})
        EXPECT_EQ(read_resp(encoded(longest), {cut}, before_login).commands, commands{longest});
    EXPECT_EQ(read_resp(encoded(longest), {}, before_login).commands, commands{longest});
    const auto refused = [](const std::string& input) {
        for (const std::size_t cut : {std::size_t{0}, std::size_t{5}, input.size() - 1}) {
            const auto read = read_resp(input, {cut}, before_login);
            EXPECT_EQ(read.error, "Protocol error: unauthenticated bulk length");
            EXPECT_EQ(read.commands, commands{});
        }
    };
    refused(encoded({"a", std::string(8173, 'b')}));
    refused("*2\r\n$1\r\na\r\n$8173\r\n");  // before any of it came
    refused("*1\r\n$16384\r\n");
    // Many that are allowed one by one; the last one could not even be empty.
    refused("*3\r\n$4096\r\n" + std::string(4096, 'a') + "\r\n$4070\r\n");
    EXPECT_EQ(error_of("*1\r\n$8193\r\n", before_login),
              "Protocol error: unauthenticated bulk length");
    EXPECT_EQ(error_of("*1\r\n$536870913\r\n", before_login),
              "Protocol error: invalid bulk length");
    EXPECT_EQ(error_of("*1\r\n$65\r\n", {.bulk = 64, .authenticated = false}),
              "Protocol error: invalid bulk length");
}

TEST(resp_parser, before_login_no_line_is_longer_than_a_command) {
    const auto error = [](const std::string& input, std::size_t cut) {
        const auto read = read_resp(input, {cut}, before_login);
        EXPECT_EQ(read.commands, commands{});
        return read.error;
    };
    for (const std::size_t cut : {0U, 1U, 8000U}) {
        EXPECT_EQ(error(std::string(8191, 'a') + "\n", cut),
                  "Protocol error: too big inline request");
        EXPECT_EQ(error(std::string(8192, 'a'), cut), "Protocol error: too big inline request");
        EXPECT_EQ(error("*" + std::string(8191, '1'), cut),
                  "Protocol error: too big mbulk count string");
        EXPECT_EQ(error("*1\r\n$" + std::string(8191, '1'), cut),
                  "Protocol error: too big bulk count string");
        EXPECT_EQ(
            error("*2\r\n$8000\r\n" + std::string(8000, 'a') + "\r\n$" + std::string(200, '1'),
                  cut),
            "Protocol error: too big bulk count string");
    }
    const std::string longest(8190, 'a');
    EXPECT_EQ(read_resp(longest + "\n", {}, before_login).commands, commands{{longest}});
    EXPECT_EQ(read_resp(longest + "\n", {77}, before_login).commands, commands{{longest}});
    EXPECT_EQ(read_resp(longest, {77}, before_login).error, "");
}

TEST(resp_parser, before_login_hello_with_a_password_of_4096_bytes_fits) {
    const std::vector<std::string> hello{"HELLO",
                                         "3",
                                         "AUTH",
                                         std::string(512, 'u'),
                                         std::string(4096, 'p'),
                                         "SETNAME",
                                         std::string(512, 'n')};
    EXPECT_EQ(read_resp(encoded(hello), {}, before_login).commands, commands{hello});
    EXPECT_EQ(read_resp("AUTH u \"" + std::string(4096, 'p') + "\"\n", {}, before_login).commands,
              (commands{{"AUTH", "u", std::string(4096, 'p')}}));
}

TEST(resp_parser, login_in_a_pipeline_lifts_the_limits_from_there_on) {
    const auto login = encoded({"AUTH", "x"});
    const auto input = login + encoded(std::vector<std::string>(11, "a"));
    resp_parser parser;
    ASSERT_EQ(parser.next(as_bytes(input), before_login), resp_parser::outcome::command);
    ASSERT_EQ(parser.consumed(), login.size());
    ASSERT_EQ(parser.next(as_bytes(input).subspan(login.size()), {}),
              resp_parser::outcome::command);
    EXPECT_EQ(parser.args().size(), 11U);
}

TEST(resp_parser, limit_that_shrinks_within_a_command_holds_from_the_next_bulk_on) {
    const auto input = encoded({"SET", "k", "long value"});
    resp_parser parser;
    ASSERT_EQ(parser.next(as_bytes(input).first(input.size() - 1), {}),
              resp_parser::outcome::incomplete);
    ASSERT_EQ(parser.next(as_bytes(input), {.bulk = 4}), resp_parser::outcome::command);
    EXPECT_EQ(parser.args()[2], "long value");
}

TEST(resp_parser, bulk_of_512_mib_is_taken_and_wanted_at_once) {
    const std::string_view header = "*2\r\n$1\r\na\r\n$536870912\r\n";
    const auto size = header.size() + (std::size_t{512} << 20) + 2;
    // Pages that nobody writes cost nothing, and the parser has no reason to read them.
    struct release {
        void operator()(void* block) const { std::free(block); }
    };
    const std::unique_ptr<void, release> block{std::calloc(size, 1)};
    ASSERT_TRUE(block);
    std::memcpy(block.get(), header.data(), header.size());
    const byte_span input{static_cast<const std::uint8_t*>(block.get()), size};
    resp_parser parser;
    for (auto end = header.size(); end < size; end += 16384) {
        ASSERT_EQ(parser.next(input.first(end), {}), resp_parser::outcome::incomplete);
        ASSERT_EQ(parser.wanted(), size);
    }
    ASSERT_EQ(parser.next(input, {}), resp_parser::outcome::command);
    EXPECT_EQ(parser.args()[1].size(), std::size_t{512} << 20);
    EXPECT_EQ(parser.consumed(), size);
}

// In pieces of a packet this is minutes of work for a parser that goes over a command again.
TEST(resp_parser, million_arguments_in_many_pieces_are_read) {
    std::string input = "*1000000\r\n";
    for (int i = 0; i < 1'000'000; ++i)
        input += "$1\r\na\r\n";
    resp_parser parser;
    for (std::size_t end = 0; end < input.size(); end += 1400)
        ASSERT_EQ(parser.next(as_bytes(input).first(end), {}), resp_parser::outcome::incomplete);
    ASSERT_EQ(parser.next(as_bytes(input), {}), resp_parser::outcome::command);
    ASSERT_EQ(parser.args().size(), 1'000'000U);
    EXPECT_EQ(parser.args().front(), "a");
    EXPECT_EQ(parser.args().back().data(), input.data() + input.size() - 3);
    EXPECT_EQ(parser.consumed(), input.size());
}

}  // namespace
}  // namespace sluice::protocol
