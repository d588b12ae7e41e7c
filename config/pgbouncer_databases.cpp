#include "config/pgbouncer_databases.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "config/error.hpp"
#include "config/units.hpp"
#include "config/verifier.hpp"

namespace sluice::config {

namespace {

using enum import_kind;

constexpr std::uint32_t most = 1'000'000;

using word_map = std::map<std::string, std::string, std::less<>>;

std::string word(const word_map& words, std::string_view key) {
    const auto at = words.find(key);
    return at == words.end() ? std::string() : at->second;
}

// One database of the ini on its way to one of sluice.
class database_writer {
  public:
    database_writer(import_book& book, const ini_entry& entry) : book_(book), entry_(entry) {
        for (auto& [key, value] : parse_words(entry))
            words_.insert_or_assign(key, value);
    }

    void write(yaml_writer& out) {
        const auto user = word(words_, "user");
        const auto url = conninfo(url_words(user));
        out.line(4, yaml_word(entry_.key) + ":", comment(user));
        out.line(6, "url: " + yaml_value(url));
        if (const auto mode = word(words_, "pool_mode"); !mode.empty()) {
            out.line(6, "pool_mode: " + book_.checked_mode(mode, entry_.at));
        }
        write_sizes(out);
        for (const auto* const key : {"max_db_connections", "max_db_client_connections"}) {
            if (words_.contains(key)) out.line(6, std::string(key) + ": " + limit(key));
        }
        if (words_.contains("server_lifetime")) {
            const same_setting row{"server_lifetime", "server_lifetime", setting_type::time, "",
                                   ""};
            out.line(6, "server_lifetime: " + book_.converted(row, inner("server_lifetime")));
        }
        note_others();
    }

  private:
    void note(import_kind kind, const std::string& what, std::string text) {
        book_.notes.push_back(
            {kind, entry_.at, yaml_word(entry_.key) + ": " + what, std::move(text)});
    }
    [[nodiscard]] ini_entry inner(const std::string& key) const {
        return {key, word(words_, key), entry_.at};
    }
    [[nodiscard]] std::string limit(const std::string& key) const {
        return std::to_string(book_.number(inner(key)));
    }
    [[nodiscard]] std::string setting(std::string_view name) const {
        const auto* const found = book_.find(name);
        return found == nullptr ? std::string() : found->value;
    }

    std::string comment(const std::string& user) {
        if (user.empty()) {
            book_.has_own_logins = true;
            return "each client's own user and password";
        }
        return "";
    }

    word_pairs url_words(const std::string& user) {
        word_pairs out;
        auto host = word(words_, "host");
        if (host.empty())
            host = book_.socket_directory().empty() ? "/tmp" : book_.socket_directory();
        out.emplace_back("host", host);
        const auto port = word(words_, "port");
        out.emplace_back("port", port.empty() ? "5432" : port);
        if (port.find(',') == std::string::npos) {
            static_cast<void>(book_.number({"port", port.empty() ? "5432" : port, entry_.at}));
        }
        auto database = word(words_, "dbname");
        if (database.empty() && entry_.key != "*") database = entry_.key;
        if (!database.empty()) out.emplace_back("dbname", database);
        if (!user.empty()) add_login(user, out);
        for (const auto* const key : {"client_encoding", "application_name"}) {
            if (const auto value = word(words_, key); !value.empty()) out.emplace_back(key, value);
        }
        std::string options;
        for (const auto* const key : {"datestyle", "timezone"}) {
            const auto value = word(words_, key);
            if (value.empty()) continue;
            options += std::string(options.empty() ? "" : " ") + "-c " + key + "=";
            for (const char c : value) {
                if (c == ' ' || c == '\\') options += '\\';
                options += c;
            }
        }
        if (!options.empty()) out.emplace_back("options", options);
        if (!host.starts_with('/') && !host.starts_with('@')) add_tls(out);
        if (host.find(',') != std::string::npos) {
            note(changed, "host",
                 "PgBouncer takes the hosts in turn; sluice takes the first that answers");
        }
        return out;
    }

    void add_login(const std::string& user, word_pairs& out) {
        out.emplace_back("user", user);
        auto password = word(words_, "password");
        const auto known = book_.users.find(user);
        if (password.empty() && known != book_.users.end()) password = known->second.password;
        if (is_verifier(password) || is_md5_hash(password)) {
            note(lost, "user",
                 "the password of " + quoted(user) +
                     " is a hash, with which sluice cannot log in to the server: put the password "
                     "itself into the url");
            return;
        }
        if (password.empty()) return;
        book_.has_passwords = true;
        out.emplace_back("password", password);
    }

