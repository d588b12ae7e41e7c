// A client's messages during authentication. Input: a byte that selects the method, then messages
// as on the wire (type, length, payload); a payload that is cut short is given as it is.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "protocol/pg_auth.hpp"

using namespace sluice::protocol;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

const scram_verifier& known() {
    static const auto verifier = derive_verifier("pencil", as_bytes("0123456789abcdef"), 4096);
    return verifier;
}

auth_request make_request(std::uint8_t selector) {
    auth_request out;
    out.method = static_cast<auth_method>(selector & 3);
    out.user = "app";
    out.nonce = as_bytes("0123456789abcdefgh");
    out.mock_secret = as_bytes("mock");
    if ((selector & 4) != 0) out.verifier = known();
    if ((selector & 8) != 0) out.end_point_hash = "0123456789abcdef0123456789abcdef";
    if ((selector & 16) != 0) out.transport = password_transport::protected_or_local;
    if ((selector & 32) != 0) out.certificate_names = {"app"};
    return out;
}

// Returns whether the exchange goes on.
bool check(const auth_action& action) {
    const bool rejected = action.what == auth_action::kind::rejected;
    require(rejected == !action.error.message.empty());
    require(action.password.empty() || action.what == auth_action::kind::check_password);
    for (std::size_t at = 0; at < action.bytes.size();) {  // whole Authentication messages
        const auto left = as_bytes(action.bytes).subspan(at);
        require(left.size() >= 9 && left[0] == 'R');
        const auto length = load_u32(left.data() + 1);
        require(length >= 8 && length < left.size() + 1);
        at += length + 1;
    }
    return action.what == auth_action::kind::send;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto selector = data[0];
    client_auth auth{make_request(selector)};
    bool goes_on = check(auth.start());
    reader in{{data + 1, size - 1}};
    while (goes_on && in.left() >= 5) {
        const auto type = static_cast<char>(in.u8());
        const auto length = in.u32();
        const auto payload = in.take(std::min<std::size_t>(length < 4 ? 0 : length - 4, in.left()));
        const auto action = auth.receive(type, payload);
        goes_on = check(action);
        if (action.what == auth_action::kind::check_password) {
            goes_on = check(auth.password_checked((selector & 64) != 0));
        }
        require((selector & 4) != 0 || (selector & 3) != 2 ||
                action.what != auth_action::kind::accepted);  // nobody gets in as an unknown user
    }
    return 0;
}
