#include "kvstore/set_options.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace sluice::kvstore {
namespace {

using condition = set_options::condition;
using lifetime = set_options::lifetime;
using words = std::vector<std::string_view>;

constexpr auto most = std::numeric_limits<std::int64_t>::max();
constexpr time_ms now = 1'700'000'000'123;

bool parses(const words& options, takes_options which, set_options& out) {
    out = {};
    return parse_set_options(options, which, out);
}

bool parses(const words& options, takes_options which = takes_options::of_set) {
    set_options out;
    return parses(options, which, out);
}

TEST(set_options, none_says_nothing) {
    set_options out;
    ASSERT_TRUE(parses({}, takes_options::of_set, out));
    EXPECT_EQ(out.only_if, condition::none);
    EXPECT_EQ(out.life, lifetime::unsaid);
    EXPECT_FALSE(out.get);
}

TEST(set_options, any_order_and_case_is_read) {
    set_options out;
    ASSERT_TRUE(parses({"gEt", "Px", "15", "nX"}, takes_options::of_set, out));
    EXPECT_EQ(out.only_if, condition::absent);
    EXPECT_EQ(out.life, lifetime::given);
    EXPECT_EQ(out.form, expiry_form::milliseconds);
    EXPECT_EQ(out.time, "15");
    EXPECT_TRUE(out.get);
}

TEST(set_options, each_time_option_has_its_form) {
    const std::pair<std::string_view, expiry_form> all[] = {
        {"EX", expiry_form::seconds},
        {"px", expiry_form::milliseconds},
        {"ExAt", expiry_form::second_of_epoch},
        {"PXAT", expiry_form::ms_of_epoch},
    };
    for (const auto which : {takes_options::of_set, takes_options::of_getex}) {
        for (const auto& [name, form] : all) {
            set_options out;
            ASSERT_TRUE(parses({name, "7"}, which, out)) << name;
            EXPECT_EQ(out.form, form) << name;
            EXPECT_EQ(out.time, "7") << name;
            EXPECT_FALSE(parses({name}, which)) << name;
        }
    }
}

TEST(set_options, what_is_no_number_is_still_a_time) {
    set_options out;
    ASSERT_TRUE(parses({"EX", "NX"}, takes_options::of_set, out));
    EXPECT_EQ(out.time, "NX");
    EXPECT_EQ(out.only_if, condition::none);
}

TEST(set_options, the_last_of_equal_ones_counts) {
    set_options out;
    ASSERT_TRUE(parses({"EX", "1", "ex", "2"}, takes_options::of_set, out));
    EXPECT_EQ(out.time, "2");
    EXPECT_TRUE(parses({"NX", "NX"}));
    EXPECT_TRUE(parses({"KEEPTTL", "KEEPTTL"}));
    EXPECT_TRUE(parses({"GET", "GET"}));
    EXPECT_TRUE(parses({"PERSIST", "PERSIST"}, takes_options::of_getex));
}

TEST(set_options, what_excludes_each_other_is_refused_in_both_orders) {
    const words lifetimes[] = {{"EX", "1"}, {"PX", "1"}, {"EXAT", "1"}, {"PXAT", "1"}, {"KEEPTTL"}};
    for (const auto& one : lifetimes) {
        for (const auto& other : lifetimes) {
            auto both = one;
            both.insert(both.end(), other.begin(), other.end());
            EXPECT_EQ(parses(both), one == other) << one[0] << " " << other[0];
        }
    }
    EXPECT_FALSE(parses({"NX", "XX"}));
    EXPECT_FALSE(parses({"XX", "NX"}));
    EXPECT_FALSE(parses({"PERSIST", "EX", "1"}, takes_options::of_getex));
    EXPECT_FALSE(parses({"EX", "1", "PERSIST"}, takes_options::of_getex));
}

TEST(set_options, options_of_the_other_command_are_unknown) {
    EXPECT_FALSE(parses({"PERSIST"}));
    for (const std::string_view name : {"NX", "XX", "GET", "KEEPTTL"}) {
        EXPECT_TRUE(parses({name})) << name;
        EXPECT_FALSE(parses({name}, takes_options::of_getex)) << name;
    }
    for (const std::string_view name : {"", "N", "NXX", "EXA", "KEEPTT"}) {
        EXPECT_FALSE(parses({name, "1"})) << name;
    }
}

TEST(expiry_time, relative_and_absolute_become_milliseconds) {
    EXPECT_EQ(expiry_time(2, expiry_form::seconds, now), now + 2000);
    EXPECT_EQ(expiry_time(2, expiry_form::milliseconds, now), now + 2);
    EXPECT_EQ(expiry_time(2, expiry_form::second_of_epoch, now), 2000);
    EXPECT_EQ(expiry_time(2, expiry_form::ms_of_epoch, now), 2);
}

TEST(expiry_time, not_positive_is_none) {
    for (const auto form : {expiry_form::seconds, expiry_form::milliseconds,
                            expiry_form::second_of_epoch, expiry_form::ms_of_epoch}) {
        for (const std::int64_t given : {std::int64_t{0}, std::int64_t{-1}, -most - 1}) {
            EXPECT_EQ(expiry_time(given, form, now), std::nullopt) << given;
        }
    }
}

TEST(expiry_time, at_the_end_of_the_range_is_none_just_before_is_one) {
    EXPECT_EQ(expiry_time(most - now + 1, expiry_form::milliseconds, now), std::nullopt);
    EXPECT_EQ(expiry_time(most - now - 1, expiry_form::milliseconds, now), most - 1);
    EXPECT_EQ(expiry_time(most / 1000, expiry_form::seconds, now), std::nullopt);
    EXPECT_EQ(expiry_time(most / 1000, expiry_form::second_of_epoch, now), most / 1000 * 1000);
    EXPECT_EQ(expiry_time(most / 1000 + 1, expiry_form::second_of_epoch, now), std::nullopt);
    EXPECT_EQ(expiry_time(most, expiry_form::seconds, now), std::nullopt);
}

TEST(expiry_time, is_never_never) {
    EXPECT_EQ(expiry_time(most, expiry_form::ms_of_epoch, now), never - 1);
    EXPECT_EQ(expiry_time(most - now, expiry_form::milliseconds, now), never - 1);
}

}  // namespace
}  // namespace sluice::kvstore
