// "Did you mean": what an unknown key was probably meant to be. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice::config {

// The candidate that `word` begins or is a typing mistake away from; empty when none is near.
[[nodiscard]] std::string_view nearest(std::string_view word,
                                       std::span<const std::string_view> candidates);

// Where a setting of PgBouncer or Redis has its place here, for the names that differ; empty when
// it has no other name.
[[nodiscard]] std::string_view renamed_setting(std::string_view their_name) noexcept;

}  // namespace sluice::config
