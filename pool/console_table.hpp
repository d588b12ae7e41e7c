// What a SHOW command answers with: typed columns and rows of text, and how both go over the wire,
// as text or in PostgreSQL's binary formats (int4, int8, numeric without fraction, text).
// Plain values; column names outlive the tables (they are constants).
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::pool {

enum class column_type : std::uint8_t { text, int4, int8, numeric };

struct console_column {
    std::string_view name;
    column_type type = column_type::text;
};

using console_columns = std::span<const console_column>;
using console_cell = std::optional<std::string>;
using console_row = std::vector<console_cell>;

class console_table {
  public:
    explicit console_table(console_columns columns) : columns_(columns.begin(), columns.end()) {}

    [[nodiscard]] console_columns columns() const noexcept { return columns_; }
    [[nodiscard]] const std::vector<console_row>& rows() const noexcept { return rows_; }

    // Begins a row; the calls below fill it from left to right.
    console_table& row() {
        rows_.emplace_back();
        rows_.back().reserve(columns_.size());
        return *this;
    }
    console_table& text(std::string_view value) {
        rows_.back().emplace_back(value);
        return *this;
    }
    console_table& number(std::integral auto value) {
        rows_.back().emplace_back(std::to_string(value));
        return *this;
    }
    console_table& null() {
        rows_.back().emplace_back();
        return *this;
    }
    console_table& text_or_null(std::string_view value) {
        return value.empty() ? null() : text(value);
    }

  private:
    std::vector<console_column> columns_;
    std::vector<console_row> rows_;
};

// The format of each column: true for binary. Empty: text for all.
using binary_columns = std::vector<bool>;

void append_row_description(std::string& out, console_columns columns,
                            const binary_columns& binary);
void append_data_row(std::string& out, console_columns columns, const console_row& row,
                     const binary_columns& binary);

}  // namespace sluice::pool
