#include "pool/session_state.hpp"

#include <algorithm>
#include <utility>

#include "protocol/pg_frame.hpp"

namespace sluice::pool {

namespace {

// Rows of (kind, name, value). 's': a setting; 'S': one that takes a superuser; 'c': one of the
// application's own, which pg_settings does not list; 'r', 'a': role and session authorization.
constexpr std::string_view ask_settings =
    "SELECT CASE s.context WHEN 'superuser' THEN 'S' ELSE 's' END, s.name, s.setting "
    "FROM pg_catalog.pg_settings s "
    "WHERE s.source = 'session' AND s.name !~ '^transaction_' "
    "UNION ALL SELECT 'c', n, pg_catalog.current_setting(n, true) "
    "FROM pg_catalog.unnest($1::pg_catalog.text[]) n "
    "WHERE pg_catalog.current_setting(n, true) IS NOT NULL "
    "UNION ALL SELECT 'r', 'role', pg_catalog.current_setting('role') "
    "UNION ALL SELECT 'a', 'session_authorization', session_user::pg_catalog.text";

// 'q': a prepared statement. 'p': a reason to pin. 'l': a channel. Everything in a schema depends
// on it, which pg_depend's index finds at once.
constexpr std::string_view ask_pins =
    "SELECT 'q', name, CASE WHEN pg_catalog.octet_length(statement) <= 65536 THEN statement END "
    "FROM pg_catalog.pg_prepared_statements WHERE $1::pg_catalog.bool AND from_sql "
    "UNION ALL SELECT 'p', 'temporary', NULL WHERE pg_catalog.pg_my_temp_schema() <> 0 AND EXISTS "
    "(SELECT 1 FROM pg_catalog.pg_depend "
    "WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass "
    "AND refobjid = pg_catalog.pg_my_temp_schema()) "
    "UNION ALL SELECT 'p', 'cursor', NULL WHERE EXISTS "
    "(SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable) "
    "UNION ALL SELECT 'p', 'lock', NULL WHERE EXISTS "
    "(SELECT 1 FROM pg_catalog.pg_locks "
    "WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) "
    "UNION ALL SELECT 'l', c, NULL FROM pg_catalog.pg_listening_channels() c";

struct column {
    bool is_null = false;
    std::string_view text;
};

bool read_column(protocol::reader& in, column& out) {
    const auto length = static_cast<std::int32_t>(in.u32());
    if (!in.ok()) return false;
    out.is_null = length < 0;
    out.text = out.is_null ? std::string_view()
                           : protocol::as_text(in.take(static_cast<std::size_t>(length)));
    return in.ok();
}

std::string quoted(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        if (c == '"') out += c;
        out += c;
    }
    return out + '"';
}

}  // namespace

std::string describe(pin_set pins) {
    std::string out;
    for (std::size_t i = 0; i < pin_reasons; ++i) {
        if ((pins >> i & 1U) == 0) continue;
        if (!out.empty()) out += ", ";
        out += pin_reason_names[i];
    }
    return out;
}

std::string listen_sql(std::string_view channel) {
    return "LISTEN " + quoted(channel);
}

std::string stand_in_sql(std::string_view name) {
    return "PREPARE " + quoted(name) + " AS SELECT 'stands in for a statement of this name'";
}

std::string deallocate_sql(std::string_view name) {
    return "DEALLOCATE " + quoted(name);
}

std::string_view question_name(question which) noexcept {
    switch (which) {
        case question::settings:
            return "sluice_ask_settings";
        case question::pins:
            return "sluice_ask_pins";
        case question::functions:
            break;
    }
    return "sluice_ask_functions";
}

std::string_view question_sql(question which) noexcept {
    switch (which) {
        case question::settings:
            return ask_settings;
        case question::pins:
            return ask_pins;
        case question::functions:
            break;
    }
    return survey_sql();
}

