// What lies behind a key: OBJECT and MEMORY, each with subcommands.

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

// --- OBJECT ---

// The names by which Redis tells how it would keep such a string.
std::string_view encoding_of(std::string_view value) {
    constexpr std::size_t most_embedded = 44;
    if (parse_integer(value)) return "int";
    return value.size() <= most_embedded ? "embstr" : "raw";
}

void object_encoding(call& c) {
    const auto* const found = c.look(c.arg(2));
    if (found == nullptr) return c.out.nil();
    c.out.bulk(encoding_of(found->value()));
}

// Redis shares the integers below 10000 and says so.
void object_refcount(call& c) {
    const auto* const found = c.look(c.arg(2));
    if (found == nullptr) return c.out.nil();
    const auto number = parse_integer(found->value());
    c.out.integer(number && *number >= 0 && *number < 10000 ? INT32_MAX : 1);
}

// Zero: the log gave it back at the start, and nobody has used it since.
void object_idletime(call& c) {
    const auto* const found = c.look(c.arg(2));
    if (found == nullptr) return c.out.nil();
    const auto idle = c.now() / 1000 - time_ms{found->used};
    c.out.integer(found->used == 0 || idle < 0 ? 0 : idle);
}

void object_freq(call& c) {
    if (c.look(c.arg(2)) == nullptr) return c.out.nil();
    c.out.error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
        "that when switching between policies at runtime LRU and LFU data will take some time to "
        "adjust.");
}

// --- MEMORY ---

// What malloc takes for so many bytes: 8 of its own, in steps of 16.
constexpr std::uint64_t allocated(std::uint64_t bytes) noexcept {
    const auto with_header = (bytes + 8 + 15) / 16 * 16;
    return with_header < 32 ? 32 : with_header;
}

std::uint64_t memory_of(const entry& one) noexcept {
    const auto* const big = one.shared();
    auto out = sizeof(entry) + one.key_size();
    if (one.expires()) out += 16;
    out += big == nullptr ? one.value_size() : pointer_size;
    out = allocated(out) + pointer_size;
    if (big != nullptr) out += allocated(sizeof(blob) + big->capacity());
    if (one.expires()) out += sizeof(time_ms) + pointer_size;
    return out;
}

// SAMPLES is for values of many parts, which there are none of.
void memory_usage(call& c) {
    for (std::size_t i = 3; i < c.args.size(); i += 2) {
        if (!c.is(i, "samples") || i + 1 >= c.args.size()) return c.syntax_error();
        std::int64_t samples = 0;
        if (!c.integer(i + 1, samples)) return;
        if (samples < 0) return c.syntax_error();
    }
    const auto* const found = c.look(c.arg(2));
    if (found == nullptr) return c.out.nil();
    c.out.integer(static_cast<std::int64_t>(memory_of(*found)));
}

void memory_doctor(call& c) {
    const auto most = c.in.settings->max_memory;
    const auto taken = c.in.db.memory();
    if (c.in.db.is_over_memory()) {
        return c.out.verbatim("The projects in memory take " + std::to_string(taken) +
                              " bytes, more than kv.max_memory (" + std::to_string(most) +
                              "): commands that add data are refused. Delete keys, raise "
                              "kv.max_memory, or lower kv.project_idle_timeout.\n");
    }
    if (most != 0 && taken > most - most / 10) {
        return c.out.verbatim("The projects in memory take " + std::to_string(taken) +
                              " bytes, more than nine tenths of kv.max_memory (" +
                              std::to_string(most) + ").\n");
    }
    c.out.verbatim("No memory problem was found.\n");
}

// Of the process, of all projects and of the selected one.
void memory_stats(call& c) {
    const auto facts = c.in.outside.facts();
    const auto number = [&](std::string_view name, std::uint64_t value) {
        c.out.bulk(name);
        c.out.integer(static_cast<std::int64_t>(value));
    };
    auto& here = *c.here;
    const auto keys = here.keys();
    const auto overhead = here.memory() - here.bytes();
    const auto of_expiries = here.expiring() * (sizeof(time_ms) + pointer_size);
    c.out.map(7);
    number("peak.allocated", facts.peak_memory);
    number("total.allocated", facts.memory);
    number("projects.allocated", c.in.db.memory());
    c.out.bulk("db." + std::to_string(here.id()));
    c.out.map(2);
    number("overhead.hashtable.main", overhead - of_expiries);
    number("overhead.hashtable.expires", of_expiries);
    number("keys.count", keys);
    number("keys.bytes-per-key", keys == 0 ? 0 : here.memory() / keys);
    number("dataset.bytes", here.bytes());
}

constexpr command object_parts[] = {
    {"object|encoding", 3, readonly | data, 2, 2, 1, object_encoding, "generic", "2.2.3",
     "Tells how Redis would keep the value.", "O(1)"},
    {"object|freq", 3, readonly | data, 2, 2, 1, object_freq, "generic", "4.0.0",
     "An error: how often keys are used is not counted.", "O(1)"},
    {"object|help", 2, loading | stale, 0, 0, 0, show_help, "generic", "6.2.0", "Prints this help.",
     "O(1)"},
    {"object|idletime", 3, readonly | data, 2, 2, 1, object_idletime, "generic", "2.2.3",
     "Tells for how many seconds the key has not been used.", "O(1)"},
    {"object|refcount", 3, readonly | data, 2, 2, 1, object_refcount, "generic", "2.2.3",
     "Tells how many references Redis would count.", "O(1)"},
};

constexpr command memory_parts[] = {
    {"memory|doctor", 2, 0, 0, 0, 0, memory_doctor, "server", "4.0.0",
     "Tells whether memory is about to run out.", "O(1)"},
    {"memory|help", 2, loading | stale, 0, 0, 0, show_help, "server", "4.0.0", "Prints this help.",
     "O(1)"},
    {"memory|stats", 2, data, 0, 0, 0, memory_stats, "server", "4.0.0",
     "Tells what the process, all projects and the selected one take.", "O(1)"},
    {"memory|usage", -3, readonly | data, 2, 2, 1, memory_usage, "server", "4.0.0",
     "Tells the bytes that a key and its value take.", "O(1)"},
};

std::span<const command> parts_of_object() {
    return object_parts;
}

std::span<const command> parts_of_memory() {
    return memory_parts;
}

constexpr command rows[] = {
    {"object", -2, 0, 0, 0, 0, nullptr, "generic", "2.2.3",
     "Tells how a key is kept, and when it was last used.", "Depends on subcommand.", 0,
     parts_of_object},
    {"memory", -2, 0, 0, 0, 0, nullptr, "server", "4.0.0", "Tells what keys take in memory.",
     "Depends on subcommand.", 0, parts_of_memory},
};

}  // namespace

std::span<const command> object_commands() {
    return rows;
}

}  // namespace sluice::kvstore
