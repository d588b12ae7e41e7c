// A hash of a statement's text without its constants, comments and spacing: texts that differ in
// nothing else have the same shape, so that an app that writes its values into its texts has few of
// them. One pass, no allocation. Different statements may share a shape by chance only. Pure, any
// thread; any bytes are a text.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::protocol {

// `seed` sets the texts of one place apart from those of another. Never 0.
[[nodiscard]] std::uint64_t statement_shape(std::string_view sql, bool standard_strings,
                                            std::uint64_t seed) noexcept;

// A hash of the text as it is: an eighth of the time, for texts that come again word by word.
[[nodiscard]] std::uint64_t exact_statement(std::string_view sql, std::uint64_t seed) noexcept;

}  // namespace sluice::protocol
