// The words that session hints are made of, and a perfect hash over their first eight bytes that is
// searched for at compile time. Included by session_hints.cpp alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/session_hints.hpp"
#include "protocol/sql_words.hpp"

namespace sluice::protocol::sql {

// Words with a meaning of their own; the others of the table are hints wherever they stand.
enum class word_id : std::uint8_t {
    none,
    abort,
    all,
    alter,
    atomic,
    begin,
    call,
    close,
    commit,
    constraints,
    copy,
    create,
    deallocate,
    declare,
    default_word,
    discard,
    do_word,
    drop,
    end,
    execute,
    from,
    function_like,  // an object that is, holds or calls a function
    grant,
    hold,
    insert,
    listen,
    load,
    local,
    merge,
    names,
    notify,
    policy,
    prepare,
    process_id,
    rename,
    reset,
    revoke,
    rollback,
    set,
    set_config,
    table,
    transaction,
    unlisten,
    update,
    without,
};

enum class match : std::uint8_t {
    word,    // of the syntax: not when quoted
    name,    // also when quoted
    prefix,  // a name that begins so
};

struct hint_row {
    std::string_view text;
    word_id id = word_id::none;
    std::uint32_t bits = 0;
    match how = match::word;
    std::uint64_t key = 0;

    constexpr hint_row() = default;
    constexpr hint_row(std::string_view word, word_id its_id, match its_match = match::word)
        : text(word), id(its_id), how(its_match), key(word_key(word)) {}
    constexpr hint_row(std::string_view word, std::uint32_t its_bits, match its_match)
        : text(word), bits(its_bits), how(its_match), key(word_key(word)) {}
};

// Rows with the same first eight bytes stand together; the first row is for "no such word".
inline constexpr std::array hint_rows{
    hint_row{},
    hint_row{"abort", word_id::abort},
    hint_row{"aggregate", word_id::function_like},
    hint_row{"all", word_id::all},
    hint_row{"alter", word_id::alter},
    hint_row{"atomic", word_id::atomic},
    hint_row{"begin", word_id::begin},
    hint_row{"call", word_id::call},
    hint_row{"cast", word_id::function_like},
    hint_row{"close", word_id::close},
    hint_row{"commit", word_id::commit},
    hint_row{"constraints", word_id::constraints},
    hint_row{"copy", word_id::copy},
    hint_row{"create", word_id::create},
    hint_row{"currval", hint_reads_sequence, match::name},
    hint_row{"dblink_connect", hint_dblink, match::prefix},
    hint_row{"dblink_disconnect", hint_dblink, match::prefix},
    hint_row{"deallocate", word_id::deallocate},
    hint_row{"declare", word_id::declare},
    hint_row{"default", word_id::default_word},
    hint_row{"discard", word_id::discard},
    hint_row{"do", word_id::do_word},
    hint_row{"domain", word_id::function_like},
    hint_row{"drop", word_id::drop},
    hint_row{"end", word_id::end},
    hint_row{"execute", word_id::execute},
    hint_row{"extension", word_id::function_like},
    hint_row{"from", word_id::from},
    hint_row{"function", word_id::function_like},
    hint_row{"grant", word_id::grant},
    hint_row{"hold", word_id::hold},
    hint_row{"insert", word_id::insert},
    hint_row{"language", word_id::function_like},
    hint_row{"lastval", hint_reads_sequence, match::name},
    hint_row{"listen", word_id::listen},
    hint_row{"load", word_id::load},
    hint_row{"local", word_id::local},
    hint_row{"merge", word_id::merge},
    hint_row{"names", word_id::names},
    hint_row{"nextval", hint_sequences, match::name},
    hint_row{"notify", word_id::notify},
    hint_row{"operator", word_id::function_like},
    hint_row{"pg_advisory_lock", hint_locks, match::prefix},
    hint_row{"pg_advisory_unlock", hint_locks, match::prefix},
    hint_row{"pg_backend_pid", word_id::process_id, match::name},
    hint_row{"pg_listening_channels", hint_channels, match::name},
    hint_row{"pg_notify", hint_notifies, match::name},
    hint_row{"pg_prepared_statement", hint_executes, match::prefix},
    hint_row{"pg_temp", hint_temporary, match::name},
    hint_row{"pg_temp_", hint_temporary, match::prefix},
    hint_row{"pg_try_advisory_lock", hint_locks, match::prefix},
    hint_row{"policy", word_id::policy},
    hint_row{"prepare", word_id::prepare},
    hint_row{"procedure", word_id::function_like},
    hint_row{"rename", word_id::rename},
    hint_row{"reset", word_id::reset},
    hint_row{"revoke", word_id::revoke},
    hint_row{"rollback", word_id::rollback},
    hint_row{"routine", word_id::function_like},
    hint_row{"rule", word_id::function_like},
    hint_row{"schema", word_id::function_like},
    hint_row{"set", word_id::set},
    hint_row{"set_config", word_id::set_config, match::name},
    hint_row{"setseed", hint_seed, match::name},
    hint_row{"setval", hint_sequences, match::name},
    hint_row{"table", word_id::table},
    hint_row{"temp", hint_temporary, match::word},
    hint_row{"temporary", hint_temporary, match::word},
    hint_row{"transaction", word_id::transaction},
    hint_row{"trigger", word_id::function_like},
    hint_row{"type", word_id::function_like},
    hint_row{"unlisten", word_id::unlisten},
    hint_row{"update", word_id::update},
    hint_row{"view", word_id::function_like},
    hint_row{"without", word_id::without},
};

struct hint_index {
    static constexpr std::size_t slot_bits = 10;

    std::uint64_t factor = 0;
    std::array<std::uint8_t, std::size_t{1} << slot_bits> slots{};

    [[nodiscard]] constexpr std::size_t slot(std::uint64_t key) const noexcept {
        return static_cast<std::size_t>(key * factor >> (64 - slot_bits));
    }
};

// Tries factors until no two keys meet.
constexpr hint_index make_hint_index() {
    hint_index out;
    out.factor = 0x9E3779B97F4A7C15U;
    for (int attempt = 0; attempt < 2000; ++attempt) {
        out.slots = {};
        bool met = false;
        for (std::size_t i = 1; i < hint_rows.size() && !met; ++i) {
            auto& slot = out.slots[out.slot(hint_rows[i].key)];
            if (slot == 0) {
                slot = static_cast<std::uint8_t>(i);
            } else {
                met = hint_rows[slot].key != hint_rows[i].key;
            }
        }
        if (!met) return out;
        out.factor = out.factor * 6364136223846793005U + 1442695040888963406U;
        out.factor |= 1U;
    }
    return {};
}

inline constexpr hint_index hint_slots = make_hint_index();
static_assert(hint_slots.factor != 0, "no factor keeps the words apart");
static_assert(hint_rows.size() < 256);

constexpr bool same_keys_stand_together() {
    for (std::size_t i = 1; i < hint_rows.size(); ++i) {
        for (std::size_t j = i + 2; j < hint_rows.size(); ++j) {
            if (hint_rows[i].key == hint_rows[j].key && hint_rows[j - 1].key != hint_rows[i].key)
                return false;
        }
    }
    return true;
}
static_assert(same_keys_stand_together());

}  // namespace sluice::protocol::sql
