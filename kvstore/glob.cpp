#include "kvstore/glob.hpp"

#include <utility>

namespace sluice::kvstore {

namespace {

unsigned char byte(char c) noexcept {
    return static_cast<unsigned char>(c);
}

// Matches one byte against the class that begins behind the '[' at `at`, and moves `at` behind it.
// An unterminated class ends with the pattern.
bool class_matches(std::string_view pattern, std::size_t& at, char c) noexcept {
    const bool negated = at < pattern.size() && pattern[at] == '^';
    if (negated) ++at;
    bool found = false;
    while (at < pattern.size() && pattern[at] != ']') {
        if (pattern[at] == '\\' && at + 1 < pattern.size()) {
            ++at;
            found = found || pattern[at] == c;
        } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
            auto low = byte(pattern[at]);
            auto high = byte(pattern[at + 2]);
            if (low > high) std::swap(low, high);
            found = found || (byte(c) >= low && byte(c) <= high);
            at += 2;
        } else {
            found = found || pattern[at] == c;
        }
        ++at;
    }
    if (at < pattern.size()) ++at;  // the ']'
    return found != negated;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view text) noexcept {
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = std::string_view::npos;  // behind the last star
    std::size_t resume = 0;                     // where the text goes on if that star takes more
    while (t < text.size()) {
        bool fits = false;
        auto next = p;
        if (p < pattern.size() && pattern[p] == '*') {
            star = ++p;
            resume = t;
            continue;
        }
        if (p < pattern.size()) {
            const char c = pattern[p];
            if (c == '?') {
                fits = true;
                next = p + 1;
            } else if (c == '[') {
                next = p + 1;
                fits = class_matches(pattern, next, text[t]);
            } else {
                if (c == '\\' && p + 1 < pattern.size()) ++next;
                fits = pattern[next] == text[t];
                ++next;
            }
        }
        if (fits) {
            p = next;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        ++p;
    return p == pattern.size();
}

glob_prefix literal_prefix(std::string_view pattern) noexcept {
    const auto end = pattern.find_first_of("*?[\\");
    if (end == std::string_view::npos) return {pattern, false};
    return {pattern.substr(0, end), end + 1 == pattern.size() && pattern[end] == '*'};
}

}  // namespace sluice::kvstore
