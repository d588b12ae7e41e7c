#include "protocol/base64.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace sluice::protocol {
namespace {

// RFC 4648, section 10.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> vectors{{
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
}};

TEST(base64, rfc_vectors_encode_and_decode) {
    for (const auto& [plain, encoded] : vectors) {
        EXPECT_EQ(base64_encode(as_bytes(plain)), encoded);
        EXPECT_EQ(base64_decode(encoded), plain);
    }
}

TEST(base64, random_bytes_round_trip) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    for (std::size_t size = 0; size < 100; ++size) {
        std::string bytes(size, '\0');
        for (auto& byte : bytes)
            byte = static_cast<char>(random());
        EXPECT_EQ(base64_decode(base64_encode(as_bytes(bytes))), bytes);
    }
}

TEST(base64, malformed_text_is_refused) {
    for (const std::string_view text :
         {"Zg", "Zg=", "Z===", "====", "=", "Zm9v=", "Zm9v Zg==", "Zm9v\n", "Zg=a", "Z=g=", "Zm-_",
          "Zg==Zg==", "\xff\xff\xff\xff", "Zg==="}) {
        EXPECT_FALSE(base64_decode(text)) << text;
    }
    EXPECT_FALSE(base64_decode(std::string_view{"Zm9\0", 4}));
}

TEST(base64, stray_bits_in_the_last_character_are_refused) {
    EXPECT_TRUE(base64_decode("Zg=="));
    EXPECT_FALSE(base64_decode("Zh=="));
    EXPECT_TRUE(base64_decode("Zm8="));
    EXPECT_FALSE(base64_decode("Zm9="));
}

TEST(base64, decode_into_takes_the_exact_size_only) {
    std::array<std::uint8_t, 3> out{};
    EXPECT_TRUE(base64_decode_into("Zm9v", out));
    EXPECT_EQ(as_text(out), "foo");
    EXPECT_FALSE(base64_decode_into("Zm8=", out));
    EXPECT_FALSE(base64_decode_into("Zm9vYg==", out));
    EXPECT_FALSE(base64_decode_into("", out));
}

}  // namespace
}  // namespace sluice::protocol
