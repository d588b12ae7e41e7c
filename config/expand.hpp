// ${NAME} and ${file:PATH} inside a text value.
//
//   text      := ( "$$" | "${" NAME "}" | "${file:" path "}" | any byte )*
//   path      := ( "${" NAME "}" | any byte but "}" )+
//
// "$$" is one dollar. Any other "$" that no "{" follows stays: SCRAM verifiers are full of them.
// What a variable or a file holds is not expanded again.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "config/environment.hpp"

namespace sluice::config {

// Names the variable or the file, never its content.
struct expand_error : std::runtime_error {
    expand_error(const std::string& found_text, const std::string& expected)
        : std::runtime_error(expected), found(found_text) {}
    std::string found;
};

struct expanded_text {
    std::string text;
    bool from_outside = false;  // a variable or a file is in it: not to be shown
};

[[nodiscard]] expanded_text expand(std::string_view text, const environment& env);

}  // namespace sluice::config
