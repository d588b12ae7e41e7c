// A text of a statement, in a block of exactly its size. The first byte chooses how strings are
// read. Beside not crashing: what cannot hide a hint must not, and what is reported must hold.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "protocol/session_hints.hpp"

using namespace sluice::protocol;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void check_names(std::string_view sql) {
    const auto settings = settings_named_in(sql);
    require(settings.size() <= 32);
    for (const auto& name : settings) {
        require(name.find('.') != std::string::npos);
        require(std::none_of(name.begin(), name.end(), [](char c) {
            return (c >= 'A' && c <= 'Z') || c == '\'' || c == '"';
        }));
        require(std::count(settings.begin(), settings.end(), name) == 1);
    }
    (void)set_config_names_are_literal(sql);

    const auto channel = read_channel_statement(sql);
    require(channel.channel.size() <= 63);
    const bool named = channel.what == channel_statement::kind::listen ||
                       channel.what == channel_statement::kind::unlisten;
    require(named != channel.channel.empty());
    if (channel.what != channel_statement::kind::none)
        require((read_session_hints(sql, true, nullptr) & hint_channels) != 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const hint_words names({"take_lock", "f", "Mixed"});
    if (size == 0) return 0;
    const bool standard_strings = (data[0] & 1U) == 0;
    const auto copy = std::make_unique<char[]>(size - 1);
    std::copy(data + 1, data + size, copy.get());
    const std::string_view sql{copy.get(), size - 1};

    const auto plain = read_session_hints(sql, standard_strings, nullptr);
    require((plain & hint_named) == 0);
    const auto named = read_session_hints(sql, standard_strings, &names);
    require((named & ~std::uint32_t{hint_named}) == plain);

    // A comment or a statement in front hides nothing.
    const auto behind =
        read_session_hints("/* ' */; " + std::string{sql}, standard_strings, nullptr);
    require(behind == plain);
    const auto second =
        read_session_hints("SELECT 'a'; " + std::string{sql}, standard_strings, nullptr);
    require(second == plain);

    check_names(sql);
    return 0;
}
