// Any text is a configuration or a config_error that holds no byte of what came from outside.
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "config/diff.hpp"
#include "config/load.hpp"

namespace {

using sluice::config::environment;
using sluice::config::file_text;

constexpr std::string_view outside = "\x01hunter2\x02";

environment fuzz_environment() {
    return {.variable = [](const std::string& name) -> std::optional<std::string> {
                if (name.size() % 2 == 0) return std::nullopt;
                return std::string(outside);
            },
            .read_file = [](const std::string& path) -> file_text {
                if (path.size() % 2 == 0) return {{}, std::make_error_code(std::errc::io_error)};
                return {std::string(outside), {}};
            }};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (text.find("hunter2") != std::string_view::npos) return 0;
    try {
        const auto loaded = sluice::config::load_text(text, "fuzz.yaml", fuzz_environment());
        const auto again = sluice::config::load_text(text, "fuzz.yaml", fuzz_environment());
        if (!sluice::config::diff(loaded.settings, again.settings).empty()) std::abort();
    } catch (const sluice::config::config_error& error) {
        const std::string_view what = error.what();
        if (what.find("hunter2") != std::string_view::npos) std::abort();
        if (error.expected.empty() || error.found.empty()) std::abort();
    }
    return 0;
}
