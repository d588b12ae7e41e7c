// Finding keys: KEYS, SCAN, RANDOMKEY. Keys that have expired and are still there are met by the
// walk and passed over.

#include <algorithm>
#include <atomic>
#include <limits>
#include <random>
#include <vector>

#include "kvstore/client.hpp"
#include "kvstore/glob.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

// A pattern made ready for many keys: most begin with the keys' common prefix, and are told apart
// by it alone.
class key_filter {
  public:
    explicit key_filter(std::string_view pattern) noexcept
        : prefix_(literal_prefix(pattern).text), rest_(pattern.substr(prefix_.size())) {}

    [[nodiscard]] bool matches(std::string_view key) const noexcept {
        if (!key.starts_with(prefix_)) return false;
        if (rest_ == "*") return true;
        const auto rest = key.substr(prefix_.size());
        return rest_.empty() ? rest.empty() : glob_matches(rest_, rest);
    }
    [[nodiscard]] bool is_one_key() const noexcept { return rest_.empty(); }

  private:
    std::string_view prefix_;
    std::string_view rest_;
};

void answer_keys(call& c, const std::vector<const entry*>& found) {
    c.out.array(found.size());
    for (const auto* const one : found)
        c.out.bulk(one->key());
}

void keys(call& c) {
    const key_filter filter(c.arg(1));
    std::vector<const entry*> found;
    if (filter.is_one_key()) {
        if (const auto* const one = c.peek(c.arg(1))) found.push_back(one);
    } else {
        c.here->keys_table().for_each([&](const entry& one) {
            if (filter.matches(one.key()) && !one.is_expired(c.now())) found.push_back(&one);
        });
    }
    answer_keys(c, found);
}

struct scan_options {
    std::string_view pattern = "*";
    std::int64_t count = 10;
    bool strings = true;  // TYPE names the only type that there is
};

// False: it has answered.
bool read_options(call& c, scan_options& out) {
    for (std::size_t i = 2; i < c.args.size(); i += 2) {
        const bool has_value = i + 1 < c.args.size();
        if (c.is(i, "count") && has_value) {
            if (!c.integer(i + 1, out.count)) return false;
            if (out.count < 1) {
                c.syntax_error();
                return false;
            }
        } else if (c.is(i, "match") && has_value) {
            out.pattern = c.arg(i + 1);
        } else if (c.is(i, "type") && has_value) {
            out.strings = c.is(i + 1, "string");
        } else {
            c.syntax_error();
            return false;
        }
    }
    return true;
}

// COUNT is of the keys that are met, whether or not they are wanted; and a sparse table is not
// searched for long.
void scan(call& c) {
    const auto begin = parse_cursor(c.arg(1));
    if (!begin) return c.out.error("ERR invalid cursor");
    scan_options options;
    if (!read_options(c, options)) return;
    const auto count = static_cast<std::uint64_t>(options.count);
    auto places = count > std::numeric_limits<std::uint64_t>::max() / 10 ? count : count * 10;
    const key_filter filter(options.pattern);
    std::vector<const entry*> found;
    auto cursor = *begin;
    std::uint64_t met = 0;
    do {
        cursor = c.here->keys_table().scan(cursor, [&](const entry& one) {
            ++met;
            if (options.strings && filter.matches(one.key()) && !one.is_expired(c.now())) {
                found.push_back(&one);
            }
        });
    } while (cursor != 0 && places-- > 0 && met < count);
    c.out.array(2);
    c.out.bulk(std::to_string(cursor));
    answer_keys(c, found);
}

// Splitmix64: https://prng.di.unimi.it/splitmix64.c
std::uint64_t random_number() {
    static std::atomic<std::uint64_t> state{(std::uint64_t{std::random_device()()} << 32) |
                                            std::random_device()()};
    auto z = state.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

// When most keys have expired and nobody has removed them yet, guessing would take long: then the
// first key that has not, from some place of the table on.
const entry* any_living_key(table& among, time_ms now) {
    const entry* found = nullptr;
    const auto look = [&](const entry& one) {
        if (found == nullptr && !one.is_expired(now)) found = &one;
    };
    auto cursor = random_number();
    do {
        cursor = among.scan(cursor, look);
    } while (cursor != 0 && found == nullptr);
    if (found != nullptr) return found;
    do {
        cursor = among.scan(cursor, look);
    } while (cursor != 0 && found == nullptr);
    return found;
}

void randomkey(call& c) {
    auto& among = c.here->keys_table();
    const entry* found = nullptr;
    for (int tries = 0; tries < 100; ++tries) {
        found = among.random(random_number());
        if (found == nullptr || !found->is_expired(c.now())) break;
        found = nullptr;
    }
    if (found == nullptr) found = any_living_key(among, c.now());
    if (found == nullptr) return c.out.nil();
    c.out.bulk(found->key());
}

constexpr command rows[] = {
    {"keys", 2, readonly | data, 0, 0, 0, keys, "generic", "1.0.0",
     "Answers all keys that match a pattern.", "O(N), the keys of the project"},
    {"scan", -2, readonly | data, 0, 0, 0, scan, "generic", "2.8.0",
     "Walks through the keys, a few a call.", "O(1) a call"},
    {"randomkey", 1, readonly | data, 0, 0, 0, randomkey, "generic", "1.0.0", "Answers some key.",
     "O(1)"},
};

}  // namespace

std::span<const command> scan_commands() {
    return rows;
}

}  // namespace sluice::kvstore
