#include "config/expand.hpp"

#include <algorithm>

namespace sluice::config {

namespace {

constexpr std::string_view file_prefix = "file:";

bool is_name(std::string_view text) {
    const auto letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    return !text.empty() && letter(text.front()) &&
           std::all_of(text.begin(), text.end(),
                       [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

std::string variable(const std::string& name, const environment& env) {
    auto value = env.variable(name);
    if (!value) {
        throw expand_error("${" + name + "}, which is not set",
                           "the environment variable " + name + " to be set");
    }
    return *std::move(value);
}

// `written` is the path before the variables in it were replaced, and all that an error shows.
std::string file_content(const std::string& path, std::string_view written,
                         const environment& env) {
    auto file = env.read_file(path);
    if (file.error) {
        throw expand_error(
            "${file:" + std::string(written) + "}, which cannot be read: " + file.error.message(),
            "a readable file");
    }
    // Editors and `echo` end a file with a line end that is no part of a secret.
    while (!file.text.empty() && (file.text.back() == '\n' || file.text.back() == '\r')) {
        file.text.pop_back();
    }
    return std::move(file.text);
}

// The index of the "}" that closes the "{" at `open`; npos when there is none.
std::size_t closing_brace(std::string_view text, std::size_t open) {
    int depth = 0;
    for (std::size_t i = open; i < text.size(); ++i) {
        if (text[i] == '{') ++depth;
        if (text[i] == '}' && --depth == 0) return i;
    }
    return std::string_view::npos;
}

[[noreturn]] void fail_malformed(const std::string& found) {
    throw expand_error(found, "${NAME}, ${file:PATH}, or $$ for a dollar");
}

// A path, in which ${NAME} may stand: ${file:${CREDENTIALS_DIRECTORY}/alice}.
std::string expand_path(std::string_view text, const environment& env) {
    std::string path;
    for (;;) {
        const auto at = text.find("${");
        path += text.substr(0, at);
        if (at == std::string_view::npos) return path;
        const auto end = text.find('}', at);
        const auto name = text.substr(at + 2, end - at - 2);
        if (end == std::string_view::npos || !is_name(name))
            fail_malformed("a malformed ${file:...}");
        path += variable(std::string(name), env);
        text.remove_prefix(end + 1);
    }
}

std::string expand_reference(std::string_view inside, const environment& env) {
    if (is_name(inside)) return variable(std::string(inside), env);
    if (!inside.starts_with(file_prefix) || inside.size() == file_prefix.size()) {
        fail_malformed("a malformed ${...}");
    }
    const auto written = inside.substr(file_prefix.size());
    return file_content(expand_path(written, env), written, env);
}

}  // namespace

expanded_text expand(std::string_view text, const environment& env) {
    expanded_text out;
    while (!text.empty()) {
        const auto dollar = text.find('$');
        out.text += text.substr(0, dollar);
        if (dollar == std::string_view::npos) break;
        text.remove_prefix(dollar);
        if (text.starts_with("$$")) {
            out.text += '$';
            text.remove_prefix(2);
        } else if (text.starts_with("${")) {
            const auto end = closing_brace(text, 1);
            if (end == std::string_view::npos) {
                fail_malformed("a ${ that is never closed");
            }
            out.text += expand_reference(text.substr(2, end - 2), env);
            out.from_outside = true;
            text.remove_prefix(end + 1);
        } else {
            out.text += '$';
            text.remove_prefix(1);
        }
    }
    return out;
}

}  // namespace sluice::config
