// Puts and splices where a value changes in its place or gets another: sizes, expiries, sharing.
#include <gtest/gtest.h>

#include <string>

#include "kvstore/project.hpp"

namespace sluice::kvstore {
namespace {

constexpr time_ms now = 1'000'000;

void put(project& to, std::string_view key, std::string_view value, time_ms expires = never) {
    change what;
    what.key = key;
    what.value = value;
    what.expires = expires;
    to.apply(what);
}

void splice(project& to, std::string_view key, std::uint64_t offset, std::string_view bytes) {
    change what;
    what.kind = change_kind::splice;
    what.key = key;
    what.offset = offset;
    what.value = bytes;
    to.apply(what);
}

std::string value_of(project& of, std::string_view key) {
    const auto* const found = of.find(key, now);
    return found == nullptr ? "(none)" : std::string(found->value());
}

TEST(project_put, of_the_same_size_with_another_expiry_is_due_by_the_new_one) {
    project in(1);
    put(in, "a", "1", now + 10);
    put(in, "b", "1", now + 20);
    const auto* const before = in.find("a", now);
    put(in, "a", "2", now + 30);
    EXPECT_EQ(in.find("a", now), before);
    EXPECT_EQ(value_of(in, "a"), "2");
    EXPECT_EQ(in.find("a", now)->expiry(), now + 30);
    EXPECT_EQ(in.expiries().first()->key(), "b");
    put(in, "a", "3", now + 5);
    EXPECT_EQ(in.expiries().first()->key(), "a");
    put(in, "a", "4");
    EXPECT_EQ(in.find("a", now)->expiry(), never);
    EXPECT_EQ(in.expiring(), 1U);
    EXPECT_EQ(in.bytes(), 4U);
}

TEST(project_put, at_a_place_that_was_looked_up_is_the_same) {
    project in(1);
    for (const std::string_view value : {"1", "2", "long", ""}) {
        const auto at = in.look_up("key");
        change what;
        what.key = "key";
        what.value = value;
        in.put(what, at);
        EXPECT_EQ(value_of(in, "key"), value);
        EXPECT_EQ(in.keys(), 1U);
        EXPECT_EQ(in.bytes(), 3 + value.size());
    }
}

TEST(project_put, a_place_knows_what_has_expired) {
    project in(1);
    put(in, "key", "1", now);
    const auto at = in.look_up("key");
    EXPECT_NE(at.found, nullptr);
    EXPECT_EQ(at.live(now), nullptr);
    EXPECT_EQ(at.live(now - 1), at.found);
}

TEST(project_splice, many_small_ones_make_one_big_value) {
    project in(1);
    std::string expected;
    std::size_t moved = 0;
    const char* at = nullptr;
    put(in, "key", "", now + 1000);
    for (int i = 0; i < 20000; ++i) {
        const auto piece = std::to_string(i);
        splice(in, "key", expected.size(), piece);
        expected += piece;
        const auto* const found = in.find("key", now);
        ASSERT_EQ(found->value_size(), expected.size());
        if (found->shared() != nullptr && found->value().data() != at) {
            at = found->value().data();
            ++moved;
        }
    }
    EXPECT_EQ(value_of(in, "key"), expected);
    EXPECT_EQ(in.bytes(), 3 + expected.size());
    EXPECT_EQ(in.find("key", now)->expiry(), now + 1000);
    EXPECT_LT(moved, 20U);
}

TEST(project_splice, what_somebody_holds_does_not_change) {
    project in(1);
    const std::string old(20000, 'x');
    put(in, "key", old);
    const blob_ref held(in.find("key", now)->shared());
    const auto view = in.find("key", now)->value();
    splice(in, "key", 0, "y");
    splice(in, "key", old.size(), "z");
    EXPECT_EQ(view, old);
    EXPECT_EQ(value_of(in, "key"), "y" + old.substr(1) + "z");
}

TEST(project_splice, a_gap_is_zero_bytes) {
    for (const std::size_t offset : {5U, 8191U, 8192U, 20000U}) {
        project in(1);
        splice(in, "none", offset, "end");
        EXPECT_EQ(value_of(in, "none"), std::string(offset, '\0') + "end");
        put(in, "key", "abc");
        splice(in, "key", offset, "end");
        EXPECT_EQ(value_of(in, "key"), "abc" + std::string(offset - 3, '\0') + "end");
        splice(in, "key", offset + 30000, "end");  // into the spare room, or beyond it
        splice(in, "key", offset + 30010, "end");
        EXPECT_EQ(value_of(in, "key"), "abc" + std::string(offset - 3, '\0') + "end" +
                                           std::string(29997, '\0') + "end" + std::string(7, '\0') +
                                           "end");
    }
}

}  // namespace
}  // namespace sluice::kvstore
