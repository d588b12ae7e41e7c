// A project against a plain model of what changes mean, watches, and snapshots taken amid changes.
#include "kvstore/project.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kvstore/snapshot.hpp"

namespace sluice::kvstore {
namespace {

struct held {
    std::string value;
    time_ms expires = never;
    value_form form = value_form::undecided;
    bool operator==(const held&) const = default;
};
using model = std::map<std::string, held, std::less<>>;

std::ostream& operator<<(std::ostream& out, const held& what) {
    return out << what.value.size() << " bytes, hash " << std::hash<std::string>()(what.value)
               << ", ends " << what.expires << ", form " << static_cast<int>(what.form);
}

void apply(model& to, const change& what) {
    const auto at = to.find(what.key);
    switch (what.kind) {
        case change_kind::put:
            to[std::string(what.key)] = {std::string(what.value), what.expires, what.form};
            return;
        case change_kind::splice: {
            auto& one = to[std::string(what.key)];
            const auto end = what.offset + what.value.size();
            if (one.value.size() < end) one.value.resize(end, '\0');
            one.value.replace(what.offset, what.value.size(), what.value);
            one.form = value_form::undecided;
            return;
        }
        case change_kind::erase:
            if (at != to.end()) to.erase(at);
            return;
        case change_kind::expire:
            if (at != to.end()) at->second.expires = what.expires;
            return;
        case change_kind::rename:
            if (at == to.end() || what.key == what.value) return;
            to[std::string(what.value)] = at->second;
            to.erase(to.find(what.key));
            return;
        case change_kind::clear:
        case change_kind::clear_all:
            to.clear();
            return;
    }
}

// Makes changes at random; the text that they view lives until the next one.
class changes {
  public:
    changes(std::mt19937& random, unsigned keys, unsigned clears_in_1000)
        : random_(random), keys_(keys), clears_(clears_in_1000) {}

    change next() {
        change out;
        key_ = key();
        out.key = key_;
        const auto kind = random_() % 100;
        if (random_() % 1000 < clears_) {
            out.kind = random_() % 2 == 0 ? change_kind::clear : change_kind::clear_all;
            out.key = {};
        } else if (kind < 45) {
            value_ = value(true);
            out.expires = expiry();
            out.form = static_cast<value_form>(random_() % 3);
        } else if (kind < 60) {
            out.kind = change_kind::splice;
            value_ = value(false);
            out.offset = random_() % (random_() % 8 == 0 ? 9000 : 40);
        } else if (kind < 75) {
            out.kind = change_kind::erase;
        } else if (kind < 87) {
            out.kind = change_kind::expire;
            out.expires = expiry();
        } else {
            out.kind = change_kind::rename;
            value_ = key();
        }
        const bool has_value = out.kind == change_kind::put || out.kind == change_kind::splice ||
                               out.kind == change_kind::rename;
        if (has_value) out.value = value_;
        return out;
    }

  private:
    std::string key() {
        const auto number = random_() % keys_;
        return number == 0 ? std::string() : "key:" + std::to_string(number);
    }
    std::string value(bool may_be_empty) {
        const auto size = random_() % 10 == 0   ? entry::largest_inline - 2 + random_() % 5
                          : random_() % 20 == 0 ? 20000 + random_() % 9
                                                : random_() % 20 + (may_be_empty ? 0 : 1);
        return std::string(size, static_cast<char>('a' + random_() % 26));
    }
    time_ms expiry() { return random_() % 2 == 0 ? never : time_ms{1000} + random_() % 1000; }

