#include "protocol/session_hints.hpp"

#include <algorithm>

#include "protocol/hint_table.hpp"
#include "protocol/sql_words.hpp"

namespace sluice::protocol {

namespace {

using sql::char_kind;
using sql::match;
using sql::word_id;

constexpr std::size_t longest_name = 63;

// Where in a statement the next word stands, as far as it matters.
enum class place : std::uint8_t {
    anywhere,
    start,
    after_set,
    after_prepare,
    after_discard,
    after_without,
    after_begin,
    object,  // CREATE, ALTER, DROP: what kind of thing is still to come
};

// CREATE OR REPLACE TEMP RECURSIVE VIEW has the most words in front of what it makes.
constexpr int most_object_words = 5;

class scan {
  public:
    scan(std::string_view sql, bool standard_strings, const hint_words* names) noexcept
        : sql_(sql),
          p_(sql.data()),
          end_(sql.data() + sql.size()),
          names_(names != nullptr && !names->empty() ? names : nullptr),
          standard_(standard_strings) {}

    std::uint32_t run() noexcept;

  private:
    void word(const char* begin) noexcept;
    bool prefixed(const char* begin) noexcept;
    void quoted_name() noexcept;
    void string(sql::string_kind kind, const char* quote) noexcept;
    void dollar() noexcept;
    void in_string(std::string_view text) noexcept;

    word_id look_up(std::string_view text, std::uint64_t key, bool quoted) noexcept;
    void look_for_name(std::string_view text, bool quoted) noexcept;

    void step(word_id id) noexcept;
    void begin_statement(word_id id) noexcept;
    void after_set(word_id id) noexcept;
    void after_prepare(word_id id) noexcept;
    void object(word_id id) noexcept;
    void at_any_place(word_id id) noexcept;
    void default_value() noexcept;
    void end_statement() noexcept;
    [[nodiscard]] bool runs_what_it_says() const noexcept;
    [[nodiscard]] std::string_view rest() const noexcept {
        return {p_, static_cast<std::size_t>(end_ - p_)};
    }
    [[nodiscard]] bool next_is(std::string_view some) const noexcept;

