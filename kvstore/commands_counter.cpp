// Values that are numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT. They keep the key's expiry.
// https://redis.io/commands/incr/

#include <charconv>
#include <cmath>
#include <limits>

#include "kvstore/client.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

void add(call& c, std::int64_t difference) {
    const auto key = c.arg(1);
    const auto at = c.here->look_up(key);
    const auto* const old = at.live(c.now());
    std::int64_t value = 0;
    if (old != nullptr && !to_integer(old->value(), value)) return c.not_an_integer();
    if (__builtin_add_overflow(value, difference, &value)) {
        return c.out.error("ERR increment or decrement would overflow");
    }
    char text[most_integer_size];
    const auto* const end = std::to_chars(text, text + sizeof text, value).ptr;
    const std::string_view bytes(text, static_cast<std::size_t>(end - text));
    if (c.put(at, key, bytes, old == nullptr ? never : old->expiry())) c.out.integer(value);
}

void incr(call& c) {
    add(c, 1);
}

void decr(call& c) {
    add(c, -1);
}

void incrby(call& c) {
    std::int64_t difference = 0;
    if (c.integer(2, difference)) add(c, difference);
}

void decrby(call& c) {
    std::int64_t difference = 0;
    if (!c.integer(2, difference)) return;
    if (difference == std::numeric_limits<std::int64_t>::min()) {
        return c.out.error("ERR decrement would overflow");
    }
    add(c, -difference);
}

void incrbyfloat(call& c) {
    const auto key = c.arg(1);
    const auto at = c.here->look_up(key);
    const auto* const old = at.live(c.now());
    const auto before = old == nullptr ? 0.0L : parse_float(old->value());
    const auto difference = parse_float(c.arg(2));
    if (!before || !difference) return c.out.error("ERR value is not a valid float");
    const auto value = *before + *difference;
    if (!std::isfinite(value)) {
        return c.out.error("ERR increment would produce NaN or Infinity");
    }
    const auto text = format_float(value);
    if (c.put(at, key, text, old == nullptr ? never : old->expiry())) c.out.bulk(text);
}

constexpr command rows[] = {
    {"incr", 2, write | denyoom | fast | data, 1, 1, 1, incr, "string", "1.0.0",
     "Adds one to the integer that a key holds; a key that is not there holds 0.", "O(1)"},
    {"decr", 2, write | denyoom | fast | data, 1, 1, 1, decr, "string", "1.0.0",
     "Takes one from the integer that a key holds.", "O(1)"},
    {"incrby", 3, write | denyoom | fast | data, 1, 1, 1, incrby, "string", "1.0.0",
     "Adds to the integer that a key holds.", "O(1)"},
    {"decrby", 3, write | denyoom | fast | data, 1, 1, 1, decrby, "string", "1.0.0",
     "Takes from the integer that a key holds.", "O(1)"},
    {"incrbyfloat", 3, write | denyoom | fast | data, 1, 1, 1, incrbyfloat, "string", "2.6.0",
     "Adds to the number that a key holds, which may have a fraction.", "O(1)"},
};

}  // namespace

std::span<const command> counter_commands() {
    return rows;
}

}  // namespace sluice::kvstore