    void add_tls(word_pairs& out) {
        const auto mode = setting("server_tls_sslmode");
        if (mode.empty()) return;  // prefer, for PgBouncer and libpq
        constexpr std::array<std::string_view, 6> modes{"disable", "allow",     "prefer",
                                                        "require", "verify-ca", "verify-full"};
        if (std::find(modes.begin(), modes.end(), mode) == modes.end()) {
            const auto& at = book_.find("server_tls_sslmode")->at;
            throw config_error(at.file, at.line, "server_tls_sslmode", quoted(mode),
                               "disable, allow, prefer, require, verify-ca or verify-full");
        }
        out.emplace_back("sslmode", mode);
        if (mode == "disable") return;
        // With a file, libpq's require would verify.
        if (mode.starts_with("verify")) {
            const auto ca = setting("server_tls_ca_file");
            out.emplace_back("sslrootcert", ca.empty() ? "/etc/ssl/certs/ca-certificates.crt" : ca);
        }
        if (const auto file = setting("server_tls_cert_file"); !file.empty()) {
            out.emplace_back("sslcert", file);
        }
        if (const auto file = setting("server_tls_key_file"); !file.empty()) {
            out.emplace_back("sslkey", file);
        }
        add_protocols(out);
    }

    void add_protocols(word_pairs& out) {
        const auto* const found = book_.find("server_tls_protocols");
        if (found == nullptr || found->value == "secure") return;
        constexpr std::array<std::pair<std::string_view, std::string_view>, 4> versions{
            {{"tlsv1.0", "TLSv1"},
             {"tlsv1.1", "TLSv1.1"},
             {"tlsv1.2", "TLSv1.2"},
             {"tlsv1.3", "TLSv1.3"}}};
        if (found->value == "all" || found->value == "legacy") {
            out.emplace_back("ssl_min_protocol_version", "TLSv1");
            return;
        }
        std::string_view least;
        std::string_view highest;
        const auto wanted = comma_list(found->value);
        for (const auto& [theirs, ours] : versions) {
            if (std::find(wanted.begin(), wanted.end(), theirs) == wanted.end()) continue;
            if (least.empty()) least = ours;
            highest = ours;
        }
        if (least.empty()) {
            throw config_error(found->at.file, found->at.line, found->key, quoted(found->value),
                               "secure, all, legacy, or a list of tlsv1.0, tlsv1.1, tlsv1.2, "
                               "tlsv1.3");
        }
        out.emplace_back("ssl_min_protocol_version", least);
        if (highest != "TLSv1.3") out.emplace_back("ssl_max_protocol_version", highest);
    }

    // A minimum above the size is refused by sluice, and without effect in PgBouncer.
    void write_sizes(yaml_writer& out) {
        auto size = book_.setting_number("default_pool_size", 20);
        if (words_.contains("pool_size")) {
            size = book_.pool_size(inner("pool_size"));
            out.line(6, "pool_size: " + std::to_string(size));
        }
        const auto all = book_.setting_number("min_pool_size", 0);
        const bool own = words_.contains("min_pool_size");
        const auto wanted = own ? book_.number(inner("min_pool_size")) : all;
        if (wanted > size && size != 0) {
            note(changed, "min_pool_size", "no more than the pool_size");
            out.line(6, "min_pool_size: " + std::to_string(size), "not above pool_size");
        } else if (own) {
            out.line(6, "min_pool_size: " + std::to_string(wanted));
        }
        for (const auto* const key : {"reserve_pool_size", "reserve_pool"}) {
            if (!words_.contains(key)) continue;
            out.line(6, "reserve_pool_size: " + limit(key));
            break;
        }
    }

    void note_others() {
        constexpr std::array<std::string_view, 18> known{"host",
                                                         "port",
                                                         "dbname",
                                                         "user",
                                                         "password",
                                                         "client_encoding",
                                                         "datestyle",
                                                         "timezone",
                                                         "pool_size",
                                                         "min_pool_size",
                                                         "pool_mode",
                                                         "reserve_pool_size",
                                                         "reserve_pool",
                                                         "max_db_connections",
                                                         "auth_user",
                                                         "max_db_client_connections",
                                                         "server_lifetime",
                                                         "application_name"};
        for (const auto& [key, value] : words_) {
            if (std::find(known.begin(), known.end(), key) != known.end()) continue;
            if (key == "connect_query") {
                note(
                    lost, key,
                    "no query runs on a new connection: ALTER ROLE … SET, or options='-c …' in the "
                    "url, set parameters");
            } else if (key == "auth_query" || key == "auth_dbname") {
                note(lost, key, "see auth_user");
            } else if (key == "load_balance_hosts") {
                if (value == "disable") continue;
                note(changed, key, "sluice takes the first host that answers");
            } else {
                note(lost, key, "a word that this version does not know");
            }
        }
    }

