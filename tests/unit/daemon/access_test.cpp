#include "daemon/http/access.hpp"

#include <gtest/gtest.h>

#include "protocol/base64.hpp"
#include "protocol/scram_verifier.hpp"

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;
using enum access_answer;

protocol::byte_span bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string basic(std::string_view credentials) {
    return "Basic " + protocol::base64_encode(bytes_of(credentials));
}

class access : public ::testing::Test {
  protected:
    access() {
        settings_.token = "s3cret";
        settings_.users["alice"].password = "with:colon";
        settings_.users["bob"].password =
            protocol::make_verifier("pässword", bytes_of("0123456789abcdef"), 16);
    }
    access_answer check(std::string_view header, std::string_view peer = "10.0.0.1") {
        return control().check(header, peer, now_);
    }
    monitoring_access& control() {
        if (!control_) control_.emplace(settings_);
        return *control_;
    }
    config::monitoring_settings settings_;
    std::optional<monitoring_access> control_;
    monitoring_access::time now_{};
};

TEST_F(access, without_token_and_users_nobody_is_asked) {
    monitoring_access nobody{config::monitoring_settings{}};
    EXPECT_FALSE(nobody.asks());
    EXPECT_EQ(nobody.check("", "x", now_), open);
    EXPECT_EQ(nobody.check("Bearer x", "x", now_), open);
}

TEST_F(access, right_credentials_are_granted_and_again) {
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(check("Bearer s3cret"), granted);
        EXPECT_EQ(check("BEARER  s3cret"), granted);
        EXPECT_EQ(check(basic("alice:with:colon")), granted);
        EXPECT_EQ(check(basic("bob:pässword")), granted);
    }
}

TEST_F(access, nothing_shown_is_unknown_and_no_guess) {
    for (int i = 0; i < 100; ++i)
        EXPECT_EQ(check(""), unknown);
    EXPECT_EQ(check("Bearer s3cret"), granted);
}

TEST_F(access, everything_else_is_refused) {
    unsigned peer = 0;
    for (const auto& header :
         std::vector<std::string>{"Bearer",
                                  "Bearer ",
                                  "Bearer s3cre",
                                  "Bearer s3cret2",
                                  "Bearer S3CRET",
                                  "s3cret",
                                  "Basic",
                                  "Basic !!!",
                                  "Basic s3cret",
                                  basic("alice"),
                                  basic("alice:"),
                                  basic("alice:with"),
                                  basic(":with:colon"),
                                  basic("carol:with:colon"),
                                  basic("bob:passwort"),
                                  basic("bob:" + settings_.users["bob"].password),
                                  basic("Alice:with:colon"),
                                  basic("s3cret"),
                                  basic(std::string("alice\0:x", 8)),
                                  "Digest username=alice",
                                  std::string(1000, 'x')}) {
        EXPECT_EQ(check(header, std::to_string(peer++)), refused) << header;
    }
}

TEST_F(access, token_alone_takes_no_password_and_the_other_way_round) {
    config::monitoring_settings only_token;
    only_token.token = "x";
    EXPECT_EQ(monitoring_access(only_token).check(basic("alice:with:colon"), "x", now_), refused);
    config::monitoring_settings only_users;
    only_users.users = settings_.users;
    EXPECT_EQ(monitoring_access(only_users).check("Bearer ", "x", now_), refused);
    EXPECT_EQ(monitoring_access(only_users).check("Bearer x", "x", now_), refused);
}

TEST_F(access, guessing_is_stopped_for_that_address_until_the_window_ends) {
    for (unsigned i = 0; i < monitoring_access::most_failures; ++i)
        EXPECT_EQ(check("Bearer wrong"), refused);
    EXPECT_EQ(check("Bearer wrong"), too_many);
    EXPECT_EQ(check("Bearer s3cret"), too_many);
    EXPECT_EQ(check("Bearer s3cret", "10.0.0.2"), granted);
    // Proved by now, so it is no guess.
    EXPECT_EQ(check("Bearer s3cret"), granted);
    now_ += monitoring_access::window - 1s;
    EXPECT_EQ(check("Bearer wrong"), too_many);
    now_ += 1s;
    EXPECT_EQ(check("Bearer wrong"), refused);
}

TEST_F(access, very_many_addresses_are_not_remembered) {
    for (std::size_t i = 0; i < monitoring_access::most_addresses + 100; ++i)
        EXPECT_EQ(check("Bearer wrong", std::to_string(i)), refused);
}

TEST_F(access, new_settings_forget_what_was_proved) {
    EXPECT_EQ(check("Bearer s3cret"), granted);
    settings_.token = "other";
    control().configure(settings_);
    EXPECT_EQ(check("Bearer s3cret"), refused);
    EXPECT_EQ(check("Bearer other"), granted);
}

}  // namespace
}  // namespace sluice::daemon
