#include "kvstore/table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace sluice::kvstore {
namespace {

unsigned below(std::mt19937& random, unsigned end) {
    return static_cast<unsigned>(random() % end);
}

std::uint32_t fresh_seed() {
    return std::random_device()();
}

entry* make_entry(std::string_view key, std::string_view value) {
    return entry::make(table::hash_of(key), {key, value, never, value_form::undecided, nullptr});
}

entry* find(table& in, std::string_view key) {
    return in.find(table::hash_of(key), key);
}

void put(table& in, std::string_view key, std::string_view value = "v") {
    if (auto* const old = find(in, key)) {
        in.replace(old, make_entry(key, value));
        entry::destroy(old);
    } else {
        in.insert(make_entry(key, value));
    }
}

void erase(table& in, std::string_view key) {
    auto* const old = find(in, key);
    if (old == nullptr) return;
    in.remove(old);
    entry::destroy(old);
}

using model = std::map<std::string, std::string>;

model content_of(table& from) {
    model out;
    std::size_t met = 0;
    from.for_each([&](const entry& e) {
        out.emplace(e.key(), e.value());
        ++met;
    });
    EXPECT_EQ(met, out.size());  // none twice
    EXPECT_EQ(met, from.size());
    return out;
}

// Every entry lies in the bucket of its hash, in one of the two halves.
void expect_well_placed(const table& in) {
    std::size_t met = 0;
    for (int half = 0; half < 2; ++half) {
        for (std::size_t i = 0; i < in.buckets(half); ++i) {
            for (const auto* e = in.bucket(half, i); e != nullptr; e = e->next) {
                EXPECT_EQ(e->hash & (in.buckets(half) - 1), i);
                EXPECT_EQ(e->hash, table::hash_of(e->key()));
                ++met;
            }
        }
    }
    EXPECT_EQ(met, in.size());
}

std::string key_of(std::uint32_t number) {
    return "key:" + std::to_string(number);
}

TEST(table, random_changes_leave_what_a_map_would_hold) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    table under_test;
    model expected;
    // Phases that let it grow, stay and shrink; in percent, how often a key is put.
    for (const unsigned puts : {90U, 50U, 10U, 70U, 0U, 60U}) {
        for (int i = 0; i < 4000; ++i) {
            const auto key = key_of(below(random, 3000));
            if (below(random, 100) < puts) {
                const auto value = std::to_string(random());
                put(under_test, key, value);
                expected[key] = value;
            } else {
                erase(under_test, key);
                expected.erase(key);
            }
            const auto other = key_of(below(random, 3000));
            const auto* const found = find(under_test, other);
            const auto at = expected.find(other);
            ASSERT_EQ(found != nullptr, at != expected.end());
            if (found != nullptr) {
                ASSERT_EQ(found->value(), at->second);
            }
            ASSERT_EQ(under_test.size(), expected.size());
        }
        ASSERT_EQ(content_of(under_test), expected);
        expect_well_placed(under_test);
    }
}

TEST(table, removing_nearly_all_gives_the_buckets_back) {
    table under_test;
    for (std::uint32_t i = 0; i < 5000; ++i)
        put(under_test, key_of(i));
    const auto most = under_test.overhead();
    for (std::uint32_t i = 0; i < 4990; ++i)
        erase(under_test, key_of(i));
    for (int i = 0; i < 1000; ++i)
        (void)find(under_test, key_of(1));  // moves it along
    EXPECT_LT(under_test.overhead(), most / 100);
    EXPECT_EQ(content_of(under_test).size(), 10U);
}

TEST(table, moving_it_takes_the_content_along) {
    table from;
    for (std::uint32_t i = 0; i < 100; ++i)
        put(from, key_of(i));
    const auto expected = content_of(from);
    table to = std::move(from);
    EXPECT_EQ(content_of(to), expected);
    table third;
    third = std::move(to);
    EXPECT_EQ(content_of(third), expected);
}

TEST(table, scan_of_a_still_table_meets_every_key_once) {
    table under_test;
    for (std::uint32_t i = 0; i < 1000; ++i)
        put(under_test, key_of(i));
    while (under_test.is_moving())
        (void)find(under_test, "");
    std::multiset<std::string> met;
    std::uint64_t cursor = 0;
    do {
        cursor = under_test.scan(cursor, [&](const entry& e) { met.emplace(e.key()); });
    } while (cursor != 0);
    EXPECT_EQ(met.size(), 1000U);
    EXPECT_EQ(std::set<std::string>(met.begin(), met.end()).size(), 1000U);
}

