#include "protocol/scram_verifier.hpp"

#include <gtest/gtest.h>

#include "protocol/base64.hpp"
#include "protocol/saslprep.hpp"
#include "protocol/secret.hpp"

namespace sluice::protocol {
namespace {

// Made by PostgreSQL 15 (pg_authid.rolpassword after CREATE ROLE ... PASSWORD).
constexpr std::string_view staple =
    "SCRAM-SHA-256$4096:X/S/PHqmnULcngvHvbxIvA==$iH4gt4yXYbaVo4kMEdZQnuvFZrEGXFo4NMqorCpIfNc=:"
    "vODnUWDV261M8rKKsqiV2UlGCrAha8/a1oglTU64J1o=";

// PostgreSQL 15's again, for passwords outside ASCII. In order: a soft hyphen that goes and an
// ideographic space that becomes a space; a prohibited control character, which keeps the password
// as it is; nothing but characters that go; a zero-width space.
constexpr std::pair<std::string_view, std::string_view> unicode_verifiers[] = {
    {"p\u00e4ss\u00adw\u3000\u00f6rd",
     "SCRAM-SHA-256$4096:CqFx3YR39/k0qlcZ686RaQ==$424zoLv5qWdQDwgYeQk01DiF6FMY7PbHDvfhsMmCsLA=:"
     "pMinQiZhogr2daJntOTOMCwfkbHjW43QI487Wci9/is="},
    {"a\u00ad\xc2\x85"
     "b",
     "SCRAM-SHA-256$4096:btbrPL8efKhbAUxyZXnthQ==$ZdOrXS1SIQA9U0yGGzmYWIND8VDexFvY6EswExXZ2bs=:"
     "WK0FsLQnyeBkurPyE64JSDMrPO8kN1RpQ2f6np6Pzy8="},
    {"\u00ad\u200d",
     "SCRAM-SHA-256$4096:HJWClAXWyNp0+AXIX2l02Q==$QCjcw5UH5nQViDC3PHZJ1C0ho5alpP03fV4EyuJFY/s=:"
     "EJFCpwKmpx6HBL0ClouRlh7cko/xldzS6PfJ2qANGks="},
    {"a\u200b"
     "b",
     "SCRAM-SHA-256$4096:4Som2JkGhBIh+bnikyGaqQ==$6mWcwkVsM8ZH9Zc+mEe7B3A1w7SaCx5sc61qyL/wwFE=:"
     "0nS/5ORrGoFahKsEZcpFme55RzmYwuMrH7IZU9pzdU0="},
};

TEST(scram_verifier, postgresql_verifier_matches_its_password_only) {
    const auto verifier = parse_verifier(staple);
    ASSERT_TRUE(verifier);
    EXPECT_EQ(verifier->iterations, 4096U);
    EXPECT_EQ(verifier->salt.size(), 16U);
    EXPECT_TRUE(verify_password("correct horse battery staple", *verifier));
    EXPECT_FALSE(verify_password("correct horse battery stapl", *verifier));
    EXPECT_FALSE(verify_password("", *verifier));
}

TEST(scram_verifier, parse_and_format_give_the_text_back) {
    EXPECT_EQ(format_verifier(parse_verifier(staple).value()), staple);
}

TEST(scram_verifier, made_with_its_salt_is_postgresqls_text) {
    const auto salt = parse_verifier(staple).value().salt;
    EXPECT_EQ(make_verifier("correct horse battery staple", as_bytes(salt), 4096), staple);
}

TEST(scram_verifier, rfc7677_signature_is_reproduced) {
    const auto salt = base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==").value();
    const auto verifier = derive_verifier("pencil", as_bytes(salt), 4096);
    constexpr std::string_view auth_message =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    sha256_digest signature;
    hmac_sha256(verifier.server_key, as_bytes(auth_message), signature);
    EXPECT_EQ(base64_encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

// RFC 4231, test cases 1, 2, 3 and 6 (a key longer than a block).
TEST(scram_verifier, hmac_vectors_are_reproduced) {
    const auto hex = [](const std::string& key, const std::string& message) {
        sha256_digest out;
        hmac_sha256(as_bytes(key), as_bytes(message), out);
        std::string text;
        for (const auto byte : out) {
            text += "0123456789abcdef"[byte >> 4];
            text += "0123456789abcdef"[byte & 15];
        }
        return text;
    };
    EXPECT_EQ(hex(std::string(20, '\x0b'), "Hi There"),
              "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    EXPECT_EQ(hex("Jefe", "what do ya want for nothing?"),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    EXPECT_EQ(hex(std::string(20, '\xaa'), std::string(50, '\xdd')),
              "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    EXPECT_EQ(
        hex(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First"),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(scram_verifier, unicode_password_matches_postgresqls_verifier) {
    for (const auto& [password, text] : unicode_verifiers) {
        EXPECT_TRUE(verify_password(password, parse_verifier(text).value())) << password;
    }
}

TEST(scram_verifier, malformed_text_is_refused) {
    const std::string good{staple};
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_FALSE(parse_verifier(good.substr(0, size))) << size;
    }
    const auto with = [&](std::string_view from, std::string_view to) {
        auto text = good;
        text.replace(text.find(from), from.size(), to);
        return text;
    };
    for (const auto& text : {
             good + "A",
             good + "\n",
             " " + good,
             with("4096", "0"),
             with("4096", "-1"),
             with("4096", "+1"),
             with("4096", "4096 "),
             with("4096", ""),
             with("4096", "2147483648"),
             with("4096", "99999999999999999999"),
             with("X/S/PHqmnULcngvHvbxIvA==", ""),
             with("X/S/PHqmnULcngvHvbxIvA==", "X/S"),
             with("iH4gt4yXYbaVo4kMEdZQnuvFZrEGXFo4NMqorCpIfNc=", "iH4g"),
             with("SCRAM-SHA-256", "scram-sha-256"),
             with("SCRAM-SHA-256", "SCRAM-SHA-1"),
         }) {
        EXPECT_FALSE(parse_verifier(text)) << text;
    }
    EXPECT_FALSE(parse_verifier("md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

TEST(scram_verifier, derive_with_no_iterations_throws) {
    EXPECT_THROW((void)derive_verifier("x", as_bytes("salt"), 0), std::runtime_error);
}

TEST(scram_verifier, mock_is_stable_for_a_user_and_differs_between_users) {
    const auto secret_bytes = as_bytes("0123456789abcdef");
    const auto alice = mock_verifier("alice", secret_bytes);
    EXPECT_EQ(alice, mock_verifier("alice", secret_bytes));
    EXPECT_NE(alice.salt, mock_verifier("bob", secret_bytes).salt);
    EXPECT_NE(alice.salt, mock_verifier("alice", as_bytes("another secret")).salt);
    EXPECT_EQ(alice.salt.size(), default_scram_salt_size);
    EXPECT_EQ(alice.iterations, default_scram_iterations);
    EXPECT_NE(alice.stored_key, mock_verifier("bob", secret_bytes).stored_key);
    EXPECT_TRUE(parse_verifier(format_verifier(alice)));
}

TEST(scram_verifier, same_password_compares_content_and_length) {
    EXPECT_TRUE(same_password("secret", "secret"));
    EXPECT_FALSE(same_password("secret", "secreT"));
    EXPECT_FALSE(same_password("secret", "secret1"));
    EXPECT_FALSE(same_password("secret", ""));
    EXPECT_TRUE(same_password("", ""));
}

TEST(saslprep, ascii_is_kept_with_its_control_characters) {
    EXPECT_EQ(saslprep("a b\x01\x7f"), "a b\x01\x7f");
    EXPECT_EQ(saslprep(""), "");
}

TEST(saslprep, bytes_that_are_not_utf8_are_kept) {
    for (const std::string_view text :
         {"a\xff", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
          "\xf0\x8f\xbf\xbf", "\u00ad\xff", "\xe2\x82", "\x80"}) {
        EXPECT_EQ(saslprep(text), text);
    }
}

TEST(saslprep, spaces_become_a_space_and_soft_hyphens_go) {
    EXPECT_EQ(saslprep("I\u00adX"), "IX");
    EXPECT_EQ(saslprep("a\u00a0b\u3000c"), "a b c");
    EXPECT_EQ(saslprep("\u00e9\U0001F600"), "\u00e9\U0001F600");
}

TEST(saslprep, prohibited_character_keeps_the_password_as_it_is) {
    EXPECT_EQ(saslprep("a\u00ad\ue000"), "a\u00ad\ue000");
    EXPECT_EQ(saslprep("\u00ad\x07"), "\u00ad\x07");
    EXPECT_EQ(saslprep("\u00ad"), "\u00ad");
}

TEST(secret, move_takes_the_text_and_empties_the_source) {
    for (const std::string& text : {std::string{"short"}, std::string(100, 'x')}) {
        secret source{text};
        secret moved{std::move(source)};
        EXPECT_EQ(moved.view(), text);
        EXPECT_TRUE(source.empty());  // NOLINT(bugprone-use-after-move): that is the promise
        secret assigned{"before"};
        assigned = std::move(moved);
        EXPECT_EQ(assigned.view(), text);
        EXPECT_TRUE(moved.empty());  // NOLINT(bugprone-use-after-move)
    }
}

}  // namespace
}  // namespace sluice::protocol
