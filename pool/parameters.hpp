// Sets of run-time parameters (name -> value), immutable and interned: two equal sets are the same
// object, so "does this server connection have the settings of this client" is one comparison of
// pointers. Names compare without regard to case, as in PostgreSQL, and are kept as first written.
// Thread-safe: the table of sets has a lock, the sets never change.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sluice::pool {

class parameter_set {
  public:
    using entry = std::pair<std::string, std::string>;

    [[nodiscard]] const std::vector<entry>& entries() const noexcept { return entries_; }
    [[nodiscard]] const std::string* find(std::string_view name) const noexcept;
    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }

  private:
    friend class parameter_table;
    std::vector<entry> entries_;  // sorted by name, in lower case
};

using parameters = std::shared_ptr<const parameter_set>;

// Compares names as PostgreSQL does.
[[nodiscard]] bool same_name(std::string_view a, std::string_view b) noexcept;

class parameter_table {
  public:
    parameter_table();

    [[nodiscard]] parameters none() const noexcept { return none_; }
    // `base` with the changes applied; a later change of a name wins.
    [[nodiscard]] parameters with(const parameters& base,
                                  const std::vector<parameter_set::entry>& changes);
    [[nodiscard]] parameters with(const parameters& base, std::string_view name,
                                  std::string_view value);
    [[nodiscard]] parameters without(const parameters& base, std::string_view name);

  private:
    [[nodiscard]] parameters intern(std::vector<parameter_set::entry> sorted);

    std::mutex mutex_;
    std::unordered_multimap<std::size_t, std::weak_ptr<const parameter_set>> sets_;
    std::size_t purge_at_ = 64;
    parameters none_;
};

// Appends a literal: E'' reads backslashes whatever standard_conforming_strings says.
void append_literal(std::string& out, std::string_view text);

// The SQL that brings a connection from the settings `from` to `to`, or "" when there is nothing
// to do. Values go through set_config, which takes them exactly as a startup packet would.
[[nodiscard]] std::string settings_sql(const parameter_set& from, const parameter_set& to);

// Whether every difference is of a kind that a server accepts again once it has accepted it
// (its check looks at nothing but the value), so that the change may travel in front of the
// client's own message without waiting for its outcome.
[[nodiscard]] bool change_cannot_fail(const parameter_set& from, const parameter_set& to);

}  // namespace sluice::pool
