#include "kvstore/command_syntax.hpp"

#include <algorithm>

namespace sluice::kvstore {

namespace {

// The texts are ours and right, so it need not complain: it always ends.
class reader {
  public:
    explicit reader(std::string_view text) noexcept : left_(text) {}

    std::vector<syntax_node> sequence() {
        std::vector<syntax_node> out;
        for (skip(); !left_.empty() && left_[0] != '|' && !is_end(left_[0]); skip()) {
            auto one = item();
            const auto dots = left_.starts_with("...");
            if (dots) left_.remove_prefix(3);
            one.multiple = dots;
            out.push_back(std::move(one));
        }
        return out;
    }

  private:
    static bool is_end(char c) noexcept { return c == ']' || c == ')'; }
    static bool is_token(std::string_view word) noexcept {
        return std::none_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    }

    void skip() noexcept {
        while (!left_.empty() && left_[0] == ' ')
            left_.remove_prefix(1);
    }

    std::string_view word() noexcept {
        const auto size = std::min(left_.find_first_of(" []()|."), left_.size());
        const auto out = left_.substr(0, size);
        left_.remove_prefix(size);
        return out;
    }

    syntax_node item() {
        if (left_[0] == '[' || left_[0] == '(') return group();
        syntax_node out;
        const auto first = word();
        out.name = first;
        if (!is_token(first)) return out;
        out.token = first;
        out.what = syntax_node::kind::token;
        std::transform(out.name.begin(), out.name.end(), out.name.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        const auto before = left_;
        skip();
        if (left_.empty()) return out;
        if (left_[0] == '(') {
            auto value = group();
            value.token = out.token;
            value.name = out.name;
            return value;
        }
        const auto next = word();
        if (next.empty() || is_token(next)) {
            left_ = before;
            return out;
        }
        out.what = syntax_node::kind::value;
        out.name = next;
        return out;
    }

    syntax_node group() {
        const bool optional = left_[0] == '[';
        left_.remove_prefix(1);
        std::vector<syntax_node> choices;
        for (;;) {
            choices.push_back(as_one(sequence()));
            if (left_.empty() || left_[0] != '|') break;
            left_.remove_prefix(1);
        }
        if (!left_.empty()) left_.remove_prefix(1);
        syntax_node out;
        if (choices.size() == 1) {
            out = std::move(choices[0]);
        } else {
            out.what = syntax_node::kind::one_of;
            out.name = choices[0].name + "-or-" + choices[1].name;
            out.inside = std::move(choices);
        }
        out.optional = optional;
        return out;
    }

    static syntax_node as_one(std::vector<syntax_node> several) {
        if (several.size() == 1) return std::move(several[0]);
        syntax_node out;
        out.what = syntax_node::kind::block;
        out.name = several.empty() ? "" : several[0].name + "-block";
        out.inside = std::move(several);
        return out;
    }

    std::string_view left_;
};

}  // namespace

std::vector<syntax_node> parse_syntax(std::string_view text) {
    return reader(text).sequence();
}

}  // namespace sluice::kvstore
