#include "protocol/statement_shape.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "protocol/statement_text.hpp"

namespace sluice::protocol {
namespace {

std::uint64_t shape(std::string_view sql, std::uint64_t seed = 1) {
    return statement_shape(sql, true, seed);
}

TEST(statement_shape, constants_comments_and_spacing_make_no_difference) {
    const auto want = shape("update t set a = 1 where b = 'x'");
    EXPECT_EQ(shape("update t set a = 234567 where b = 'another'"), want);
    EXPECT_EQ(shape("UPDATE t  SET a=1.5e-7 /* app */ WHERE b = E'it\\'s' -- end"), want);
    EXPECT_EQ(shape("update t set a = 0x1F where b = $tag$x$tag$"), want);
    EXPECT_EQ(shape("update t set a = $1 where b = $22"), want);
    EXPECT_EQ(shape("savepoint s140_x7"), shape("SAVEPOINT \"s141_x9\""));
    EXPECT_EQ(shape("fetch 100 from \"c_1\""), shape("fetch 50 from \"c_2\""));
}

TEST(statement_shape, everything_else_does) {
    const std::vector<std::string_view> texts{
        "",
        "select 1",
        "select a",
        "select a1",
        "select a2",
        "select \"a1\"",
        "select \"A1\"",
        "select a, b",
        "select ab",
        "select a.b",
        "select a from t",
        "select a from t where b = 1",
        "select a from t where b < 1",
        "select a from t where b in (1, 2)",
        "select a from t where b in (1, 2, 3)",
        "select a_very_long_name_of_a_column_1",
        "select a_very_long_name_of_a_column_2",
        "select a_very_long_name_of_a_column_1 from t",
        "delete from t",
        "begin",
        "commit",
        "rollback",
        "rollback to s1",
        "select 1; select 2",
        "declare c_1 cursor for select a from t",
        "declare c_1 cursor for select b from t",
    };
    std::set<std::uint64_t> seen;
    for (const auto sql : texts) {
        EXPECT_NE(shape(sql), 0U);
        EXPECT_TRUE(seen.insert(shape(sql)).second) << sql;
    }
    EXPECT_NE(shape("select 1", 1), shape("select 1", 2));
}

TEST(statement_shape, every_byte_of_an_exact_text_counts) {
    std::set<std::uint64_t> seen;
    std::string sql;
    for (int size = 0; size < 70; ++size) {
        EXPECT_TRUE(seen.insert(exact_statement(sql, 1)).second) << size;
        EXPECT_TRUE(seen.insert(exact_statement(sql, 2)).second) << size;
        for (std::size_t i = 0; i < sql.size(); ++i) {
            auto other = sql;
            other[i] = 'y';
            EXPECT_TRUE(seen.insert(exact_statement(other, 1)).second) << size << " " << i;
        }
        sql += 'x';
    }
}

// What is counted under one text has to look alike: the same shape, so the same normalised text.
TEST(statement_shape, random_constants_keep_shape_and_text) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto constant = [&]() -> std::string {
        switch (random() % 6) {
            case 0:
                return std::to_string(random());
            case 1:
                return std::to_string(random() % 100) + "." + std::to_string(random() % 100);
            case 2: {
                std::string out = "'";
                for (auto n = random() % 20; n > 0; --n) {
                    const char c = static_cast<char>(' ' + random() % 95);
                    out += c == '\\' ? 'x' : c;
                    if (c == '\'') out += c;
                }
                return out + '\'';
            }
            case 3:
                return "$q$a'b\"" + std::to_string(random()) + "$q$";
            case 4:
                return "E'\\'" + std::to_string(random()) + "'";
            default:
                return std::to_string(random() % 9) + "e" + std::to_string(random() % 5);
        }
    };
    const std::vector<std::string_view> parts{
        "select a, ", " from t where b = ", " and c in (select d from e where f < ",
        ") order by g limit ", " offset "};
    std::set<std::string> texts;
    std::set<std::uint64_t> shapes;
    for (int i = 0; i < 2000; ++i) {
        std::string sql;
        for (const auto part : parts) {
            sql += part;
            sql += constant();
        }
        shapes.insert(shape(sql));
        texts.insert(normalised_statement(sql, 2048));
        ASSERT_EQ(shapes.size(), 1U) << sql;
        ASSERT_EQ(texts.size(), 1U) << sql << "\n" << *texts.rbegin();
    }
}

}  // namespace
}  // namespace sluice::protocol