    std::mt19937& random_;
    unsigned keys_;
    unsigned clears_;
    std::string key_;
    std::string value_;
};

model content_of(project& from) {
    model out;
    from.keys_table().for_each([&](const entry& e) {
        out[std::string(e.key())] = {std::string(e.value()), e.expiry(), e.form()};
    });
    return out;
}

void expect_equal(project& real, const model& expected) {
    ASSERT_EQ(content_of(real), expected);
    ASSERT_EQ(real.keys(), expected.size());
    std::uint64_t bytes = 0;
    std::size_t expiring = 0;
    time_ms next = never;
    for (const auto& [key, one] : expected) {
        bytes += key.size() + one.value.size();
        expiring += one.expires != never ? 1 : 0;
        next = std::min(next, one.expires);
    }
    ASSERT_EQ(real.bytes(), bytes);
    ASSERT_EQ(real.expiring(), expiring);
    ASSERT_EQ(real.expiries().next(), next);
}

TEST(project, random_changes_leave_what_the_model_has) {
    const auto seed = std::random_device()();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    for (const unsigned keys : {6U, 400U}) {
        project real(1);
        model expected;
        changes source(random, keys, 2);
        for (int i = 0; i < 6000; ++i) {
            const auto what = source.next();
            real.apply(what);
            apply(expected, what);
            if (i % (keys < 10 ? 1 : 100) == 0) {
                ASSERT_NO_FATAL_FAILURE(expect_equal(real, expected)) << "after " << i;
            }
        }
        ASSERT_NO_FATAL_FAILURE(expect_equal(real, expected));
    }
}

TEST(project, expired_key_is_not_found_from_its_millisecond_on) {
    project real(1);
    change what;
    what.key = "k";
    what.value = "v";
    what.expires = 1000;
    real.apply(what);
    EXPECT_NE(real.find("k", 999), nullptr);
    EXPECT_EQ(real.find("k", 1000), nullptr);
    EXPECT_EQ(real.keys(), 1U);
}

TEST(project, erase_by_the_entrys_own_key_is_safe) {
    project real(1);
    change what;
    what.key = "k";
    what.value = "v";
    what.expires = 1000;
    real.apply(what);
    std::atomic<bool> touched{false};
    real.add_watch("k", {&touched, false});
    change gone;
    gone.kind = change_kind::erase;
    gone.key = real.expiries().first()->key();
    real.apply(gone);
    EXPECT_EQ(real.keys(), 0U);
    EXPECT_EQ(real.expiring(), 0U);
    EXPECT_TRUE(touched);
}

TEST(project, last_access_is_that_of_the_last_command_that_read_or_wrote) {
    project real(1);
    change what;
    what.key = "k";
    what.value = "v";
    real.used_ms = 5000;
    real.apply(what);
    EXPECT_EQ(real.find("k", 9000)->used, 5U);
    EXPECT_EQ(real.use("k", 9000)->used, 9U);
    real.used_ms = 12000;
    real.apply(what);
    EXPECT_EQ(real.find("k", 20000)->used, 12U);
}

// --- watches ---

struct watch_case {
    const char* name;
    change what;
    bool touches;  // a watch on "k", which exists
};

class watched_key : public testing::TestWithParam<watch_case> {};

change make(change_kind kind, std::string_view key, std::string_view value = {}) {
    change out;
    out.kind = kind;
    out.key = key;
    out.value = value;
    return out;
}

TEST_P(watched_key, is_touched_by_what_changes_it) {
    project real(1);
    real.apply(make(change_kind::put, "k", "v"));
    real.apply(make(change_kind::put, "other", "v"));
    std::atomic<bool> touched{false};
    real.add_watch("k", {&touched, false});
    real.apply(GetParam().what);
    EXPECT_EQ(touched.load(), GetParam().touches);
}

INSTANTIATE_TEST_SUITE_P(
    kinds, watched_key,
    testing::Values(watch_case{"put", make(change_kind::put, "k", "v"), true},
                    watch_case{"splice", make(change_kind::splice, "k", "w"), true},
                    watch_case{"erase", make(change_kind::erase, "k"), true},
                    watch_case{"expire", make(change_kind::expire, "k"), true},
                    watch_case{"rename_away", make(change_kind::rename, "k", "x"), true},
                    watch_case{"rename_over", make(change_kind::rename, "other", "k"), true},
                    watch_case{"clear", make(change_kind::clear, {}), true},
                    watch_case{"clear_all", make(change_kind::clear_all, {}), true},
                    watch_case{"put_other", make(change_kind::put, "other", "v"), false},
                    watch_case{"rename_other", make(change_kind::rename, "other", "x"), false},
                    watch_case{"erase_missing", make(change_kind::erase, "missing"), false},
                    watch_case{"rename_missing", make(change_kind::rename, "missing", "k"), false}),
    [](const auto& which) { return std::string(which.param.name); });

TEST(project, watch_of_a_missing_key_is_touched_by_its_coming_only) {
    project real(1);
    real.apply(make(change_kind::put, "other", "v"));
    std::atomic<bool> touched{false};
    real.add_watch("k", {&touched, false});
    real.apply(make(change_kind::erase, "k"));
    real.apply(make(change_kind::clear, {}));
    EXPECT_FALSE(touched);
    real.apply(make(change_kind::put, "k", "v"));
    EXPECT_TRUE(touched);
}

TEST(project, watch_of_an_expired_key_is_not_touched_by_its_removal) {
    for (const auto removal : {change_kind::erase, change_kind::clear}) {
        project real(1);
        auto what = make(change_kind::put, "k", "v");
        what.expires = 1000;
        real.apply(what);
        std::atomic<bool> touched{false};
        real.add_watch("k", {&touched, true});
        real.apply(make(removal, removal == change_kind::erase ? "k" : ""));
        EXPECT_FALSE(touched);
        real.apply(make(change_kind::put, "k", "v"));
        EXPECT_TRUE(touched);
    }
}

TEST(project, removed_watch_is_not_touched_and_another_clients_is) {
    project real(1);
    std::atomic<bool> one{false};
    std::atomic<bool> other{false};
    real.add_watch("k", {&one, false});
    real.add_watch("k", {&other, false});
    real.remove_watch("k", &one);
    real.apply(make(change_kind::put, "k", "v"));
    EXPECT_FALSE(one);
    EXPECT_TRUE(other);
    EXPECT_TRUE(real.is_watched());
    real.remove_watch("k", &other);
    EXPECT_FALSE(real.is_watched());
}

TEST(project, clear_amid_a_snapshot_touches_watches) {
    project real(1);
    real.apply(make(change_kind::put, "k", "v"));
    std::atomic<bool> touched{false};
    real.add_watch("k", {&touched, false});
    snapshot taken;
    taken.begin(real);
    real.apply(make(change_kind::clear, {}));
    EXPECT_TRUE(touched);
    while (!taken.step(real, 100)) {
    }
}

// --- snapshots ---

model content_of(snapshot& from) {
    model out;
    const auto& entries = from.sorted();
    EXPECT_TRUE(std::is_sorted(entries.begin(), entries.end(),
                               [](const auto& a, const auto& b) { return a.key < b.key; }));
    for (const auto& one : entries) {
        out[std::string(one.key)] = {std::string(one.value), one.expires, one.form};
    }
    EXPECT_EQ(out.size(), entries.size());
    return out;
}

struct snapshot_kind {
    const char* name;
    unsigned keys;
    unsigned clears_in_1000;
    std::size_t step_bytes;
    unsigned changes_a_step;
};

class snapshot_of_project : public testing::TestWithParam<snapshot_kind> {};

TEST_P(snapshot_of_project, amid_changes_is_what_was_there_when_it_began) {
    const auto kind = GetParam();
    const auto seed = std::random_device()();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    // A snapshot must also begin while the table moves to a larger one; chance decides when.
    int mid_growth = kind.clears_in_1000 == 0 ? 0 : 1;
    for (int round = 0; round < 25 || (mid_growth == 0 && round < 500); ++round) {
        project real(7);
        model live;
        changes source(random, kind.keys, kind.clears_in_1000);
        const auto change_some = [&](unsigned count) {
            for (; count > 0; --count) {
                const auto what = source.next();
                real.apply(what);
                apply(live, what);
            }
        };
        change_some(static_cast<unsigned>(random() % (kind.keys * 3)));
        for (int i = 0; i < 2000 && round % 2 == 0 && !real.keys_table().is_moving(); ++i)
            change_some(1);
        mid_growth += real.keys_table().is_moving() ? 1 : 0;
        real.last_change = 42;
        const auto expected = live;
        snapshot taken;
        taken.begin(real);
        while (!taken.step(real, kind.step_bytes))
            change_some(static_cast<unsigned>(random() % (kind.changes_a_step + 1)));
        change_some(kind.changes_a_step);
        EXPECT_EQ(taken.header().project, 7U);
        EXPECT_EQ(taken.header().covers, 42U);
        ASSERT_EQ(content_of(taken), expected) << "round " << round;
        ASSERT_NO_FATAL_FAILURE(expect_equal(real, live));
    }
    EXPECT_GT(mid_growth, 0);
}

INSTANTIATE_TEST_SUITE_P(kinds, snapshot_of_project,
                         testing::Values(snapshot_kind{"few_keys", 8, 0, 1, 3},
                                         snapshot_kind{"many_keys", 600, 0, 2000, 40},
                                         snapshot_kind{"much_change", 200, 0, 1, 60},
                                         snapshot_kind{"with_clears", 200, 40, 500, 20},
                                         snapshot_kind{"with_many_clears", 30, 300, 1, 5}),
                         [](const auto& which) { return std::string(which.param.name); });

TEST(project, big_value_in_a_snapshot_is_not_written_to_when_it_grows) {
    project real(1);
    const std::string big(100000, 'a');
    real.apply(make(change_kind::put, "k", big));
    real.apply(make(change_kind::splice, "k", "b"));  // now with room to be written in place
    auto append = make(change_kind::splice, "k", "c");
    append.offset = big.size();
    real.apply(append);
    const std::string before(real.find("k", 0)->value());
    snapshot taken;
    taken.begin(real);
    while (!taken.step(real, 1)) {
    }
    append.value = "d";
    append.offset = 5;
    real.apply(append);
    append.offset = before.size();
    real.apply(append);
    ASSERT_EQ(taken.sorted().size(), 1U);
    EXPECT_EQ(taken.sorted()[0].value, before);
    EXPECT_EQ(real.find("k", 0)->value().substr(before.size()), "d");
}

TEST(project, abandoned_snapshot_lets_the_table_grow_again) {
    project real(1);
    for (int i = 0; i < 100; ++i)
        real.apply(make(change_kind::put, std::to_string(i), "v"));
    snapshot taken;
    taken.begin(real);
    EXPECT_FALSE(taken.step(real, 1));
    for (int i = 0; i < 1000; ++i)
        real.apply(make(change_kind::put, std::to_string(i), "v"));
    const auto still = real.keys_table().overhead();
    taken.abandon(real);
    for (int i = 0; i < 2000; ++i)
        real.apply(make(change_kind::put, std::to_string(i), "v"));
    EXPECT_GT(real.keys_table().overhead(), still * 2);
    snapshot another;  // and can be taken again
    another.begin(real);
    while (!another.step(real, 1 << 20)) {
    }
    EXPECT_EQ(another.sorted().size(), 2000U);
}

}  // namespace
}  // namespace sluice::kvstore
