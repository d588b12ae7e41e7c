// Verifiers, base64, saslprep, and an exchange whose two client messages are the input's lines.
#include <cstdint>
#include <cstdlib>

#include "protocol/base64.hpp"
#include "protocol/saslprep.hpp"
#include "protocol/scram.hpp"

using namespace sluice::protocol;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

// For the password "pencil"; the nonce is fixed so that the corpus can hold a whole login.
const scram_verifier& known() {
    static const auto verifier = derive_verifier("pencil", as_bytes("0123456789abcdef"), 4096);
    return verifier;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto selector = data[0];
    const auto text = as_text({data + 1, size - 1});

    if (const auto verifier = parse_verifier(text)) {
        require(parse_verifier(format_verifier(*verifier)) == verifier);
    }
    if (const auto bytes = base64_decode(text)) require(base64_encode(as_bytes(*bytes)) == text);
    require(saslprep(text).size() <= text.size());

    const auto binding = static_cast<scram_binding>(selector % 3);
    const auto account = (selector & 4) != 0 ? scram_account::mock : scram_account::real;
    scram_server server{known(), account, binding, as_bytes("0123456789abcdef0123456789abcdef"),
                        "3rfcNHYJY1ZVvWVs7j"};
    auto rest = text;
    for (int messages = 0; messages < 3; ++messages) {
        const auto line = rest.substr(0, rest.find('\n'));
        const auto step = server.step(line);
        require((step.what == scram_step::kind::failed) == step.text.empty());
        require((step.failure == scram_failure::none) == (step.what != scram_step::kind::failed));
        require(messages != 0 || step.what != scram_step::kind::done_with);
        require(messages != 2 || step.what == scram_step::kind::failed);
        require(account != scram_account::mock || step.what != scram_step::kind::done_with);
        rest.remove_prefix(line.size() == rest.size() ? rest.size() : line.size() + 1);
    }
    return 0;
}