    import_book& book_;
    const ini_entry& entry_;
    word_map words_;
};

void write_user_settings(import_book& book, const ini_entry& settings, int indent,
                         std::string_view front, yaml_writer& out) {
    const auto line = [&](const std::string& text) { out.line(indent, std::string(front) + text); };
    constexpr std::array<std::string_view, 3> counts{
        "max_user_connections", "max_user_client_connections", "reserve_pool_size"};
    constexpr std::array<std::string_view, 4> times{
        "query_timeout", "transaction_timeout", "idle_transaction_timeout", "client_idle_timeout"};
    const auto is_in = [](const auto& list, const std::string& key) {
        return std::find(list.begin(), list.end(), key) != list.end();
    };
    for (const auto& [key, value] : parse_words(settings)) {
        const ini_entry inner{key, value, settings.at};
        if (key == "pool_mode") {
            line("pool_mode: " + book.checked_mode(value, settings.at));
        } else if (key == "pool_size") {
            line("pool_size: " + std::to_string(book.pool_size(inner)));
        } else if (is_in(counts, key)) {
            line(key + ": " + std::to_string(book.number(inner)));
        } else if (is_in(times, key)) {
            line(key + ": " + book.converted({key, key, setting_type::time, "", ""}, inner));
        } else {
            book.notes.push_back({lost, settings.at, yaml_word(settings.key) + ": " + key,
                                  "a setting of users that this version does not know"});
        }
    }
}

// Why a user's secret is of no use here; empty if it is.
std::string trouble(const import_book& book, const std::string& name) {
    const auto at = book.users.find(name);
    if (at == book.users.end()) return "is not in auth_file: needs a password";
    const auto& password = at->second.password;
    if (is_md5_hash(password)) {
        return "has an MD5 hash, which sluice does not take: give the password itself, or a SCRAM "
               "verifier from pg_authid or `sluice hash-password`";
    }
    if (password.empty()) return "has an empty password: needs one";
    return usable_password(password) ? "" : "has a malformed SCRAM verifier";
}

}  // namespace

const ini_entry* import_book::find(std::string_view name) const {
    const auto at = settings.find(name);
    return at == settings.end() ? nullptr : &at->second;
}

std::string import_book::socket_directory() const {
    const auto* const entry = find("unix_socket_dir");
    return entry == nullptr ? "/tmp" : entry->value;
}

std::uint32_t import_book::number(const ini_entry& entry) const {
    try {
        return parse_count(entry.value, 0, most);
    } catch (const bad_value& error) {
        throw config_error(entry.at.file, entry.at.line, entry.key, quoted(entry.value),
                           error.what());
    }
}

std::uint32_t import_book::setting_number(std::string_view name, std::uint32_t fallback) const {
    const auto* const entry = find(name);
    return entry == nullptr ? fallback : number(*entry);
}

std::uint32_t import_book::pool_size(const ini_entry& entry) {
    const auto size = number(entry);
    if (size != 0) return size;
    notes.push_back({changed, entry.at, entry.key,
                     "0 is any number in PgBouncer; max_client_conn bounds it here"});
    return std::max(setting_number("max_client_conn", 100), 1U);
}

std::string import_book::checked_mode(const std::string& mode, const text_place& at) const {
    if (mode == "session" || mode == "transaction" || mode == "statement") return mode;
    throw config_error(at.file, at.line, "pool_mode", quoted(mode),
                       "session, transaction or statement");
}

std::string import_book::converted(const same_setting& row, const ini_entry& entry) {
    const auto wrong = [&](const std::string& expected) {
        throw config_error(entry.at.file, entry.at.line, entry.key, quoted(entry.value), expected);
    };
    switch (row.type) {
        case setting_type::text:
            return entry.value.empty() ? "\"\"" : yaml_value(entry.value);
        case setting_type::on_off:
            try {
                return parse_switch(entry.value) ? "true" : "false";
            } catch (const bad_value& error) {
                wrong(error.what());
            }
            break;
        case setting_type::number: {
            if (row.key == "pool_size") return std::to_string(pool_size(entry));
            auto value = number(entry);
            if (row.key == "min_pool_size") {
                const auto size = setting_number("default_pool_size", 20);
                if (size != 0) value = std::min(value, size);
            } else if (row.key == "max_client_conn" && value == 0) {
                wrong("a whole number from 1");
            } else if (row.key == "listen_backlog") {
                value = std::clamp(value, 1U, 65535U);
            } else if (row.key == "tcp_keepcnt") {
                value = std::min(value, 127U);
            }
            return std::to_string(value);
        }
        case setting_type::time:
        case setting_type::time_ms:
            break;
    }
    if (entry.value.find_first_not_of("0123456789.") != std::string::npos) {
        wrong("a number of seconds");
    }
    const auto* const unit = row.type == setting_type::time_ms ? "ms" : "s";
    milliseconds value{};
    try {
        value = parse_duration(entry.value + unit);
    } catch (const bad_value&) {
        const bool is_number = entry.value.find_first_not_of("0123456789") == std::string::npos;
        if (entry.value.empty() || !is_number) wrong("a number of seconds, at most 365 days");
        value = longest_duration;  // PgBouncer has no bound
    }
    const bool whole_seconds = row.key == "tcp_keepidle" || row.key == "tcp_keepintvl";
    if (whole_seconds) value = std::min<milliseconds>(value, std::chrono::seconds(32767));
    if (row.key == "server_lifetime" && value == 0ms) {
        notes.push_back({changed, entry.at, entry.key,
                         "0 uses a connection once in PgBouncer, and is no limit in sluice: 1s is "
                         "as near as it gets"});
        value = 1s;
    }
    return show_duration(value);
}

bool needs_password(auth_type auth) {
    return auth == auth_type::scram_sha_256 || auth == auth_type::cleartext;
}

bool usable_password(std::string_view password) {
    if (password.empty()) return false;
    try {
        check_password(password);
    } catch (const bad_value&) {
        return false;
    }
    return true;
}

user_place place_of_user(const import_book& book, auth_type auth, const std::string& name,
                         const ini_entry* settings) {
    const bool usable = trouble(book, name).empty();
    if (needs_password(auth)) return usable ? user_place::entry : user_place::comment;
    const bool says_something = settings != nullptr && !trimmed(settings->value).empty();
    return says_something || (usable && auth != auth_type::passthrough) ? user_place::entry
                                                                        : user_place::nowhere;
}

void write_databases(import_book& book, const std::vector<ini_entry>& databases, yaml_writer& out) {
    std::map<std::string, const ini_entry*> last;
    for (const auto& entry : databases)
        last[entry.key] = &entry;
    out.gap();
    out.line(2, last.empty() ? "databases: {}" : "databases:");
    for (const auto& entry : databases) {
        if (last.at(entry.key) != &entry) continue;  // PgBouncer lets the last one hold, too
        if (entry.key == "pgbouncer") {
            throw config_error(entry.at.file, entry.at.line, entry.key, "the admin database's name",
                               "another name");
        }
        database_writer(book, entry).write(out);
    }
}

void write_user_entry(import_book& book, auth_type auth, const std::string& name,
                      const ini_entry* settings, yaml_writer& out) {
    const auto known = book.users.find(name);
    const auto at = known != book.users.end() ? known->second.at : settings->at;
    const auto note = [&](std::string text) {
        book.notes.push_back({lost, at, "user " + quoted(name), std::move(text)});
    };
    const auto why = trouble(book, name);
    const auto where = place_of_user(book, auth, name, settings);
    const bool hash = known != book.users.end() &&
                      (is_verifier(known->second.password) || is_md5_hash(known->second.password));
    if (where == user_place::comment) {
        note(why);
    } else if (hash && book.has_own_logins && auth != auth_type::passthrough) {
        note(
            "has a hash for a password, with which sluice cannot log in to the server: databases "
            "whose url names no user need the password itself");
    }
    if (where == user_place::nowhere) return;

    const bool written = where == user_place::entry;
    const bool with_password = written && why.empty() && auth != auth_type::passthrough;
    const bool empty = !with_password && (settings == nullptr || trimmed(settings->value).empty());
    // What cannot be used stays as a comment: to be completed by hand.
    out.line(4, (written ? "" : "# ") + yaml_word(name) + (written && empty ? ": {}" : ":"),
             written ? "" : "not usable as it is: see above");
    if (with_password) {
        book.has_passwords = true;
        out.line(6, "password: " + yaml_value(known->second.password));
    }
    if (!written) out.line(4, "#   password: \"\"");
    if (settings != nullptr) {
        write_user_settings(book, *settings, written ? 6 : 4, written ? "" : "#   ", out);
    }
}

}  // namespace sluice::config
