#include "pool/console_table.hpp"

#include <charconv>

#include "protocol/pg_build.hpp"

namespace sluice::pool {

namespace {

struct type_facts {
    std::uint32_t oid;
    std::uint16_t size;  // -1 as unsigned: it varies
};

type_facts facts_of(column_type type) noexcept {
    switch (type) {
        case column_type::int4:
            return {23, 4};
        case column_type::int8:
            return {20, 8};
        case column_type::numeric:
            return {1700, 0xffff};
        case column_type::text:
            break;
    }
    return {25, 0xffff};
}

void append_u16(std::string& out, std::uint32_t value) {
    out.push_back(static_cast<char>(value >> 8));
    out.push_back(static_cast<char>(value));
}

// PostgreSQL's numeric: digits to the base 10000, most significant first, then their number, the
// weight of the first, the sign and the digits behind the decimal point.
std::string binary_numeric(std::string_view text) {
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    while (text.starts_with('0'))
        text.remove_prefix(1);
    std::string digits;
    std::uint32_t count = 0;
    const auto groups = (text.size() + 3) / 4;
    std::size_t last_used = 0;
    for (std::size_t i = 0; i < groups; ++i) {
        const auto length = text.size() - (groups - 1 - i) * 4;  // up to the end of this group
        const auto from = length > 4 ? length - 4 : 0;
        std::uint32_t group = 0;
        for (const char c : text.substr(from, length - from))
            group = group * 10 + static_cast<std::uint32_t>(c - '0');
        append_u16(digits, group);
        ++count;
        if (group != 0) last_used = count;
    }
    digits.resize(last_used * 2);  // no zeros at the end
    std::string out;
    append_u16(out, static_cast<std::uint32_t>(last_used));
    append_u16(out, groups == 0 ? 0 : static_cast<std::uint32_t>(groups - 1));
    append_u16(out, negative ? 0x4000 : 0);
    append_u16(out, 0);
    return out + digits;
}

std::string binary_integer(std::string_view text, unsigned bytes) {
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    std::string out;
    for (unsigned i = bytes; i-- > 0;)
        out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (i * 8)));
    return out;
}

std::string binary_of(column_type type, const std::string& text) {
    switch (type) {
        case column_type::int4:
            return binary_integer(text, 4);
        case column_type::int8:
            return binary_integer(text, 8);
        case column_type::numeric:
            return binary_numeric(text);
        case column_type::text:
            break;
    }
    return text;
}

bool is_binary(const binary_columns& binary, std::size_t column) {
    return column < binary.size() && binary[column];
}

}  // namespace

void append_row_description(std::string& out, console_columns columns,
                            const binary_columns& binary) {
    protocol::frame_writer frame(out, 'T');
    std::string body;
    append_u16(body, static_cast<std::uint32_t>(columns.size()));
    frame.bytes(body);
    for (std::size_t i = 0; i < columns.size(); ++i) {
        const auto facts = facts_of(columns[i].type);
        frame.text(columns[i].name);
        frame.u32(0);  // of no table
        std::string rest;
        append_u16(rest, 0);
        frame.bytes(rest).u32(facts.oid);
        rest.clear();
        append_u16(rest, facts.size);
        frame.bytes(rest).u32(0xffff'ffff);
        rest.clear();
        append_u16(rest, is_binary(binary, i) ? 1 : 0);
        frame.bytes(rest);
    }
    frame.finish();
}

void append_data_row(std::string& out, console_columns columns, const console_row& row,
                     const binary_columns& binary) {
    protocol::frame_writer frame(out, 'D');
    std::string count;
    append_u16(count, static_cast<std::uint32_t>(columns.size()));
    frame.bytes(count);
    for (std::size_t i = 0; i < columns.size(); ++i) {
        const auto& cell = i < row.size() ? row[i] : console_cell();
        if (!cell.has_value()) {
            frame.u32(0xffff'ffff);
            continue;
        }
        if (is_binary(binary, i)) {
            const auto value = binary_of(columns[i].type, *cell);
            frame.u32(static_cast<std::uint32_t>(value.size())).bytes(value);
        } else {
            frame.u32(static_cast<std::uint32_t>(cell->size())).bytes(*cell);
        }
    }
    frame.finish();
}

}  // namespace sluice::pool
