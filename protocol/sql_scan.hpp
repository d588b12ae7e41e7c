// The little that has to be known of a statement's text: whether it takes away prepared statements.
// A scan of the first words, not a parse; comments in front of them are not looked behind.
#pragma once

#include <string>
#include <string_view>

namespace sluice::protocol {

enum class deallocation { none, one, all };

struct deallocate_text {
    deallocation what = deallocation::none;
    std::string name;  // as the server would read it: folded to lower case, or unquoted
};

// Recognises DEALLOCATE [PREPARE] {name | ALL}, DISCARD ALL and DISCARD PLANS' siblings (as all).
[[nodiscard]] deallocate_text read_deallocate(std::string_view sql);

}  // namespace sluice::protocol