    std::string_view sql_;
    const char* p_;
    const char* end_;
    const hint_words* names_;
    std::uint32_t bits_ = 0;
    int depth_ = 0;
    int object_words_ = 0;
    place place_ = place::start;
    word_id verb_ = word_id::none;
    bool standard_;
    bool defines_ = false;  // the statement makes something that runs later
    bool table_ = false;    // CREATE or ALTER TABLE
    bool process_id_ = false;
    bool writes_ = false;
};

std::uint32_t scan::run() noexcept {
    while (p_ != end_) {
        const char* const at = p_;
        switch (sql::kind_of(*at)) {
            case char_kind::word:
                p_ = sql::word_end(at + 1, end_);
                word(at);
                break;
            case char_kind::digit:
                do {
                    ++p_;
                } while (p_ != end_ && sql::kind_of(*p_) == char_kind::digit);
                break;
            case char_kind::quote:
                string(sql::string_kind::plain, at);
                break;
            case char_kind::double_quote:
                quoted_name();
                break;
            case char_kind::dollar:
                dollar();
                break;
            case char_kind::minus:
            case char_kind::slash:
                p_ = sql::skip_comment(at, end_);
                if (p_ == at) ++p_;
                break;
            case char_kind::open:
                ++depth_;
                ++p_;
                break;
            case char_kind::close:
                if (depth_ > 0) --depth_;
                ++p_;
                break;
            case char_kind::semicolon:
                if (depth_ == 0) place_ = place::start;
                ++p_;
                break;
            case char_kind::space:
            case char_kind::other:
                ++p_;
                break;
        }
    }
    end_statement();
    return bits_;
}

// A word that ends at p_.
inline void scan::word(const char* begin) noexcept {
    const auto size = static_cast<std::size_t>(p_ - begin);
    if (size == 1) [[unlikely]] {
        if (prefixed(begin)) return;
    }
    const auto key = sql::word_key(begin, size, end_);
    auto id = word_id::none;
    const auto row = sql::hint_slots.slots[sql::hint_slots.slot(key)];
    if (sql::hint_rows[row].key == key) [[unlikely]]
        id = look_up({begin, size}, key, false);
    if (names_ != nullptr && names_->may_contain(key)) [[unlikely]]
        look_for_name({begin, size}, false);
    if (id != word_id::none || place_ != place::anywhere) [[unlikely]]
        step(id);
}

// Whether the word of one letter that ends at p_ is the prefix of a string or name; that is read.
bool scan::prefixed(const char* begin) noexcept {
    const auto prefix = sql::read_prefix(begin, p_, end_);
    switch (prefix.what) {
        case sql::quote_prefix::kind::none:
            return false;
        case sql::quote_prefix::kind::string:
            string(prefix.string, prefix.quote);
            return true;
        case sql::quote_prefix::kind::name:
            break;
    }
    // A name in escapes may be any function's.
    p_ = sql::skip_quoted_name(prefix.quote, end_);
    bits_ |= hint_unknown;
    if (place_ != place::anywhere) step(word_id::none);
    return true;
}

void scan::quoted_name() noexcept {
    const char* begin = p_ + 1;
    p_ = sql::skip_quoted_name(p_, end_);
    const char* last = p_ > begin && p_[-1] == '"' ? p_ - 1 : p_;
    const std::string_view text{begin, static_cast<std::size_t>(last - begin)};
    const auto key = sql::word_key(text);
    const auto id = look_up(text, key, true);
    if (names_ != nullptr && names_->may_contain(key)) look_for_name(text, true);
    if (id != word_id::none || place_ != place::anywhere) step(id);
}

void scan::string(sql::string_kind kind, const char* quote) noexcept {
    p_ = sql::skip_string(quote, end_, kind, standard_);
    in_string({quote + 1, static_cast<std::size_t>(p_ - quote - 1)});
}

void scan::dollar() noexcept {
    std::string_view body;
    p_ = sql::skip_dollar(p_, end_, body);
    in_string(body);
}

// The search path is given in strings. The body of a function is not run where it is defined.
void scan::in_string(std::string_view text) noexcept {
    constexpr std::string_view sought = "pg_temp";
    constexpr std::size_t before = 2;  // the underscore is the rarest of its characters
    if (text.size() < sought.size() || defines_ || (bits_ & hint_temporary) != 0) return;
    std::size_t from = before;
    for (;;) {
        const auto at = text.find('_', from);
        if (at == std::string_view::npos) return;
        if (sql::equals_folded(text.substr(at - before, sought.size()), sought)) {
            bits_ |= hint_temporary;
            return;
        }
        from = at + 1;
    }
}

// Sets the bits of a word of the table and gives its meaning.
word_id scan::look_up(std::string_view text, std::uint64_t key, bool quoted) noexcept {
    std::size_t row = sql::hint_slots.slots[sql::hint_slots.slot(key)];
    for (; row != 0 && row < sql::hint_rows.size() && sql::hint_rows[row].key == key; ++row) {
        const auto& one = sql::hint_rows[row];
        if (quoted && one.how == match::word) continue;
        if (text.size() < one.text.size()) continue;
        if (one.how != match::prefix && text.size() != one.text.size()) continue;
        const auto head = text.substr(0, one.text.size());
        if (quoted ? head != one.text : !sql::equals_folded(head, one.text)) continue;
        bits_ |= one.bits;
        return one.id;
    }
    return word_id::none;
}

void scan::look_for_name(std::string_view text, bool quoted) noexcept {
    if (quoted) {
        if (text.find('"') != std::string_view::npos) {
            bits_ |= hint_named;  // the filter has said that it may be, and nobody writes this
        } else if (names_->contains(sql::cut_name(text))) {
            bits_ |= hint_named;
        }
        return;
    }
    text = sql::cut_name(text);
    std::array<char, longest_name> lower_case;
    std::transform(text.begin(), text.end(), lower_case.begin(), sql::lower);
    if (names_->contains({lower_case.data(), text.size()})) bits_ |= hint_named;
}

// A word that means something by itself or by where it stands.
void scan::step(word_id id) noexcept {
    const auto was = place_;
    place_ = place::anywhere;
    switch (was) {
        case place::anywhere:
            return at_any_place(id);
        case place::start:
            return begin_statement(id);
        case place::after_set:
            return after_set(id);
        case place::after_prepare:
            return after_prepare(id);
        case place::after_discard:
            if (id == word_id::all) bits_ |= hint_reset;
            return;
        case place::after_without:
            if (id != word_id::hold) at_any_place(id);
            return;
        case place::after_begin:
            if (id != word_id::atomic) return at_any_place(id);
            place_ = place::start;
            return;
        case place::object:
            return object(id);
    }
}

void scan::end_statement() noexcept {
    if (process_id_ && writes_) bits_ |= hint_process_id;
    process_id_ = writes_ = false;
}

void scan::begin_statement(word_id id) noexcept {
    end_statement();
    verb_ = id;
    defines_ = false;
    table_ = false;
    switch (id) {
        case word_id::update:
            writes_ = true;
            return;
        case word_id::set:
            place_ = place::after_set;
            return;
        case word_id::reset:
            bits_ |= hint_settings | hint_reset;
            return;
        case word_id::prepare:
            place_ = place::after_prepare;
            return;
        case word_id::deallocate:
            bits_ |= hint_prepared;
            return;
        case word_id::listen:
        case word_id::unlisten:
            bits_ |= hint_channels;
            return;
        case word_id::notify:
            bits_ |= hint_notifies;
            return;
        case word_id::load:
            bits_ |= hint_library;
            return;
        case word_id::do_word:
        case word_id::call:
            bits_ |= hint_unknown;
            return;
        case word_id::drop:
            bits_ |= hint_release;
            [[fallthrough]];
        case word_id::create:
        case word_id::alter:
            place_ = place::object;
            object_words_ = 0;
            return;
        case word_id::discard:
            bits_ |= hint_release | hint_discard;
            place_ = place::after_discard;
            return;
        case word_id::close:
        case word_id::commit:
        case word_id::end:
        case word_id::rollback:
        case word_id::abort:
            bits_ |= hint_release;
            return;
        default:
            return at_any_place(id);
    }
}

void scan::after_set(word_id id) noexcept {
    switch (id) {
        case word_id::local:
        case word_id::transaction:
        case word_id::constraints:
            if (next_is(".")) break;  // the first part of a setting's name
            if (id == word_id::local) bits_ |= hint_local;
            verb_ = word_id::local;  // nothing that outlives the transaction
            return;
        case word_id::names:
            if (next_is(";")) bits_ |= hint_reset;  // without a value: the default
            break;
        default:
            break;
    }
    bits_ |= hint_settings;
}

void scan::after_prepare(word_id id) noexcept {
    // PREPARE TRANSACTION is followed by a string, a statement that is named so by AS or (.
    if (id == word_id::transaction && !next_is("(aA")) {
        bits_ |= hint_release;
    } else {
        bits_ |= hint_prepared;
    }
}

void scan::object(word_id id) noexcept {
    switch (id) {
        case word_id::function_like:
        case word_id::policy:
            bits_ |= hint_functions;
            defines_ = verb_ != word_id::drop;
            return;
        case word_id::table:
            table_ = true;
            return;
        case word_id::default_word:  // ALTER DEFAULT PRIVILEGES
            return;
        default:
            break;
    }
    if (++object_words_ < most_object_words) place_ = place::object;
}

// False for statements in which names of statements only say what is or will be allowed.
bool scan::runs_what_it_says() const noexcept {
    return !defines_ && verb_ != word_id::grant && verb_ != word_id::revoke;
}

void scan::at_any_place(word_id id) noexcept {
    switch (id) {
        case word_id::hold:
            if (verb_ == word_id::declare) bits_ |= hint_cursors;
            return;
        case word_id::without:
            place_ = place::after_without;
            return;
        case word_id::begin:
            place_ = place::after_begin;
            return;
        case word_id::execute:
            if (runs_what_it_says()) bits_ |= hint_executes;
            return;
        case word_id::insert:
        case word_id::merge:
            if (!runs_what_it_says()) return;
            bits_ |= hint_sequences;
            writes_ = true;
            return;
        case word_id::from:
            if (verb_ == word_id::copy && depth_ == 0) bits_ |= hint_sequences;
            return;
        case word_id::default_word:
            return default_value();
        case word_id::local:  // SET TIME ZONE LOCAL is the default
            if (verb_ == word_id::set) bits_ |= hint_reset;
            return;
        case word_id::policy:
        case word_id::rename:
            if (table_) bits_ |= hint_functions;
            return;
        case word_id::grant:
        case word_id::revoke:
            if (verb_ == word_id::alter) verb_ = word_id::grant;
            return;
        case word_id::set_config:
            if ((bits_ & hint_settings) != 0 || !next_is("(")) return;
            bits_ |= outlives_transaction(rest(), standard_) ? hint_settings : hint_local;
            return;
        case word_id::process_id:
            process_id_ = true;
            return;
        default:
            return;
    }
}

void scan::default_value() noexcept {
    if (verb_ == word_id::set) {
        bits_ |= hint_reset;
    } else if (verb_ == word_id::create || verb_ == word_id::alter) {
        if (table_) bits_ |= hint_functions;
    } else if (verb_ != word_id::local) {
        bits_ |= hint_sequences;  // UPDATE ... SET id = DEFAULT
    }
}

// Whether what follows begins with one of these characters; the end of the text is like a ';'.
bool scan::next_is(std::string_view some) const noexcept {
    const char* p = sql::skip_blank(p_, end_);
    const char next = p == end_ ? ';' : *p;
    return some.find(next) != std::string_view::npos;
}

}  // namespace

std::uint32_t read_session_hints(std::string_view sql, bool standard_strings,
                                 const hint_words* names) noexcept {
    return scan(sql, standard_strings, names).run();
}

}  // namespace sluice::protocol