std::string names_array(const std::vector<std::string>& names) {
    std::string out = "{";
    for (const auto& name : names) {
        if (out.size() > 1) out += ',';
        out += '"';
        for (const char c : name) {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
        out += '"';
    }
    return out + '}';
}

bool session_answer::add_row(protocol::byte_span body) {
    protocol::reader in(body);
    column kind;
    column name;
    column value;
    if (in.u16() != 3 || !read_column(in, kind) || !read_column(in, name) ||
        !read_column(in, value) || kind.text.size() != 1) {
        return false;
    }
    switch (kind.text[0]) {
        case 'S':
            has_privileged = true;
            [[fallthrough]];
        case 's':
            settings.emplace_back(name.text, value.text);
            return true;
        case 'c': {
            const bool known = std::any_of(settings.begin(), settings.end(), [&](const auto& one) {
                return same_name(one.first, name.text);
            });
            if (!known) settings.emplace_back(name.text, value.text);
            return true;
        }
        case 'r':
            if (value.text != "none") settings.emplace_back("role", value.text);
            return true;
        case 'a':
            session_user = value.text;
            return true;
        case 'q':
            prepared.emplace_back(name.text, std::nullopt);
            if (!value.is_null) prepared.back().second = value.text;
            return true;
        case 'l':
            channels.emplace_back(name.text);
            return true;
        case 'p':
            for (std::size_t i = 0; i < pin_reasons; ++i) {
                if (pin_reason_names[i] == name.text) pins |= pin_set{1} << i;
            }
            return true;
        default:
            return false;
    }
}

void session_knowledge::note_notifier(std::uint32_t process, std::uint32_t client) {
    constexpr std::size_t most = 10'000;
    const std::lock_guard lock(mutex_);
    if (notifiers_.size() >= most) notifiers_.clear();  // of processes that are no more
    notifiers_[process] = client;
}

// Never the same twice: a client that has come from another server or pool knows another one's
// words.
std::uint32_t session_knowledge::next_edition() noexcept {
    static std::atomic<std::uint32_t> last{0};
    return ++last;
}

std::uint32_t session_knowledge::notifier(std::uint32_t process) const {
    const std::lock_guard lock(mutex_);
    const auto at = notifiers_.find(process);
    return at == notifiers_.end() ? 0 : at->second;
}

std::shared_ptr<const protocol::hint_words> session_knowledge::words() const {
    const std::lock_guard lock(mutex_);
    return words_;
}

std::vector<std::string> session_knowledge::function_settings() const {
    const std::lock_guard lock(mutex_);
    return function_settings_;
}

void session_knowledge::changed() noexcept {
    changes_.fetch_add(1, std::memory_order_acq_rel);
    edition_.store(next_edition(), std::memory_order_release);
}

bool session_knowledge::claim_survey(std::uint64_t& changes) noexcept {
    changes = this->changes();
    auto claimed = claimed_.load();
    while (claimed < changes) {
        if (claimed_.compare_exchange_weak(claimed, changes)) return true;
    }
    return false;
}

void session_knowledge::give_up_survey(std::uint64_t changes) noexcept {
    if (surveyed_.load() < changes) claimed_.compare_exchange_strong(changes, 0);
}

void session_knowledge::learn(std::uint64_t changes, survey_result found) {
    const std::lock_guard lock(mutex_);
    if (changes < surveyed_.load()) return;
    words_ = std::move(found.words);
    function_settings_ = std::move(found.settings);
    surveyed_.store(changes, std::memory_order_release);
    edition_.store(next_edition(), std::memory_order_release);
}

void session_knowledge::survey_failed(std::uint64_t changes, std::string_view sqlstate) {
    const std::lock_guard lock(mutex_);
    if (changes < surveyed_.load()) return;
    surveyed_.store(changes, std::memory_order_release);
    edition_.store(next_edition(), std::memory_order_release);
    if (!std::exchange(has_failed_, true)) failure_ = sqlstate;
}

std::string session_knowledge::take_failure() {
    const std::lock_guard lock(mutex_);
    return std::exchange(failure_, {});
}

}  // namespace sluice::pool
