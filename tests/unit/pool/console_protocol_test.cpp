#include "pool/console_protocol.hpp"

#include <gtest/gtest.h>

#include "pool/console_shows.hpp"
#include "support/pg_messages.hpp"

namespace sluice::pool::test {
namespace {

using namespace sluice::test;
using sluice::test::describe;

std::string bind(std::string_view portal, std::string_view statement,
                 const std::vector<int>& formats = {}) {
    std::string out;
    frame_writer writer(out, 'B');
    writer.text(portal).text(statement).bytes({"\0\0\0\0", 4});
    writer.byte('\0').byte(static_cast<char>(formats.size()));
    for (const int one : formats)
        writer.byte('\0').byte(static_cast<char>(one));
    writer.finish();
    return out;
}

std::string parse_command(std::string_view name, std::string_view text) {
    return parse(name, text);
}

// Answers what a real console would, at once, from an empty world but for some totals.
class console {
  public:
    // Feeds the bytes in pieces of `step`; what came out.
    std::string say(std::string_view bytes, std::size_t step = 1 << 20) {
        std::string out;
        std::string buffer;
        while (!bytes.empty() || !buffer.empty()) {
            const auto piece = bytes.substr(0, step);
            buffer += piece;
            bytes.remove_prefix(piece.size());
            feed(buffer, out);
            if (bytes.empty()) break;
        }
        left = buffer;
        return out;
    }

    console_protocol protocol{"alice", "pgbouncer"};
    std::vector<std::string> ran;
    std::string left;

  private:
    void feed(std::string& buffer, std::string& out) {
        for (;;) {
            buffer.erase(0, protocol.receive(protocol::as_bytes(buffer), out));
            if (protocol.want() != console_want::answer) return;
            const auto command = protocol.command();
            ran.emplace_back(command.tag);
            protocol.answer(answer_to(command), out);
        }
    }

