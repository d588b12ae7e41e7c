#include "config/pgbouncer_hba.hpp"

#include <gtest/gtest.h>

#include "unit/config/support.hpp"

namespace sluice::config {
namespace {

struct decided {
    hba_outcome out;
    std::vector<import_note> notes;
};

decided decide(const std::string& text) {
    fake_world world;
    world.files["hba"] = text;
    decided made;
    const auto rules = read_hba({"auth_hba_file", "hba", {"a.ini", 1}}, world.env(), made.notes);
    made.out = decide_hba(rules, made.notes);
    return made;
}

TEST(pgbouncer_hba, md5_and_scram_become_scram) {
    const auto got = decide("local all all md5\nhost all all 0.0.0.0/0 scram-sha-256\n");
    EXPECT_EQ(got.out.auth_type, auth_type::scram_sha_256);
    EXPECT_TRUE(got.out.tcp);
    EXPECT_TRUE(got.out.unix_socket);
    EXPECT_FALSE(got.out.loopback_only);
    EXPECT_FALSE(got.out.tls_only);
    EXPECT_TRUE(got.notes.empty());
}

TEST(pgbouncer_hba, strictest_method_holds_for_all) {
    const auto got = decide("local all all trust\nhost all all ::/0 md5\n");
    EXPECT_EQ(got.out.auth_type, auth_type::scram_sha_256);
    ASSERT_EQ(got.notes.size(), 1U);
    EXPECT_EQ(got.notes[0].at.line, 1);
    EXPECT_EQ(got.notes[0].kind, import_kind::lost);
    EXPECT_EQ(decide("local all all trust\nhost all all ::/0 password").out.auth_type,
              auth_type::cleartext);
    EXPECT_EQ(decide("hostssl all all ::/0 cert").out.auth_type, auth_type::cert);
}

TEST(pgbouncer_hba, trust_is_kept_only_where_it_opens_nothing) {
    EXPECT_EQ(decide("local all all trust").out.auth_type, auth_type::trust);
    EXPECT_EQ(decide("host all all 127.0.0.1/32 trust").out.auth_type, auth_type::trust);
    EXPECT_EQ(decide("host all all 0.0.0.0/0 trust").out.auth_type, auth_type::trust);
    for (const auto* const text :
         {"host all all 10.0.0.0/8 trust", "local app all trust", "local all bob trust",
          "local all all peer", "local all eve reject\nlocal all all trust", ""}) {
        EXPECT_EQ(decide(text).out.auth_type, auth_type::scram_sha_256) << text;
    }
}

TEST(pgbouncer_hba, places_follow_from_the_lines) {
    EXPECT_FALSE(decide("local all all md5").out.tcp);
    EXPECT_FALSE(decide("host all all all md5").out.unix_socket);
    EXPECT_TRUE(decide("host all all 127.0.0.0/8 md5\nhost all all ::1/128 md5").out.loopback_only);
    EXPECT_FALSE(decide("host all all 127.0.0.1/32 md5\nhost all all 10.1.0.0 255.255.0.0 md5")
                     .out.loopback_only);
    EXPECT_FALSE(decide("local all all md5").out.loopback_only);
}

TEST(pgbouncer_hba, only_hostssl_requires_tls) {
    EXPECT_TRUE(decide("local all all md5\nhostssl all all ::/0 md5").out.tls_only);
    EXPECT_FALSE(decide("host all all ::/0 md5\nhostssl all all ::/0 md5").out.tls_only);
    EXPECT_FALSE(decide("local all all md5").out.tls_only);
}

TEST(pgbouncer_hba, what_is_narrower_is_noted_with_its_line) {
    const auto got = decide(
        "# comment\n"
        "host app,\"o ther\" all 0.0.0.0/0 md5\n"
        "host all @users 0.0.0.0/0 md5\n"
        "host all all 10.0.0.0/8 md5   # office\n"
        "hostnossl all all 0.0.0.0/0 md5\n"
        "hostssl all all 0.0.0.0/0 md5\n"
        "host all eve 0.0.0.0/0 reject\n"
        "host all all 0.0.0.0/0 md5\n");
    ASSERT_EQ(got.notes.size(), 6U);
    for (int i = 0; i < 6; ++i) {
        const auto& note = got.notes[static_cast<std::size_t>(i)];
        EXPECT_EQ(note.at, (text_place{"hba", i + 2})) << note.text;
        EXPECT_EQ(note.kind, import_kind::lost);
    }
    EXPECT_NE(got.notes[0].text.find("app,\"o ther\""), std::string::npos);
}

TEST(pgbouncer_hba, reject_at_the_end_changes_nothing) {
    EXPECT_TRUE(decide("host all all ::/0 md5\nhost all all 0.0.0.0/0 reject\n").notes.empty());
}

TEST(pgbouncer_hba, line_that_is_no_rule_is_noted) {
    for (const auto* const text :
         {"hostgssenc all all ::/0 md5", "local all all", "host all all md5", "host all", "what"}) {
        const auto got = decide(text);
        ASSERT_EQ(got.notes.size(), 1U) << text;
        EXPECT_EQ(got.notes[0].at.line, 1);
        EXPECT_FALSE(got.out.tcp);
        EXPECT_EQ(got.out.auth_type, auth_type::scram_sha_256);
    }
}

}  // namespace
}  // namespace sluice::config
