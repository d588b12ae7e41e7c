#include "config/environment.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace sluice::config {

namespace {

constexpr std::size_t largest_file = 1024 * 1024;

std::error_code last_error() {
    return {errno, std::generic_category()};
}

file_text read_whole_file(const std::string& path) {
    file_text out;
    errno = 0;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"),
                                                               &std::fclose);
    if (!file) {
        out.error = last_error();
        return out;
    }
    // Read rather than ask for the size: credentials and pipes have none worth trusting.
    std::string text(largest_file + 1, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file.get()));
    if (std::ferror(file.get()) != 0) {
        out.error = last_error();
    } else if (text.size() > largest_file) {
        out.error = std::make_error_code(std::errc::file_too_large);
    } else {
        out.text = std::move(text);
    }
    return out;
}

}  // namespace

environment process_environment() {
    return {.variable = [](const std::string& name) -> std::optional<std::string> {
                const char* value = std::getenv(name.c_str());
                if (value == nullptr) return std::nullopt;
                return value;
            },
            .read_file = read_whole_file};
}

}  // namespace sluice::config