    static console_answer answer_to(const console_command& command) {
        console_answer out;
        out.tag = command.tag;
        if (command.verb == console_verb::show && !columns_of(command.show).empty()) {
            overview world;
            world.version = "a version";
            world.stats.databases["app"].totals.queries = 12345;
            world.stats.databases["other"].totals.queries = 7;
            out.table = render(command.show, world);
        }
        if (command.verb == console_verb::kill_client) {
            return console_answer::error("22023", "client not found");
        }
        return out;
    }
};

// Types of the messages, in order: "TDCZ".
std::string types(std::string_view bytes) {
    std::string out;
    while (!bytes.empty()) {
        protocol::frame_header header;
        EXPECT_EQ(protocol::read_header(protocol::as_bytes(bytes), header),
                  protocol::header_status::whole);
        out += header.type;
        bytes.remove_prefix(std::min(bytes.size(), header.total()));
    }
    return out;
}

// The code of the first ErrorResponse.
std::string code(std::string_view bytes) {
    while (!bytes.empty()) {
        protocol::frame_header header;
        if (protocol::read_header(protocol::as_bytes(bytes), header) !=
            protocol::header_status::whole) {
            break;
        }
        const auto body = bytes.substr(5, header.body);
        if (header.type == 'E') {
            return std::string(protocol::read_error_fields(protocol::as_bytes(body)).sqlstate);
        }
        bytes.remove_prefix(header.total());
    }
    return {};
}

TEST(console_protocol, simpleQuery_ofSeveral_answersEach) {
    console client;
    EXPECT_EQ(types(client.say(query("SHOW VERSION; SELECT 1; RELOAD"))), "TDCTDCCZ");
    EXPECT_EQ(client.ran, (std::vector<std::string>{"SHOW", "RELOAD"}));
}

TEST(console_protocol, simpleQuery_empty_saysSo) {
    console client;
    EXPECT_EQ(types(client.say(query("-- ping"))), "IZ");
}

TEST(console_protocol, simpleQuery_failed_skipsTheRestOfItOnly) {
    console client;
    const auto out = client.say(query("SHOW VERSION; NO; RELOAD") + query("SHOW VERSION"));
    EXPECT_EQ(types(out), "TDCEZTDCZ");
    EXPECT_EQ(code(out), "42601");
    EXPECT_EQ(client.ran, (std::vector<std::string>{"SHOW", "SHOW"}));
    EXPECT_EQ(types(client.say(query("KILL_CLIENT 9; RELOAD"))), "EZ");
}

TEST(console_protocol, extended_describesBeforeItRuns) {
    console client;
    EXPECT_EQ(types(client.say(parse_command("s", "SHOW STATS") + describe('S', "s") + sync())),
              "1tTZ");
    EXPECT_TRUE(client.ran.empty());
    EXPECT_EQ(types(client.say(bind("", "s") + describe('P', "") + execute() + sync())), "2TDDCZ");
}

TEST(console_protocol, extended_flushedWithoutSync_answersAtOnce) {
    console client;
    EXPECT_EQ(types(client.say(parse_command("", "SHOW VERSION") + describe('S', "") + flush())),
              "1tT");
    EXPECT_EQ(types(client.say(bind("", "") + execute() + flush())), "2DC");
    EXPECT_EQ(types(client.say(sync())), "Z");
}

TEST(console_protocol, extended_withoutRows_isNoData) {
    console client;
    EXPECT_EQ(types(client.say(parse_command("", "RELOAD") + bind("", "") + describe('P', "") +
                               execute() + sync())),
              "12nCZ");
    EXPECT_EQ(types(client.say(parse_command("", "") + bind("", "") + describe('P', "") +
                               execute() + sync())),
              "12nIZ");
}

TEST(console_protocol, extended_failed_skipsToSync) {
    console client;
    const auto out = client.say(parse_command("", "NO") + bind("", "") + describe('P', "") +
                                execute() + flush() + sync() + query("SHOW VERSION"));
    EXPECT_EQ(types(out), "EZTDCZ");
    EXPECT_EQ(code(out), "42601");
    const auto late = client.say(parse_command("", "KILL_CLIENT 9") + bind("", "") + execute() +
                                 parse_command("", "RELOAD") + sync());
    EXPECT_EQ(types(late), "12EZ");
}

TEST(console_protocol, extended_limitOfRows_suspends) {
    console client;
    client.say(query("BEGIN"));
    EXPECT_EQ(types(client.say(parse_command("", "SHOW STATS") + bind("c", "") + execute("c", 1) +
                               sync())),
              "12DsZ");
    EXPECT_EQ(types(client.say(execute("c", 1) + sync())), "DsZ");
    EXPECT_EQ(types(client.say(execute("c", 1) + sync())), "CZ");
    EXPECT_EQ(types(client.say(query("COMMIT") + sync() + execute("c", 1) + sync())), "CZZEZ");
}

TEST(console_protocol, extended_binaryColumns_areBinary) {
    console client;
    const auto out = client.say(parse_command("", "SHOW STATS_TOTALS") + bind("", "", {1}) +
                                describe('P', "") + execute() + sync());
    EXPECT_EQ(types(out), "12TDDCZ");
    // 12345 as a numeric: two digits to the base 10000, the first of weight 1.
    EXPECT_NE(out.find(std::string("\0\0\0\x0c\0\x02\0\x01\0\0\0\0\0\x01\x09\x29", 16)),
              std::string::npos);
    EXPECT_EQ(code(client.say(parse_command("", "SHOW VERSION") + bind("", "", {2}) + sync())),
              "22023");
    EXPECT_EQ(code(client.say(parse_command("", "SHOW VERSION") + bind("", "", {0, 0}) + sync())),
              "08P01");
}

TEST(console_protocol, parameters_areRefused) {
    console client;
    EXPECT_EQ(code(client.say(parse_command("", "SHOW VERSION") + bind_to("", "") + sync())),
              "08P01");
    EXPECT_EQ(code(client.say(parse_command("", "KILL_CLIENT $1") + sync())), "0A000");
    EXPECT_EQ(types(client.say(query("SHOW VERSION"))), "TDCZ");
}

TEST(console_protocol, names_areKeptAndChecked) {
    console client;
    EXPECT_EQ(types(client.say(parse_command("s", "SHOW VERSION") + sync())), "1Z");
    EXPECT_EQ(code(client.say(parse_command("s", "SHOW VERSION") + sync())), "42P05");
    EXPECT_EQ(types(client.say(close('S', "s") + sync())), "3Z");
    EXPECT_EQ(code(client.say(bind("", "s") + sync())), "26000");
    EXPECT_EQ(code(client.say(describe('S', "s") + sync())), "26000");
    EXPECT_EQ(code(client.say(execute("p") + sync())), "34000");
    EXPECT_EQ(code(client.say(parse_command("", "SHOW VERSION; SHOW POOLS") + sync())), "42601");
}

TEST(console_protocol, transaction_showsInReady) {
    console client;
    EXPECT_EQ(client.say(query("BEGIN")).back(), 'T');
    EXPECT_EQ(client.say(query("SHOW VERSION")).back(), 'T');
    EXPECT_EQ(client.say(query("ROLLBACK")).back(), 'I');
}

TEST(console_protocol, functionCall_isRefusedWithReady) {
    console client;
    EXPECT_EQ(types(client.say(function_call() + query("SHOW VERSION"))), "EZTDCZ");
}

TEST(console_protocol, terminate_isGoodbye) {
    console client;
    client.say(terminate());
    EXPECT_EQ(client.protocol.want(), console_want::goodbye);
}

TEST(console_protocol, brokenAndHuge_areRejected) {
    for (const auto& bytes :
         {std::string("Q\0\0\0\3", 5), std::string("Q\x7f\xff\xff\xff", 5),
          std::string("Q\0\2\0\0", 5), frame('?'), frame('Q', "no zero"), frame('p', "x")}) {
        console client;
        client.say(bytes);
        EXPECT_EQ(client.protocol.want(), console_want::rejection);
        EXPECT_FALSE(client.protocol.rejection().empty());
    }
    for (const char type : {'P', 'B', 'D', 'E', 'C'}) {
        console client;
        EXPECT_EQ(code(client.say(frame(type, "x") + sync())), "08P01") << type;
        EXPECT_EQ(types(client.say(query("SHOW VERSION"))), "TDCZ");
    }
}

TEST(console_protocol, tooManyStatements_areRefused) {
    console client;
    for (std::size_t i = 0; i < console_protocol::most_statements; ++i)
        client.say(parse_command("s" + std::to_string(i), "SHOW VERSION") + sync());
    EXPECT_EQ(code(client.say(parse_command("one more", "SHOW VERSION") + sync())), "54000");
}

// The same whatever pieces it comes in.
TEST(console_protocol, cutAnywhere_answersTheSame) {
    const auto all = query("SHOW VERSION; SET x = 1; SHOW POOLS") + query("") +
                     parse_command("s", "SHOW STATS") + describe('S', "s") + flush() +
                     bind("", "s", {1}) + describe('P', "") + execute("", 1) + execute() + sync() +
                     parse_command("", "NO") + bind("", "") + sync() + function_call() +
                     copy_data("x") + copy_done() + close('S', "s") + sync() + query("RELOAD");
    console whole;
    const auto expected = whole.say(all);
    EXPECT_FALSE(expected.empty());
    for (std::size_t step = 1; step < 40; ++step) {
        console client;
        EXPECT_EQ(client.say(all, step), expected) << step;
        EXPECT_EQ(client.left, "") << step;
        EXPECT_EQ(client.ran, whole.ran) << step;
    }
    for (std::size_t cut = 0; cut < all.size(); ++cut) {
        console client;
        const auto first = client.say(all.substr(0, cut));
        const auto kept = client.left;
        EXPECT_EQ(first + client.say(kept + all.substr(cut)), expected) << cut;
    }
}

}  // namespace
}  // namespace sluice::pool::test
