#include "protocol/pg_auth.hpp"

#include <gtest/gtest.h>

#include "unit/protocol/scram_client.hpp"

namespace sluice::protocol {
namespace {

using testing::scram_client;
using kind = auth_action::kind;
using namespace std::string_literals;

constexpr std::string_view nonce = "eighteen bytes here";
constexpr std::string_view mock_secret = "a secret of this process";
constexpr std::string_view end_point = "0123456789abcdef0123456789abcdef";

const std::string ok_message = "R\0\0\0\x08\0\0\0\0"s;
const std::string wrong_password_text = "password authentication failed for user \"app\"";

const scram_verifier& known() {
    static const auto verifier = derive_verifier("pencil", as_bytes("0123456789abcdef"), 4096);
    return verifier;
}

auth_request request_for(auth_method method) {
    auth_request out;
    out.method = method;
    out.user = "app";
    out.nonce = as_bytes(nonce);
    out.mock_secret = as_bytes(mock_secret);
    out.transport = password_transport::protected_or_local;
    if (method == auth_method::scram) out.verifier = known();
    return out;
}

std::string u32(std::size_t value) {
    std::string out(4, '\0');
    store_u32(out.data(), static_cast<std::uint32_t>(value));
    return out;
}

std::string initial(std::string_view mechanism, std::string_view response) {
    return std::string{mechanism} + '\0' + u32(response.size()) + std::string{response};
}

// The body of an Authentication message, whose code and length are checked.
std::string body_of(const std::string& message, std::uint32_t code) {
    EXPECT_GE(message.size(), 9U);
    EXPECT_EQ(message[0], 'R');
    EXPECT_EQ(message.substr(1, 4), u32(message.size() - 1));
    EXPECT_EQ(message.substr(5, 4), u32(code));
    return message.substr(9);
}

auth_action give(client_auth& auth, std::string_view payload, char type = 'p') {
    return auth.receive(type, as_bytes(payload));
}

void expect_rejected(const auth_action& action, const char* sqlstate) {
    EXPECT_EQ(action.what, kind::rejected);
    EXPECT_STREQ(action.error.sqlstate, sqlstate);
    EXPECT_FALSE(action.error.message.empty());
    EXPECT_TRUE(action.bytes.empty());
    EXPECT_TRUE(action.password.empty());
}

TEST(pg_auth, trust_is_accepted_at_once) {
    client_auth auth{request_for(auth_method::trust)};
    const auto action = auth.start();
    EXPECT_EQ(action.what, kind::accepted);
    EXPECT_EQ(action.bytes, ok_message);
}

TEST(pg_auth, certificate_must_name_the_user) {
    auto request = request_for(auth_method::cert);
    request.certificate_names = {"other", "app"};
    client_auth good{request};
    EXPECT_EQ(good.start().bytes, ok_message);
    for (const auto& names : std::vector<std::vector<std::string>>{{}, {""}, {"APP"}, {"app "}}) {
        request.certificate_names = names;
        client_auth bad{request};
        const auto action = bad.start();
        expect_rejected(action, "28000");
        EXPECT_EQ(action.error.message, "certificate authentication failed for user \"app\"");
    }
}

TEST(pg_auth, cleartext_password_is_handed_out_and_the_answer_counts) {
    for (const bool matches : {true, false}) {
        client_auth auth{request_for(auth_method::cleartext)};
        const auto asked = auth.start();
        EXPECT_EQ(asked.what, kind::send);
        EXPECT_EQ(body_of(asked.bytes, 3), "");
        const auto check = give(auth, "pass word\0"s);
        ASSERT_EQ(check.what, kind::check_password);
        EXPECT_EQ(check.password.view(), "pass word");
        const auto action = auth.password_checked(matches);
        if (matches) {
            EXPECT_EQ(action.what, kind::accepted);
            EXPECT_EQ(action.bytes, ok_message);
        } else {
            expect_rejected(action, "28P01");
            EXPECT_EQ(action.error.message, wrong_password_text);
        }
    }
}

TEST(pg_auth, cleartext_over_an_exposed_transport_is_refused) {
    auto request = request_for(auth_method::cleartext);
    request.transport = password_transport::exposed;
    client_auth auth{request};
    expect_rejected(auth.start(), "28000");
    expect_rejected(give(auth, "secret\0"s), "08P01");
}

TEST(pg_auth, malformed_password_message_is_rejected) {
    for (const auto& payload : {""s, "secret"s, "sec\0ret\0"s, "secret\0\0"s, "\0\0"s}) {
        client_auth auth{request_for(auth_method::cleartext)};
        (void)auth.start();
        expect_rejected(give(auth, payload), "08P01");
    }
    client_auth empty{request_for(auth_method::cleartext)};
    (void)empty.start();
    expect_rejected(give(empty, "\0"s), "28P01");
}

TEST(pg_auth, oversized_payload_is_rejected) {
    client_auth cleartext{request_for(auth_method::cleartext)};
    (void)cleartext.start();
    EXPECT_EQ(cleartext.payload_limit(), 65535U);
    expect_rejected(give(cleartext, std::string(65535, 'x') + '\0'), "08P01");
    client_auth scram{request_for(auth_method::scram)};
    (void)scram.start();
    EXPECT_EQ(scram.payload_limit(), 1024U);
    expect_rejected(give(scram, initial("SCRAM-SHA-256", "n,,n=,r=" + std::string(1024, 'x'))),
                    "08P01");
}

TEST(pg_auth, plus_is_offered_first_and_only_under_tls) {
    client_auth plain{request_for(auth_method::scram)};
    EXPECT_EQ(body_of(plain.start().bytes, 10), "SCRAM-SHA-256\0\0"s);
    auto request = request_for(auth_method::scram);
    request.end_point_hash = end_point;
    client_auth tls{request};
    EXPECT_EQ(body_of(tls.start().bytes, 10), "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s);
}

// Runs the exchange to its end.
auth_action login(auth_request request, std::string_view mechanism, scram_client client) {
    client_auth auth{std::move(request)};
    (void)auth.start();
    const auto challenge = give(auth, initial(mechanism, client.first()));
    if (challenge.what != kind::send) return give(auth, "");
    auto last = give(auth, client.final(body_of(challenge.bytes, 11)));
    if (last.what == kind::accepted) {
        EXPECT_EQ(last.bytes.substr(last.bytes.size() - 9), ok_message);
        EXPECT_TRUE(client.accepts(body_of(last.bytes.substr(0, last.bytes.size() - 9), 12)));
    }
    return last;
}

TEST(pg_auth, scram_with_the_right_password_is_accepted) {
    EXPECT_EQ(login(request_for(auth_method::scram), "SCRAM-SHA-256", scram_client{"pencil"}).what,
              kind::accepted);
    auto request = request_for(auth_method::scram);
    request.end_point_hash = end_point;
    EXPECT_EQ(login(request, "SCRAM-SHA-256", scram_client{"pencil"}).what, kind::accepted);
    EXPECT_EQ(login(request, "SCRAM-SHA-256-PLUS",
                    scram_client{"pencil", "p=tls-server-end-point,,", std::string{end_point}})
                  .what,
              kind::accepted);
}

TEST(pg_auth, scram_binding_to_another_certificate_is_rejected) {
    auto request = request_for(auth_method::scram);
    request.end_point_hash = end_point;
    expect_rejected(login(request, "SCRAM-SHA-256-PLUS",
                          scram_client{"pencil", "p=tls-server-end-point,,", std::string(32, 'x')}),
                    "28000");
}

TEST(pg_auth, scram_downgrade_is_rejected_only_when_plus_was_offered) {
    client_auth plain{request_for(auth_method::scram)};
    (void)plain.start();
    EXPECT_EQ(give(plain, initial("SCRAM-SHA-256", "y,,n=,r=abc")).what, kind::send);
    auto request = request_for(auth_method::scram);
    request.end_point_hash = end_point;
    client_auth tls{request};
    (void)tls.start();
    expect_rejected(give(tls, initial("SCRAM-SHA-256", "y,,n=,r=abc")), "28000");
}

TEST(pg_auth, scram_without_initial_response_gets_an_empty_challenge) {
    client_auth auth{request_for(auth_method::scram)};
    (void)auth.start();
    const auto empty = give(auth, "SCRAM-SHA-256\0"s + u32(0xffffffff));
    ASSERT_EQ(empty.what, kind::send);
    EXPECT_EQ(body_of(empty.bytes, 11), "");
    scram_client client{"pencil"};
    const auto challenge = give(auth, client.first());
    ASSERT_EQ(challenge.what, kind::send);
    EXPECT_EQ(give(auth, client.final(body_of(challenge.bytes, 11))).what, kind::accepted);
}

// What a client sees of a login that fails at the proof: everything sent to it, in order.
struct transcript {
    std::string mechanisms;
    std::string challenge;
    auth_action end;
};

transcript failing_login(std::optional<scram_verifier> verifier, std::string end_point_hash = {}) {
    auto request = request_for(auth_method::scram);
    request.verifier = std::move(verifier);
    request.end_point_hash = std::move(end_point_hash);
    client_auth auth{std::move(request)};
    scram_client client{"wrong"};
    transcript out;
    out.mechanisms = auth.start().bytes;
    out.challenge = give(auth, initial("SCRAM-SHA-256", client.first())).bytes;
    out.end = give(auth, client.final(body_of(out.challenge, 11)));
    return out;
}

TEST(pg_auth, unknown_user_and_wrong_password_look_alike) {
    for (const auto& hash : {std::string{}, std::string{end_point}}) {
        const auto wrong = failing_login(known(), hash);
        const auto unknown = failing_login(std::nullopt, hash);
        const auto again = failing_login(std::nullopt, hash);
        EXPECT_EQ(wrong.mechanisms, unknown.mechanisms);
        EXPECT_EQ(wrong.challenge.size(), unknown.challenge.size());
        EXPECT_EQ(unknown.challenge, again.challenge) << "the mock's salt must not change";
        expect_rejected(unknown.end, "28P01");
        EXPECT_EQ(wrong.end.error, unknown.end.error);
        EXPECT_EQ(wrong.end.error.message, wrong_password_text);
        EXPECT_EQ(wrong.end.bytes, unknown.end.bytes);
        // Same shape: nonce, a salt of 16 bytes, the same iterations.
        const auto salt_at = wrong.challenge.find(",s=") + 3;
        EXPECT_EQ(wrong.challenge.substr(0, salt_at), unknown.challenge.substr(0, salt_at));
        EXPECT_EQ(wrong.challenge.substr(salt_at + 24), unknown.challenge.substr(salt_at + 24));
    }
}

TEST(pg_auth, nonce_is_ours_and_the_clients) {
    client_auth auth{request_for(auth_method::scram)};
    (void)auth.start();
    const auto body = body_of(give(auth, initial("SCRAM-SHA-256", "n,,n=,r=abc")).bytes, 11);
    EXPECT_TRUE(body.starts_with("r=abc" + base64_encode(as_bytes(nonce)) + ",s="));
}

TEST(pg_auth, malformed_initial_response_is_rejected) {
    const std::string first = "n,,n=,r=abc";
    for (const auto& payload : {
             ""s,
             "SCRAM-SHA-256"s,
             "SCRAM-SHA-256\0"s,
             "SCRAM-SHA-256\0\0\0\0"s,
             "SCRAM-SHA-256\0"s + u32(0),
             "SCRAM-SHA-256\0"s + u32(first.size() - 1) + first,
             "SCRAM-SHA-256\0"s + u32(first.size() + 1) + first,
             "SCRAM-SHA-256\0"s + u32(0x7fffffff) + first,
             "SCRAM-SHA-256\0"s + u32(0xfffffffe) + first,
             "SCRAM-SHA-256\0"s + u32(0xffffffff) + first,
             initial("", first),
             initial("scram-sha-256", first),
             initial("SCRAM-SHA-1", first),
             initial("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=abc"),
             initial("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=abc"),
         }) {
        client_auth auth{request_for(auth_method::scram)};
        (void)auth.start();
        expect_rejected(give(auth, payload), "08P01");
    }
}

// The happy script, with something else in the place of each of its messages.
TEST(pg_auth, each_step_fails_on_any_other_message_and_stays_failed) {
    scram_client client{"pencil"};
    const auto first = initial("SCRAM-SHA-256", client.first());
    for (const std::size_t good_steps : {0U, 1U}) {
        for (const auto& [type, payload] : std::vector<std::pair<char, std::string>>{
                 {'Q', "select 1\0"s},
                 {'X', ""},
                 {'P', first},
                 {'\0', first},
                 {'p', ""},
                 {'p', "garbage"},
                 {'p', std::string(1024, '\0')},
                 {'p', std::string(1024, ',')},
             }) {
            client_auth auth{request_for(auth_method::scram)};
            (void)auth.start();
            if (good_steps == 1) {
                ASSERT_EQ(give(auth, first).what, kind::send);
            }
            expect_rejected(give(auth, payload, type), "08P01");
            expect_rejected(give(auth, first), "08P01");
            expect_rejected(auth.password_checked(true), "08P01");
        }
    }
}

TEST(pg_auth, initial_response_cut_at_every_byte_is_rejected) {
    scram_client client{"pencil"};
    const auto first = initial("SCRAM-SHA-256", client.first());
    for (std::size_t size = 0; size < first.size(); ++size) {
        client_auth auth{request_for(auth_method::scram)};
        (void)auth.start();
        expect_rejected(give(auth, first.substr(0, size)), "08P01");
    }
}

TEST(pg_auth, calls_out_of_order_are_rejected) {
    for (const auto method : {auth_method::trust, auth_method::cleartext, auth_method::scram}) {
        client_auth before{request_for(method)};
        expect_rejected(give(before, "secret\0"s), "08P01");
        client_auth twice{request_for(method)};
        (void)twice.start();
        expect_rejected(twice.start(), "08P01");
        client_auth unasked{request_for(method)};
        (void)unasked.start();
        expect_rejected(unasked.password_checked(true), "08P01");
    }
    client_auth second{request_for(auth_method::cleartext)};
    (void)second.start();
    ASSERT_EQ(give(second, "secret\0"s).what, kind::check_password);
    expect_rejected(give(second, "secret\0"s), "08P01");
    expect_rejected(second.password_checked(true), "08P01");
}

TEST(pg_auth, no_error_repeats_the_password) {
    client_auth auth{request_for(auth_method::cleartext)};
    (void)auth.start();
    (void)give(auth, "hunter2\0"s);
    EXPECT_EQ(auth.password_checked(false).error.message.find("hunter2"), std::string::npos);
    client_auth broken{request_for(auth_method::cleartext)};
    (void)broken.start();
    EXPECT_EQ(give(broken, "hunter2"s).error.message.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace sluice::protocol
