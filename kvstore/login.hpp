// What AUTH, and HELLO with AUTH, come to: by themselves, and between MULTI and EXEC, where nothing
// can be waited for once commands run, so that EXEC has slow passwords checked before.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kvstore/client.hpp"

namespace sluice::kvstore {

struct login_words {
    std::string_view name;
    std::string_view password;
};

// What HELLO asks for; its words stay the client's.
struct hello_options {
    std::int64_t version = 0;
    std::optional<login_words> login;
    std::optional<std::string_view> client_name;
};
// Empty: fine. Else Redis's error. `out.version` is that of before.
[[nodiscard]] std::string read_hello(std::span<const std::string_view> args, hello_options& out);

// The name and the password that a command is going to check; nothing for other commands, and for
// those that end with another error first.
[[nodiscard]] std::optional<login_words> login_of(std::span<const std::string_view> args,
                                                  const access_list& access);

// tls.mode verify-full: a certificate speaks for one user.
[[nodiscard]] bool certificate_is_of_another(const call& c, std::string_view name);

}  // namespace sluice::kvstore
