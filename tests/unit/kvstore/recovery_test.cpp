#include "kvstore/recovery.hpp"

#include <fstream>
#include <iterator>
#include <map>

#include "unit/kvstore/log_world.hpp"

namespace sluice::test {
namespace {

using kvstore::log_number;

constexpr std::uint64_t salt = 0x5a17;
const std::string directory = "db/log";

// A segment by hand: what a writer would have written.
class segment_maker {
  public:
    explicit segment_maker(log_number first, log_number after) : first_(first), next_(first) {
        kvstore::append_segment_header(text_, {first, after, salt});
    }
    explicit segment_maker(log_number first) : segment_maker(first, first - 1) {}

    segment_maker& mark(log_number safe) {
        text_.resize(text_.size() + kvstore::mark_bytes);
        kvstore::write_mark(text_.data() + text_.size() - kvstore::mark_bytes, salt, safe);
        return *this;
    }
    segment_maker& record(const std::string& payload) {
        begins_[next_] = text_.size();
        const auto at = text_.size();
        text_.resize(at + kvstore::frame_header_bytes);
        kvstore::write_frame_header(text_.data() + at, salt, next_++, payload.size(),
                                    kvstore::payload_hash(payload));
        text_ += payload;
        return *this;
    }
    void put_to(faulty_files& files) const {
        files.put(directory + "/" + kvstore::segment_name(first_), text_);
    }
    [[nodiscard]] std::size_t begin_of(log_number number) const { return begins_.at(number); }
    std::string& text() { return text_; }

