// A text of a statement as people may see it: no constant passes, what comes out is short and valid
// UTF-8, and what spacing and comments there are makes no difference to its shape.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "protocol/statement_shape.hpp"
#include "protocol/statement_text.hpp"

using namespace sluice::protocol;

namespace {

constexpr std::size_t limit = 512;
constexpr std::string_view secret = "zq9secret";
constexpr std::string_view number = "914327";

void require(bool condition) {
    if (!condition) std::abort();
}

bool is_utf8(std::string_view text) {
    std::size_t follow = 0;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (follow > 0) {
            if ((byte & 0xc0U) != 0x80U) return false;
            --follow;
        } else if (byte >= 0x80) {
            if (byte < 0xc2 || byte > 0xf4) return false;
            follow = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
        }
    }
    return follow == 0;
}

// As an identifier, too, of which the grammar gives small letters. Escapes may spell anything.
bool may_say(std::string sql, std::string_view what) {
    for (auto& c : sql) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return sql.find(what) != std::string::npos || sql.find("u&") != std::string::npos;
}

void check_shown(const std::string& shown) {
    require(shown.size() <= limit + 16);
    require(is_utf8(shown));
    require(shown.find('\0') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const bool standard_strings = (data[0] & 1U) == 0;
    std::string sql;
    for (std::size_t i = 1; i < size; ++i)
        sql += static_cast<char>(data[i]);

    const auto shape = statement_shape(sql, standard_strings, 1);
    require(shape != 0 && shape == statement_shape(sql, standard_strings, 1));
    require(shape == statement_shape(" /* 'x' */ -- \n" + sql, standard_strings, 1));
    require(exact_statement(sql, 1) == exact_statement(sql, 1));
    check_shown(normalised_statement(sql, limit));
    check_shown(unparsed_statement(sql));

    if (may_say(sql, secret) || may_say(sql, number)) return 0;
    for (const std::string_view in_front :
         {"SELECT 'zq9secret', 914327 ", "INSERT INTO t VALUES (914327, $$zq9secret$$) ",
          "CREATE USER u PASSWORD 'zq9secret' ", "SET app.token = 'zq9secret' "}) {
        const auto shown = normalised_statement(std::string(in_front) + sql, limit);
        check_shown(shown);
        require(shown.find(secret) == std::string::npos);
        require(shown.find(number) == std::string::npos);
    }
    return 0;
}
