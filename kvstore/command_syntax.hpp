// How a command's arguments are written, as a tree: COMMAND DOCS gives it to redis-cli, which shows
// it while somebody types. The grammar of the text (command_details::syntax):
//   sequence := { item }          item := ( word | TOKEN [ word ] | group ) [ "..." ]
//   group := "[" choice "]" | "(" choice ")"          choice := sequence { "|" sequence }
// In brackets: may be left out. "...": may come again.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::kvstore {

struct syntax_node {
    enum class kind { value, token, one_of, block };
    kind what = kind::value;
    std::string name;
    std::string token;  // written before a value, or alone
    bool optional = false;
    bool multiple = false;
    std::vector<syntax_node> inside;
};

[[nodiscard]] std::vector<syntax_node> parse_syntax(std::string_view text);

}  // namespace sluice::kvstore