  private:
    log_number first_;
    log_number next_;
    std::string text_;
    std::map<log_number, std::size_t> begins_;
};

segment_maker small_log() {
    segment_maker maker(1);
    maker.mark(0).record("one").record("").mark(2).record("three").record("four");
    return maker;
}

const std::vector<std::string> small_records{"one", "", "three", "four"};

bool is_prefix(const recovered& found, const std::vector<std::string>& of) {
    if (found.records.size() > of.size()) return false;
    for (std::size_t i = 0; i < found.records.size(); ++i) {
        if (found.records[i] != std::pair{log_number{i + 1}, of[i]}) return false;
    }
    return true;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(recovery, directory_that_does_not_exist_is_an_empty_log) {
    faulty_files files;
    const auto found = read_back(files);
    EXPECT_TRUE(found.outcome.ok());
    EXPECT_EQ(found.outcome.next, 1U);
    EXPECT_EQ(found.outcome.held, 0U);
}

TEST(recovery, whole_log_gives_each_record_once) {
    faulty_files files;
    const auto maker = small_log();
    maker.put_to(files);
    const auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_EQ(found.records.size(), 4U);
    EXPECT_TRUE(is_prefix(found, small_records));
    EXPECT_EQ(found.outcome.first, 1U);
    EXPECT_EQ(found.outcome.next, 5U);
    EXPECT_EQ(found.outcome.held, 4U);
    EXPECT_EQ(found.outcome.records, 4U);
    EXPECT_TRUE(found.outcome.notices.empty());
}

TEST(recovery, log_cut_at_every_byte_gives_the_whole_records_before) {
    auto maker = small_log();
    const auto whole = maker.text();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        faulty_files files;
        maker.text() = whole.substr(0, length);
        maker.put_to(files);
        const auto found = read_back(files);
        if (length < kvstore::segment_header_bytes) {
            EXPECT_TRUE(contains(found.outcome.problem, "damaged at byte 0"));
            continue;
        }
        ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
        EXPECT_TRUE(is_prefix(found, small_records));
        std::size_t records = 0;
        for (log_number n = 1; n <= 4; ++n) {
            const auto end =
                maker.begin_of(n) + kvstore::frame_header_bytes + small_records[n - 1].size();
            records += end <= length ? 1 : 0;
        }
        EXPECT_EQ(found.records.size(), records) << length;
        EXPECT_EQ(found.outcome.next, records + 1);
        ASSERT_LE(found.outcome.notices.size(), 1U);
        for (const auto& notice : found.outcome.notices) {
            EXPECT_EQ(notice.offset + notice.bytes, length);
            EXPECT_TRUE(contains(notice.what, notice.file));
        }
    }
}

TEST(recovery, bit_changed_at_every_byte_never_gives_a_wrong_value) {
    auto maker = small_log();
    const auto whole = maker.text();
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
        faulty_files files;
        maker.text() = whole;
        maker.text()[bit / 8] = static_cast<char>(whole[bit / 8] ^ (1 << (bit % 8)));
        maker.put_to(files);
        const auto found = read_back(files);
        ASSERT_TRUE(is_prefix(found, small_records)) << bit;
        // All but the last record has an intact one behind it.
        if (bit / 8 < maker.begin_of(4)) {
            ASSERT_FALSE(found.outcome.ok()) << bit;
        } else {
            ASSERT_TRUE(found.outcome.ok()) << bit << found.outcome.problem;
            ASSERT_EQ(found.outcome.next, 4U);
            ASSERT_EQ(found.outcome.notices.size(), 1U);
        }
    }
}

TEST(recovery, damaged_middle_says_where_and_what_to_do) {
    faulty_files files;
    auto maker = small_log();
    const auto at = maker.begin_of(1);
    maker.text()[at + kvstore::frame_header_bytes] ^= 1;
    maker.put_to(files);
    const auto before = files.content("db/log/00000000000000000001.log");
    const auto problem = read_back(files).outcome.problem;
    EXPECT_TRUE(contains(problem, "db/log/00000000000000000001.log: damaged at byte " +
                                      std::to_string(at) + ": record 1 "))
        << problem;
    EXPECT_TRUE(contains(problem, "sluice kv restore")) << problem;
    EXPECT_TRUE(
        contains(problem, "truncate -s " + std::to_string(at) + " db/log/00000000000000000001.log"))
        << problem;
    EXPECT_EQ(files.content("db/log/00000000000000000001.log"), before);
}

TEST(recovery, hole_before_whole_records_that_no_mark_calls_safe_is_dropped) {
    faulty_files files;
    segment_maker maker(1);
    maker.mark(0).record("kept").record(std::string(3000, 'x')).mark(1).record("behind");
    const auto at = maker.begin_of(2);
    std::fill_n(maker.text().begin() + 1024, 512, '\0');
    maker.put_to(files);
    const auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_EQ(found.outcome.next, 2U);
    ASSERT_EQ(found.outcome.notices.size(), 1U);
    EXPECT_EQ(found.outcome.notices[0].offset, at);
}

TEST(recovery, hole_in_a_record_that_a_mark_calls_safe_is_damage) {
    faulty_files files;
    segment_maker maker(1);
    maker.mark(0).record("kept").record(std::string(3000, 'x')).mark(2).record("behind");
    std::fill_n(maker.text().begin() + 1024, 512, '\0');
    maker.put_to(files);
    EXPECT_TRUE(contains(read_back(files).outcome.problem, "although it was safely on the disk"));
}

TEST(recovery, value_that_looks_like_a_log_is_no_record) {
    faulty_files files;
    segment_maker other(1);
    kvstore::append_segment_header(other.text(), {1, 0, salt + 1});
    std::string forged(kvstore::frame_header_bytes, '\0');
    kvstore::write_frame_header(forged.data(), salt + 1, 3, 0, kvstore::payload_hash({}));
    segment_maker maker(1);
    maker.mark(0).record("one").record("two" + forged + "and more");
    maker.text().pop_back();
    maker.put_to(files);
    const auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_EQ(found.outcome.next, 2U);
}

TEST(recovery, later_segment_voids_the_tail_of_an_earlier_one) {
    faulty_files files;
    segment_maker(1).record("one").record("two").record("void").put_to(files);
    segment_maker(3).record("three").put_to(files);
    auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_EQ(found.records.size(), 3U);
    EXPECT_TRUE(is_prefix(found, {"one", "two", "three"}));

    segment_maker torn(1);  // what is void may be anything
    torn.record("one").record("two").record("torn").text().resize(torn.begin_of(3) + 9);
    torn.put_to(files);
    found = read_back(files);
    EXPECT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_TRUE(found.outcome.notices.empty());
}

TEST(recovery, damage_before_a_later_segment_is_refused) {
    faulty_files files;
    segment_maker maker(1);
    maker.record("one").record("two").text().resize(maker.begin_of(2) + 9);
    maker.put_to(files);
    segment_maker(3).record("three").put_to(files);
    EXPECT_TRUE(contains(read_back(files).outcome.problem, "damaged at byte"));
}

TEST(recovery, gap_between_segments_is_refused) {
    faulty_files files;
    segment_maker(1).record("one").put_to(files);
    segment_maker(3).record("three").put_to(files);
    const auto problem = read_back(files).outcome.problem;
    EXPECT_TRUE(contains(problem, "ends with record 1")) << problem;
    EXPECT_TRUE(contains(problem, "00000000000000000003.log goes on after record 2")) << problem;
}

TEST(recovery, numbers_left_out_after_a_cut_are_no_gap) {
    faulty_files files;
    segment_maker(1).record("one").record("void").put_to(files);
    segment_maker(100, 1).record("hundred").put_to(files);
    auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    ASSERT_EQ(found.records.size(), 2U);
    EXPECT_EQ(found.records[1].first, 100U);
    EXPECT_EQ(found.outcome.held, 100U);

    segment_maker(100, 1).put_to(files);
    found = read_back(files);
    EXPECT_EQ(found.outcome.next, 100U);
    EXPECT_EQ(found.outcome.held, 1U);
}

TEST(recovery, log_whose_oldest_segments_are_gone_begins_later) {
    faulty_files files;
    segment_maker(7).record("seven").put_to(files);
    files.put(directory + "/00000000000000000007.log.3.new", "in the making");
    const auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok());
    EXPECT_EQ(found.outcome.first, 7U);
    EXPECT_EQ(found.outcome.next, 8U);
}

