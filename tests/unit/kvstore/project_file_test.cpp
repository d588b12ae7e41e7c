#include "kvstore/project_file.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace sluice::kvstore {
namespace {

using namespace std::string_literals;
using enum value_form;
using verdict = project_file_outcome::verdict;

struct entry {
    std::string key;
    std::string value;
    value_form form = undecided;
    time_ms expires = never;

    bool operator==(const entry&) const = default;
};

void PrintTo(const entry& e, std::ostream* out) {
    *out << testing::PrintToString(e.key) << " = " << testing::PrintToString(e.value) << " form "
         << static_cast<int>(e.form) << " expires " << e.expires;
}

struct collector final : entry_sink {
    void on_entry(const stored_entry& e) override {
        entries.push_back({std::string(e.key), std::string(e.value), e.form, e.expires});
    }
    std::vector<entry> entries;
};

struct read_result {
    project_file_outcome outcome;
    project_header header;
    std::vector<entry> entries;
};

read_result read(std::string_view text, project_id expected = 7) {
    read_result result;
    collector sink;
    result.outcome = read_project_file(text, expected, result.header, sink);
    result.entries = std::move(sink.entries);
    return result;
}

constexpr project_header header7{
    .project = 7, .created_ms = 1767323045678, .updated_ms = 1767323046789, .covers = 123};

std::string write(const std::vector<entry>& entries, const project_header& header = header7) {
    std::string out = "what was there before";
    project_file_writer writer(out, header);
    for (const auto& e : entries)
        writer.add({.key = e.key, .value = e.value, .expires = e.expires, .form = e.form});
    writer.finish();
    return out;
}

// What is behind `"k": ` in a file with this one entry.
std::string written_value(std::string_view value, value_form form = undecided) {
    const auto text = write({{"k", std::string(value), form}});
    const auto from = text.find("\"k\": ") + 5;
    return text.substr(from, text.find("\n  },\n  \"createdAt\"") - from);
}

// The one entry of an E-Code file with this data.
entry read_value(const std::string& json) {
    const auto result = read(R"({"data":{"k":)" + json + "}}");
    EXPECT_EQ(result.outcome.result, verdict::intact) << json << ' ' << result.outcome.what;
    return result.entries.size() == 1 ? result.entries[0] : entry{};
}

std::string damage(std::string_view text) {
    const auto outcome = read(text).outcome;
    if (outcome.result != verdict::damaged) return "not damaged";
    return std::to_string(outcome.line) + ": " + outcome.what;
}

std::string fixture(const std::string& name) {
    std::ifstream in(SLUICE_SOURCE_DIR "/tests/unit/kvstore/fixtures/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

const std::vector<entry> version_1_entries = {
    {"greeting", "hello", text, 1893456000000},
    {"visits", "42", json},
    {"ratio", "0.1", json},
    {"was-1.0", "1.0", text},
    {"profile", R"({"name":"Ada","tags":[],"more":{"deep":[1,[2,3],{}]}})", json},
    {"", "", text},
    {"quoted", R"("text")", text},
    {"picture", "\xff\xd8\xff\xe0\0"s, undecided, -5},
    {"\xff key", "binary key", text, 1893456000001},
    {"$base64:", "a key with the mark", text},
    {"mark", R"({"$base64":"aGk="})", text},
    {"lone \xed\xa0\x80", "\xed\xb0\x80 low", text},
    {"line\n\"quote\"", "tab\t\x01", text},
};

TEST(project_file, write_small_project_has_the_documented_layout) {
    EXPECT_EQ(write({{"greeting", "hello", undecided, 1893456000000},
                     {"visits", "42"},
                     {"profile", R"({"name":"Ada","tags":[]})"},
                     {"picture", "\xff\xd8\xff\xe0\0\x10"s}}),
              R"({
  "projectId": 7,
  "data": {
    "greeting": "hello",
    "visits": 42,
    "profile": {
      "name": "Ada",
      "tags": []
    },
    "picture": {
      "$base64": "/9j/4AAQ"
    }
  },
  "createdAt": "2026-01-02T03:04:05.678Z",
  "updatedAt": "2026-01-02T03:04:06.789Z",
  "sluice": {
    "format": 1,
    "covers": "123",
    "expires": {
      "greeting": 1893456000000
    },
    "checksum": "8e662d1daff51317"
  }
}
)");
}

TEST(project_file, write_empty_project_reads_back) {
    const auto text = write({}, {.project = 7, .covers = 18446744073709551615U});
    EXPECT_NE(text.find("\"data\": {},\n"), std::string::npos);
    EXPECT_NE(text.find("\"expires\": {},\n"), std::string::npos);
    const auto result = read(text);
    EXPECT_EQ(result.outcome.result, verdict::intact);
    EXPECT_EQ(result.header.covers, 18446744073709551615U);
    EXPECT_TRUE(result.entries.empty());
}

TEST(project_file, fixture_of_version_1_is_read) {
    const auto text = fixture("project-v1.json");
    const auto result = read(text);
    EXPECT_EQ(result.outcome.result, verdict::intact) << result.outcome.what;
    EXPECT_EQ(result.header.project, 7U);
    EXPECT_EQ(result.header.created_ms, header7.created_ms);
    EXPECT_EQ(result.header.updated_ms, header7.updated_ms);
    EXPECT_EQ(result.header.covers, 123U);
    EXPECT_EQ(result.entries, version_1_entries);
    EXPECT_EQ(write(version_1_entries), text);
}

TEST(project_file, fixture_of_ecode_is_read) {
    const auto text = fixture("ecode.json");
    const auto result = read(text, 42);
    EXPECT_EQ(result.outcome.result, verdict::intact) << result.outcome.what;
    EXPECT_EQ(result.header.covers, 0U);
    EXPECT_EQ(result.header.created_ms, 1764547199001);
    EXPECT_EQ(result.header.updated_ms, 1767323045678);
    const std::vector<entry> expected = {
        {"greeting", "hello", value_form::text},
        {"count", "3", json},
        {"ratio", "0.1", json},
        {"done", "false", json},
        {"nothing", "null", json},
        {"text5", "5", value_form::text},
        {"json5", "5", json},
        {"user", R"({"name":"Zoë","tags":["a","b"],"empty":{},"list":[]})", json},
        {"stringified", R"({"a": 1})", value_form::text},
        {"", "empty key", value_form::text},
        {"lone", "\xed\xa0\x80", value_form::text},
        {"face", "\xf0\x9f\x98\x80", value_form::text},
        {"nul", "a\0b"s, value_form::text},
        {"line", "one\ntwo", value_form::text},
    };
    EXPECT_EQ(result.entries, expected);
    // Written again it differs only by what sluice adds at the end.
    const auto again = write(result.entries, result.header);
    EXPECT_EQ(again.substr(0, text.size() - 2), text.substr(0, text.size() - 2));
}

TEST(project_file, write_undecided_value_is_decided_by_its_bytes) {
    for (const char* value : {"5", "-1", "0.1", "true", "null", "{}", "[]"})
        EXPECT_EQ(written_value(value), value);
    EXPECT_EQ(written_value(R"({"a":[1]})"), "{\n      \"a\": [\n        1\n      ]\n    }");
    EXPECT_EQ(written_value(""), R"("")");
    EXPECT_EQ(written_value("007"), R"("007")");
    EXPECT_EQ(written_value("1.0"), R"("1.0")");
    EXPECT_EQ(written_value("-0"), R"("-0")");
    EXPECT_EQ(written_value("12345678901234567890"), R"("12345678901234567890")");
    EXPECT_EQ(written_value(R"({"a": 1})"), R"("{\"a\": 1}")");
    EXPECT_EQ(written_value(R"("a")"), R"("\"a\"")");
    EXPECT_EQ(written_value("\xff"), "{\n      \"$base64\": \"/w==\"\n    }");
    EXPECT_EQ(written_value(R"({"$base64":"aGk="})"), R"("{\"$base64\":\"aGk=\"}")");
}

TEST(project_file, write_form_json_keeps_what_is_compact_json) {
    for (const char* value : {"1.0", "1e5", "12345678901234567890", "-0", "0.10"})
        EXPECT_EQ(written_value(value, json), value);
    EXPECT_EQ(written_value(R"({"a":1.0,"a":"\/"})", json),
              "{\n      \"a\": 1.0,\n      \"a\": \"\\/\"\n    }");
}

TEST(project_file, write_form_that_does_not_fit_falls_back) {
    EXPECT_EQ(written_value("", json), R"("")");
    EXPECT_EQ(written_value("[1, 2]", json), R"("[1, 2]")");
    EXPECT_EQ(written_value(R"({"a":1}x)", json), R"("{\"a\":1}x")");
    EXPECT_EQ(written_value(R"("a")", json), R"("\"a\"")");
    EXPECT_EQ(written_value(R"({"$base64":"aGk="})", json), R"("{\"$base64\":\"aGk=\"}")");
    EXPECT_EQ(written_value("[1]\xff", json), "{\n      \"$base64\": \"WzFd/w==\"\n    }");
    EXPECT_EQ(written_value("\xff", text), "{\n      \"$base64\": \"/w==\"\n    }");
    EXPECT_EQ(written_value("5", text), R"("5")");
}

TEST(project_file, write_json_with_endless_indentation_is_one_line) {
    const auto deep = std::string(1000, '[') + "0,0,0" + std::string(1000, ']');
    EXPECT_EQ(written_value(deep), deep);
    EXPECT_EQ(read(write({{"k", deep}})).entries.at(0), (entry{"k", deep, json}));
    const auto too_deep = '[' + deep + ']';
    EXPECT_EQ(written_value(too_deep, json), '"' + too_deep + '"');
}

TEST(project_file, read_value_has_the_form_of_the_file) {
    EXPECT_EQ(read_value(R"("5")"), (entry{"k", "5", text}));
    EXPECT_EQ(read_value("5"), (entry{"k", "5", json}));
    for (const char* number : {"1.0", "1e5", "12345678901234567890", "-0", "0.1", "1E-7"})
        EXPECT_EQ(read_value(number), (entry{"k", number, json}));
    EXPECT_EQ(read_value(R"( { "b" : [ 1.0 , "\u0041" ] , "a" : { } } )"),
              (entry{"k", R"({"b":[1.0,"\u0041"],"a":{}})", json}));
    EXPECT_EQ(read_value(R"("\u0041\ud83d\ude00\/\n")"),
              (entry{"k", "A\xf0\x9f\x98\x80/\n", text}));
    EXPECT_EQ(read_value("null"), (entry{"k", "null", json}));
}

TEST(project_file, read_base64_takes_only_the_exact_shape) {
    EXPECT_EQ(read_value(R"({"$base64":"/w=="})"), (entry{"k", "\xff", undecided}));
    EXPECT_EQ(read_value(R"( { "$base64" : "" } )"), (entry{"k", "", undecided}));
    EXPECT_EQ(read_value(R"({"\u0024base64":"\/w=="})"), (entry{"k", "\xff", undecided}));
    for (const char* other :
         {R"({"$base64":"/w="})", R"({"$base64":"!"})", R"({"$base64":1})", R"({"$base64":{}})",
          R"({"$base64":"/w==","x":1})", R"({"x":1,"$base64":"/w=="})", R"({"$Base64":"/w=="})",
          R"([{"$base64":"/w=="}])"}) {
        EXPECT_EQ(read_value(other), (entry{"k", other, json}));
        EXPECT_EQ(read(write({{"k", other, json}})).entries.at(0), (entry{"k", other, json}));
        EXPECT_EQ(read(write({{"k", other}})).entries.at(0), (entry{"k", other, json}));
    }
}

TEST(project_file, read_form_survives_many_rewrites) {
    const auto first =
        read(R"({"data":{"a":"5","b":5,"c":1.0,"d":"1.0","e":{"$base64":"aGk="},"f":[ 1e5 ],)"
             R"("g":"{\"$base64\":\"aGk=\"}","h":{"$base64":"/w=="},"i":"[1]","j":-0}})");
    ASSERT_EQ(first.outcome.result, verdict::intact);
    const auto once = write(first.entries);
    const auto second = read(once);
    EXPECT_EQ(write(second.entries), once);
    auto expected = first.entries;
    expected.at(4).form = text;  // bytes "hi" need no base64
    EXPECT_EQ(second.entries, expected);
}

TEST(project_file, keys_of_any_bytes_come_back) {
    std::vector<entry> entries;
    for (const std::string& key :
         {""s, "\0"s, "a\0b"s, "\xff"s, "$base64"s, "$base64:"s, "$base64:aGk="s, "$base64:?"s,
          "$base64:\xff"s, "\xed\xa0\x80"s, "\xed\xa0\x80\xed\xb0\x80"s, "__proto__"s, "1"s,
          "\"\\\n"s, "\xf0\x9f\x98\x80"s}) {
        entries.push_back({key, "v", text, 1000});
    }
    const auto result = read(write(entries));
    EXPECT_EQ(result.outcome.result, verdict::intact);
    EXPECT_EQ(result.entries, entries);
}

TEST(project_file, read_marked_key_that_is_no_base64_is_the_key) {
    const auto result = read(R"({"data":{"$base64:aGk=":1,"$base64:aGk":2,"$base64":3}})");
    ASSERT_EQ(result.entries.size(), 3U);
    EXPECT_EQ(result.entries[0].key, "hi");
    EXPECT_EQ(result.entries[1].key, "$base64:aGk");
    EXPECT_EQ(result.entries[2].key, "$base64");
    EXPECT_EQ(read(write(result.entries)).entries, result.entries);
}

TEST(project_file, every_single_byte_comes_back) {
    for (const auto form : {undecided, text, json}) {
        std::vector<entry> entries;
        for (int c = 0; c < 256; ++c) {
            const std::string byte(1, static_cast<char>(c));
            entries.push_back({byte, byte, form});
        }
        const auto result = read(write(entries));
        ASSERT_EQ(result.outcome.result, verdict::intact);
        ASSERT_EQ(result.entries.size(), entries.size());
        for (std::size_t i = 0; i < entries.size(); ++i) {
            EXPECT_EQ(result.entries[i].key, entries[i].key) << i;
            EXPECT_EQ(result.entries[i].value, entries[i].value) << i;
        }
    }
}

TEST(project_file, random_entries_come_back) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const std::vector<std::string> pieces = {"{",
                                             "}",
                                             "[",
                                             "]",
                                             ",",
                                             "\"a\":",
                                             "\"$base64\":",
                                             "\"aGk=\"",
                                             "1",
                                             "-",
                                             "0",
                                             ".5",
                                             "e1",
                                             "true",
                                             "null",
                                             " ",
                                             "\n",
                                             "\"",
                                             "\\",
                                             "$base64:",
                                             "hello",
                                             "\xc3\xa9",
                                             "\xed\xa0\x80",
                                             "\xed\xb0\x80",
                                             "\xff",
                                             "\0"s,
                                             "\x01",
                                             "\xf0\x9f\x98\x80"};
    const auto bytes = [&](unsigned most) {
        std::string out;
        for (auto n = random() % (most + 1); n > 0; --n)
            out += pieces[random() % pieces.size()];
        return out;
    };
    for (int round = 0; round < 300; ++round) {
        std::vector<entry> entries;
        for (int i = 0; i < 50; ++i) {
            entries.push_back({std::to_string(i) + ":" + bytes(3), bytes(8),
                               static_cast<value_form>(random() % 3),
                               random() % 2 == 0 ? never : static_cast<time_ms>(random())});
        }
        const auto file = write(entries);
        const auto result = read(file);
        ASSERT_EQ(result.outcome.result, verdict::intact) << result.outcome.what;
        ASSERT_EQ(write(result.entries), file);
        auto found = result.entries;
        ASSERT_EQ(found.size(), entries.size());
        for (std::size_t i = 0; i < found.size(); ++i)
            found[i].form = entries[i].form;
        ASSERT_EQ(found, entries);
    }
}

TEST(project_file, expiry_is_found_in_any_order) {
    const auto result = read(R"({"sluice":{"format":1,"covers":"5","expires":)"
                             R"({"gone":1,"c":3,"a":1,"\u0062":2,"$base64:/w==":4}},)"
                             R"("data":{"a":1,"x":0,"b":2,"\u0063":3,"$base64:/w==":4,"a":5}})");
    EXPECT_EQ(result.outcome.result, verdict::edited);
    EXPECT_EQ(result.header.covers, 5U);
    const std::vector<entry> expected = {{"a", "1", json, 1},    {"x", "0", json},
                                         {"b", "2", json, 2},    {"c", "3", json, 3},
                                         {"\xff", "4", json, 4}, {"a", "5", json, 1}};
    EXPECT_EQ(result.entries, expected);
}

TEST(project_file, read_other_members_and_orders_is_lenient) {
    const auto result = read(
        "\xef\xbb\xbf\r\n{\t\"extra\":[{\"data\":1}],\"updatedAt\":7,"
        "\"data\":{\"a\":1},\"createdAt\":\"yesterday\",\"projectId\":\"7\"} ");
    EXPECT_EQ(result.outcome.result, verdict::intact) << result.outcome.what;
    EXPECT_EQ(result.header.created_ms, 0);
    EXPECT_EQ(result.header.updated_ms, 0);
    EXPECT_EQ(result.header.project, 7U);
    ASSERT_EQ(result.entries.size(), 1U);
    EXPECT_EQ(read(R"({"d\u0061ta":{}})").outcome.result, verdict::intact);
}

TEST(project_file, read_what_is_no_project_is_damaged) {
    EXPECT_EQ(damage(""), "1: the file is empty");
    EXPECT_EQ(damage("\xef\xbb\xbf"), "1: the text ends too early");
    EXPECT_EQ(damage("\n[]"), "2: an object expected");
    EXPECT_EQ(damage("{}"), "1: there is no member data");
    EXPECT_EQ(damage("{\"data\":\n[]}"), "2: the data is not an object");
    EXPECT_EQ(damage("{\"data\":null}"), "1: the data is not an object");
    EXPECT_EQ(damage("{\"data\":{},\n\"data\":{}}"),
              "2: a member of the file that was there before");
    EXPECT_EQ(damage("{\"data\":{},\n\"projectId\":8}"),
              "2: the projectId is not that of the file's name");
    EXPECT_EQ(damage("{\"projectId\":7.0,\"data\":{}}"),
              "1: the projectId is not that of the file's name");
    EXPECT_EQ(damage("{\"data\":{}}\n\n}"), "3: more text behind the end");
    EXPECT_EQ(damage(std::string(100, '\0')), "1: an object expected");
}

TEST(project_file, read_broken_data_names_its_line) {
    EXPECT_EQ(damage("{\"data\":{\n\"a\":1\n\"b\":2}}"), "3: a comma or } expected");
    EXPECT_EQ(damage("{\"data\":{\n\"a\":x1,\n\"b\":2}}"), "2: a value expected");
    EXPECT_EQ(damage("{\"data\":{\n\"a\":\"x\",\n\"b:2}\n,\"x\":1}"),
              "3: a byte that a JSON string may not hold");
    EXPECT_EQ(damage("{\"data\":{\n\"a\":\"x\",\n\"b\":\"\xff\"}}"),
              "3: a byte that a JSON string may not hold");
    EXPECT_EQ(damage("{\"data\":{\n\"a\":[1,\n2,}\n]}}"), "3: a value expected");
    EXPECT_EQ(damage("{\"data\":{\n\"a\":[1,\n2\n}}"), "4: a comma or ] expected");
    EXPECT_EQ(
        damage("{\"data\":{\n\"a\":\n" + std::string(1001, '[') + std::string(1001, ']') + "}}"),
        "3: arrays and objects are nested too deep");
}

TEST(project_file, read_member_sluice_that_makes_no_sense_is_damaged) {
    const auto with = [](const std::string& member) {
        return damage("{\"data\":{},\n\"sluice\":" + member + "}");
    };
    EXPECT_EQ(with("1"), "2: the member sluice is not an object");
    EXPECT_EQ(with("{}"), "2: the member sluice has no format");
    EXPECT_EQ(with(R"({"format":1})"), "2: the member sluice has no covers");
    EXPECT_EQ(with(R"({"format":2,"covers":"1"})"), "2: the format is newer than this sluice");
    EXPECT_EQ(with(R"({"format":0,"covers":"1"})"), "2: there is no such format");
    EXPECT_EQ(with(R"({"format":1.0,"covers":"1"})"), "2: there is no such format");
    for (const char* covers : {R"("")", R"("-1")", R"("1 ")", R"("18446744073709551616")"}) {
        EXPECT_EQ(with(R"({"format":1,"covers":)"s + covers + "}"),
                  "2: covers is not the number of a log record");
    }
    EXPECT_EQ(with(R"({"format":1,"covers":1})"), "2: a string expected");
    EXPECT_EQ(with(R"({"format":1,"covers":"1","expires":[]})"), "2: expires is not an object");
    EXPECT_EQ(with(R"({"format":1,"covers":"1","expires":{"a":1.5}})"),
              "2: an expiry that is not a time in milliseconds");
    EXPECT_EQ(with(R"({"format":1,"covers":"1","new":[]})"), "not damaged");
}

TEST(project_file, every_truncation_is_damaged) {
    for (const auto& file : {write(version_1_entries), fixture("ecode.json")}) {
        const project_id id = file[17] == '7' ? 7 : 42;
        ASSERT_EQ(read(file, id).outcome.result, verdict::intact);
        for (std::size_t size = 0; size < file.size(); ++size) {
            const auto result = read(std::string_view(file).substr(0, size), id).outcome.result;
            const bool only_newline = size + 1 == file.size() && file.back() == '\n';
            ASSERT_EQ(result, only_newline ? verdict::edited : verdict::damaged) << size;
        }
    }
}

TEST(project_file, every_flipped_bit_is_found) {
    auto file = write(version_1_entries);
    int edited = 0;
    for (std::size_t at = 0; at < file.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            file[at] = static_cast<char>(file[at] ^ 1 << bit);
            const auto result = read(file).outcome.result;
            ASSERT_NE(result, verdict::intact) << "bit " << bit << " of byte " << at;
            edited += result == verdict::edited ? 1 : 0;
            file[at] = static_cast<char>(file[at] ^ 1 << bit);
        }
    }
    EXPECT_GT(edited, 1000);
    EXPECT_EQ(read(file).outcome.result, verdict::intact);
}

TEST(project_file, edited_file_is_read_as_it_is_now) {
    auto file = write({{"visits", "42"}});
    file.replace(file.find("42"), 2, "43");
    auto result = read(file);
    EXPECT_EQ(result.outcome.result, verdict::edited);
    EXPECT_EQ(result.entries.at(0).value, "43");
    file = "\xef\xbb\xbf" + write({});
    EXPECT_EQ(read(file).outcome.result, verdict::edited);
    file = write({}) + "\n";
    EXPECT_EQ(read(file).outcome.result, verdict::edited);
}

TEST(project_file, name_is_exact) {
    EXPECT_EQ(project_file_name(0), "project-0.json");
    EXPECT_EQ(project_file_name(most_project_id), "project-2147483647.json");
    project_id id = 99;
    for (const char* name :
         {"project-.json", "project-07.json", "project-+7.json", "project--7.json",
          "project-7.json.tmp", "project-7.jsonx", "Project-7.json", "xproject-7.json",
          "project-7 .json", "project-2147483648.json", "project-99999999999999999999.json",
          "project.json", "project-", ".json", ""}) {
        EXPECT_FALSE(parse_project_file_name(name, id)) << name;
    }
    EXPECT_EQ(id, 99U);
    EXPECT_TRUE(parse_project_file_name("project-0.json", id));
    EXPECT_EQ(id, 0U);
    EXPECT_TRUE(parse_project_file_name("project-2147483647.json", id));
    EXPECT_EQ(id, most_project_id);
}

}  // namespace
}  // namespace sluice::kvstore