TEST(table, scan_of_an_empty_table_ends_at_once) {
    table under_test;
    for (const std::uint64_t cursor : {std::uint64_t{0}, std::uint64_t{5}, ~std::uint64_t{0}}) {
        EXPECT_EQ(under_test.scan(cursor, [](const entry&) { FAIL(); }), 0U);
    }
}

TEST(table, scan_from_any_cursor_ends) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    table under_test;
    for (std::uint32_t i = 0; i < 300; ++i)
        put(under_test, key_of(i));
    for (int round = 0; round < 100; ++round) {
        auto cursor = random();
        std::size_t calls = 0;
        do {
            cursor = under_test.scan(cursor, [](const entry&) {});
            ASSERT_LE(++calls, under_test.buckets(0) + under_test.buckets(1));
        } while (cursor != 0);
    }
}

// What one walk met while keys came and went between its steps. `trend`: how many of a hundred
// changes put a key.
std::set<std::string> walk_amid_changes(table& in, std::mt19937& random, unsigned trend,
                                        unsigned changes_a_step) {
    std::set<std::string> met;
    std::uint64_t cursor = 0;
    do {
        cursor = in.scan(cursor, [&](const entry& e) { met.emplace(e.key()); });
        for (auto i = random() % (changes_a_step + 1); i > 0; --i) {
            const auto key = "come and go:" + std::to_string(random() % 2000);
            below(random, 100) < trend ? put(in, key) : erase(in, key);
        }
    } while (cursor != 0);
    return met;
}

TEST(table, scan_meets_what_stays_whatever_comes_and_goes) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    bool grew = false;
    bool shrank = false;
    for (int round = 0; round < 60; ++round) {
        SCOPED_TRACE(testing::Message() << "round " << round);
        table under_test;
        const bool grows = round % 2 == 0;
        const auto stay = random() % 60;
        for (std::uint32_t i = 0; i < stay; ++i)
            put(under_test, key_of(i));
        const auto others = grows ? random() % 20 : 2000;
        for (std::uint32_t i = 0; i < others; ++i)
            put(under_test, "come and go:" + std::to_string(i));
        const auto before = under_test.buckets(0);
        const auto met =
            walk_amid_changes(under_test, random, grows ? 95 : 2, 1 + below(random, 100));
        grew = grew || under_test.buckets(0) > before;
        shrank = shrank || under_test.buckets(0) < before;
        for (std::uint32_t i = 0; i < stay; ++i)
            ASSERT_TRUE(met.contains(key_of(i))) << key_of(i) << " was not met";
    }
    EXPECT_TRUE(grew);
    EXPECT_TRUE(shrank);
}

TEST(table, held_still_keeps_its_buckets_and_goes_on_afterwards) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    for (const bool mid_growth : {false, true}) {
        table under_test;
        model expected;
        std::uint32_t next = 0;
        const auto add = [&] {
            expected[key_of(next)] = "v";
            put(under_test, key_of(next++));
        };
        while (next < 500 || under_test.is_moving() != mid_growth)
            add();
        under_test.hold_still();
        const auto first = under_test.buckets(0);
        const auto second = under_test.buckets(1);
        for (int i = 0; i < 5000; ++i) {
            const auto key = key_of(below(random, 5000));
            if (random() % 2 == 0) {
                put(under_test, key);
                expected[key] = "v";
            } else {
                erase(under_test, key);
                expected.erase(key);
            }
        }
        EXPECT_EQ(under_test.buckets(0), first);
        EXPECT_EQ(under_test.buckets(1), second);
        EXPECT_EQ(content_of(under_test), expected);
        expect_well_placed(under_test);
        under_test.move_again();
        for (next = 5000; next < 6000;)
            add();
        EXPECT_GT(under_test.buckets(0) + under_test.buckets(1), first + second);
        EXPECT_EQ(content_of(under_test), expected);
    }
}

TEST(table, random_gives_every_key_and_nothing_of_an_empty_table) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    table under_test;
    EXPECT_EQ(under_test.random(random()), nullptr);
    for (std::uint32_t i = 0; i < 20; ++i)
        put(under_test, key_of(i));
    std::set<std::string_view> met;
    for (int i = 0; i < 5000; ++i)
        met.insert(under_test.random(random())->key());
    EXPECT_EQ(met.size(), 20U);
}

}  // namespace
}  // namespace sluice::kvstore