TEST(recovery, unknown_version_and_wrong_name_are_refused) {
    faulty_files files;
    auto maker = small_log();
    maker.text()[8] = 2;
    maker.put_to(files);
    EXPECT_TRUE(contains(read_back(files).outcome.problem, "the log's format is version 2"));
    files.put(directory + "/00000000000000000001.log", segment_maker(2).text());
    EXPECT_TRUE(contains(read_back(files).outcome.problem, "begins with record 2"));
}

TEST(recovery, payload_that_the_visitor_does_not_understand_is_refused) {
    faulty_files files;
    const auto maker = small_log();
    maker.put_to(files);
    const auto outcome =
        kvstore::read_log(files, directory, [](log_number number, auto) { return number != 3; });
    EXPECT_TRUE(contains(outcome.problem, "record 3 at byte " + std::to_string(maker.begin_of(3))));
}

// fixtures/log-version-1.bin: two marks, then one record of each kind, as version 1 wrote them.
TEST(recovery, segment_of_version_1_is_read) {
    std::ifstream in(SLUICE_SOURCE_DIR "/tests/unit/kvstore/fixtures/log-version-1.bin",
                     std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    ASSERT_FALSE(text.empty());
    faulty_files files;
    files.put(directory + "/00000000000000000041.log", text);
    const auto found = read_back(files);
    ASSERT_TRUE(found.outcome.ok()) << found.outcome.problem;
    EXPECT_EQ(found.outcome.first, 41U);
    const std::vector<kvstore::change> expected{
        {kvstore::change_kind::put, kvstore::value_form::json, 1, "greeting", "{\"a\":1}", 0,
         1'800'000'000'000},
        {kvstore::change_kind::splice, {}, 1, "greeting", "x", 3, kvstore::never},
        {kvstore::change_kind::erase, {}, 300, "gone", {}, 0, kvstore::never},
        {kvstore::change_kind::expire, {}, 2147483647, "soon", {}, 0, 1'800'000'000'001},
        {kvstore::change_kind::rename, {}, 0, "old", "new", 0, kvstore::never},
        {kvstore::change_kind::clear, {}, 9, {}, {}, 0, kvstore::never},
        {kvstore::change_kind::clear_all, {}, 0, {}, {}, 0, kvstore::never},
    };
    ASSERT_EQ(found.records.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(found.records[i].first, 41 + i);
        kvstore::change_reader reader(found.records[i].second);
        kvstore::change got;
        ASSERT_TRUE(reader.next(got));
        EXPECT_EQ(got, expected[i]);
        EXPECT_FALSE(reader.next(got));
        EXPECT_TRUE(reader.ok());
    }
}

}  // namespace
}  // namespace sluice::test
