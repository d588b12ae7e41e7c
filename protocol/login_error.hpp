// Why a login was refused: what the caller puts into the ErrorResponse (severity FATAL) before it
// closes. Texts are for the client's eyes: no secret and no hint whether a user exists.
#pragma once

#include <string>
#include <string_view>

namespace sluice::protocol {

struct login_error {
    const char* sqlstate = "";  // a literal of five characters; empty: no error
    std::string message;
    std::string hint;  // empty: none

    bool operator==(const login_error& other) const {
        return std::string_view{sqlstate} == other.sqlstate && message == other.message &&
               hint == other.hint;
    }
};

namespace sqlstate {
inline constexpr const char* protocol_violation = "08P01";
inline constexpr const char* feature_not_supported = "0A000";
inline constexpr const char* invalid_parameter_value = "22023";
inline constexpr const char* invalid_authorization = "28000";
inline constexpr const char* invalid_password = "28P01";
inline constexpr const char* syntax_error = "42601";
}  // namespace sqlstate

}  // namespace sluice::protocol
