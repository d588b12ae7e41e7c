#include "config/pgbouncer_import.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "config/address.hpp"
#include "config/error.hpp"
#include "config/names.hpp"
#include "config/pgbouncer_databases.hpp"
#include "config/pgbouncer_settings.hpp"
#include "config/pgbouncer_text.hpp"
#include "config/units.hpp"

namespace sluice::config {

namespace {

using enum import_kind;

// Read by their own rules, not by the tables.
constexpr std::array handled{std::string_view("listen_addr"),
                             std::string_view("listen_port"),
                             std::string_view("unix_socket_dir"),
                             std::string_view("auth_type"),
                             std::string_view("auth_file"),
                             std::string_view("auth_hba_file"),
                             std::string_view("auth_user"),
                             std::string_view("pool_mode"),
                             std::string_view("admin_users"),
                             std::string_view("stats_users"),
                             std::string_view("verbose"),
                             std::string_view("client_tls_sslmode"),
                             std::string_view("client_tls_key_file"),
                             std::string_view("client_tls_cert_file"),
                             std::string_view("client_tls_ca_file"),
                             std::string_view("server_tls_sslmode"),
                             std::string_view("server_tls_key_file"),
                             std::string_view("server_tls_cert_file"),
                             std::string_view("server_tls_ca_file"),
                             std::string_view("server_tls_protocols")};

// How clients log in, where, and with or without TLS: each depends on the others.
struct entrance {
    auth_type auth = auth_type::scram_sha_256;
    std::string auth_comment;
    tls_mode tls = tls_mode::disable;
    std::string tls_comment;
    bool tcp = true;
    bool unix_socket = true;
    bool loopback_only = false;
};

class importer {
  public:
    importer(std::string path, const environment& env)
        : path_(std::move(path)), ini_(read_pgbouncer_ini(path_, env)), env_(env) {
        book_.default_place = {path_, 0};
        for (const auto& entry : ini_.settings)
            book_.settings[entry.key] = entry;  // the last one holds
    }

    imported run() {
        read_users();
        decide_entrance();
        look_at_settings();
        write_top();
        write_limits();
        write_databases(book_, ini_.databases, yaml_);
        write_users();
        write_rest();
        imported out;
        out.yaml = heading() + yaml_.take();
        out.notes = std::move(book_.notes);
        out.has_passwords = book_.has_passwords;
        return out;
    }

  private:
    void note(import_kind kind, const text_place& at, std::string what, std::string text) {
        book_.notes.push_back({kind, at, std::move(what), std::move(text)});
    }
    [[nodiscard]] const ini_entry* find(std::string_view name) const { return book_.find(name); }
    [[nodiscard]] std::string value(std::string_view name, const std::string& fallback = {}) const {
        const auto* const entry = find(name);
        return entry == nullptr ? fallback : entry->value;
    }
    [[nodiscard]] text_place place(std::string_view name) const {
        const auto* const entry = find(name);
        return entry == nullptr ? book_.default_place : entry->at;
    }

    void read_users() {
        const auto* const file = find("auth_file");
        if (file == nullptr || file->value.empty()) return;
        for (auto& entry : read_auth_file(*file, env_))
            book_.users.insert_or_assign(entry.user, entry);
    }

    void decide_entrance();
    void decide_auth();
    void decide_tls();
    void decide_lookup();
    [[nodiscard]] std::vector<std::string> addresses();
    void look_at_settings();
    void write_top();
    void write_limits();
    void write_users();
    void write_rest();
    void write_names(std::string_view name);
    [[nodiscard]] std::string heading() const;

    std::string path_;
    pgbouncer_ini ini_;
    const environment& env_;
    import_book book_;
    entrance in_;
    yaml_writer yaml_;
};

bool is_local_address(std::string_view host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void importer::decide_auth() {
    const auto type = value("auth_type", "md5");
    const auto at = place("auth_type");
    in_.auth_comment = find("auth_type") == nullptr ? "PgBouncer's default is md5" : "was " + type;
    if (type == "md5" || type == "scram-sha-256") {
        if (type == "md5") {
            note(changed, at, "auth_type",
                 "md5 becomes scram-sha-256: clients need a driver that knows SCRAM (libpq 10 or "
                 "later, and every current driver)");
        }
    } else if (type == "plain") {
        in_.auth = auth_type::cleartext;
        note(
            changed, at, "auth_type",
            "plain becomes cleartext: such passwords are taken over TLS or from this machine only");
    } else if (type == "trust" || type == "any") {
        in_.auth = auth_type::trust;
        note(changed, at, "auth_type",
             type == "trust"
                 ? "trust lets in every user name; PgBouncer wanted one that is in auth_file"
                 : "any becomes trust; only admin_users may use the admin database");
    } else if (type == "cert") {
        in_.auth = auth_type::cert;
    } else if (type == "hba") {
        const auto* const file = find("auth_hba_file");
        if (file == nullptr) {
            throw config_error(at.file, at.line, "auth_type", "hba without auth_hba_file",
                               "the name of a file in auth_hba_file");
        }
        const auto hba = decide_hba(read_hba(*file, env_, book_.notes), book_.notes);
        in_.auth = hba.auth_type;
        in_.tcp = hba.tcp;
        in_.unix_socket = hba.unix_socket;
        in_.loopback_only = hba.loopback_only;
        if (hba.tls_only) in_.tls = tls_mode::require;
        in_.auth_comment = "the strictest of auth_hba_file";
    } else if (type == "pam" || type == "ldap") {
        note(lost, at, "auth_type",
             type +
                 " is not there; scram-sha-256 takes the passwords of postgres.users, and "
                 "passthrough those of the server");
    } else {
        throw config_error(at.file, at.line, "auth_type", quoted(type),
                           "md5, scram-sha-256, plain, trust, any, cert, hba, pam or ldap");
    }
}

void importer::decide_tls() {
    const auto mode = value("client_tls_sslmode", "disable");
    const auto at = place("client_tls_sslmode");
    const bool hba_wants_tls = in_.tls == tls_mode::require;
    in_.tls = tls_mode::disable;
    if (mode == "allow" || mode == "prefer") {
        in_.tls = tls_mode::allow;
    } else if (mode == "require") {
        in_.tls = tls_mode::require;
    } else if (mode == "verify-ca" || mode == "verify-full") {
        in_.tls = tls_mode::verify_ca;
        if (mode == "verify-full") {
            in_.tls_comment =
                "verify-full of PgBouncer; sluice's also wants the user's name in the certificate";
        }
    } else if (mode != "disable") {
        throw config_error(at.file, at.line, "client_tls_sslmode", quoted(mode),
                           "disable, allow, prefer, require, verify-ca or verify-full");
    }
    if (in_.tls == tls_mode::disable) {
        // Lines of hostssl let nobody in then, and without TLS nobody is to get in by them.
        if (hba_wants_tls) in_.tcp = false;
        return;
    }
    if (value("client_tls_key_file").empty() || value("client_tls_cert_file").empty()) {
        throw config_error(at.file, at.line, "client_tls_sslmode",
                           mode + " without client_tls_key_file and client_tls_cert_file",
                           "both of these files");
    }
    if (hba_wants_tls && in_.tls == tls_mode::allow) {
        in_.tls = tls_mode::require;
        in_.tls_comment = "each line of auth_hba_file for TCP is hostssl";
    }
    if (in_.tls == tls_mode::verify_ca && value("client_tls_ca_file").empty()) {
        throw config_error(at.file, at.line, "client_tls_sslmode",
                           mode + " without client_tls_ca_file", "the file with the authorities");
    }
}

// PgBouncer asked the server for users whom auth_file does not have. The nearest thing here is to
// prove passwords by logging in upstream.
void importer::decide_lookup() {
    const ini_entry* asks = find("auth_user");
    for (const auto& database : ini_.databases) {
        if (asks != nullptr) break;
        for (const auto& [key, word] : parse_words(database)) {
            if (key == "auth_user") asks = &database;
        }
    }
    const bool passwords = in_.auth == auth_type::scram_sha_256 || in_.auth == auth_type::cleartext;
    if (asks == nullptr || !passwords) return;
    const auto listen = comma_list(in_.tcp ? value("listen_addr") : "");
    const bool local =
        in_.loopback_only || std::all_of(listen.begin(), listen.end(),
                                         [](const auto& host) { return is_local_address(host); });
    if (in_.tls != tls_mode::disable || local) {
        in_.auth = auth_type::passthrough;
        in_.auth_comment = "instead of auth_query: proved by logging in to the server";
        note(changed, asks->at, "auth_user, auth_query",
             "becomes auth_type: passthrough: clients send their password (over TLS or from this "
             "machine), which is proved by logging in to the server with it");
        return;
    }
    note(lost, asks->at, "auth_user, auth_query",
         "users who are not in auth_file cannot log in. Give postgres.tls a certificate and write "
         "auth_type: passthrough, which proves passwords by logging in to the server; or list the "
         "users in postgres.users");
}

void importer::decide_entrance() {
    decide_auth();
    decide_tls();
    if (in_.auth == auth_type::cert &&
        (in_.tls == tls_mode::disable || value("client_tls_ca_file").empty())) {
        in_.auth = auth_type::scram_sha_256;
        note(lost, place("auth_type"), "auth_type",
             "cert needs client_tls_sslmode and client_tls_ca_file; it becomes scram-sha-256");
    }
    decide_lookup();
}

std::vector<std::string> importer::addresses() {
    std::vector<std::string> out;
    const auto port = value("listen_port", "6432");
    try {
        static_cast<void>(parse_count(port, 1, 65535));
    } catch (const bad_value& error) {
        const auto at = place("listen_port");
        throw config_error(at.file, at.line, "listen_port", quoted(port), error.what());
    }
    auto hosts = comma_list(value("listen_addr"));
    if (!hosts.empty() && !in_.tcp) {
        note(changed, place("listen_addr"), "listen_addr",
             "no line of auth_hba_file lets TCP clients in: sluice does not listen for them");
        hosts.clear();
    }
    if (in_.loopback_only && !std::all_of(hosts.begin(), hosts.end(), is_local_address)) {
        note(
            changed, place("listen_addr"), "listen_addr",
            "auth_hba_file lets in TCP clients of this machine only: so sluice listens there only");
        hosts = {"127.0.0.1"};
    }
    if (std::find(hosts.begin(), hosts.end(), "*") != hosts.end()) hosts = {"*"};
    for (const auto& host : hosts) {
        const bool ipv6 = host.find(':') != std::string::npos;
        const auto address = (ipv6 ? "[" + host + "]" : host) + ":" + port;
        if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(address);
    }
    const auto directory = book_.socket_directory();
    if (directory.starts_with('@')) {
        note(lost, place("unix_socket_dir"), "unix_socket_dir",
             "sluice has no sockets in the abstract namespace");
    } else if (!directory.empty() && !in_.unix_socket) {
        note(changed, place("unix_socket_dir"), "unix_socket_dir",
             "no line of auth_hba_file is local: sluice makes no unix socket");
    } else if (!directory.empty()) {
        const bool plain = port == "6432" && directory.find(':') == std::string::npos;
        out.push_back("unix:" + directory + (plain ? "" : ":" + port));
    }
    for (const auto& address : out) {
        try {
            static_cast<void>(parse_address(address));
        } catch (const bad_value& error) {
            const auto* const name =
                address.starts_with("unix:") ? "unix_socket_dir" : "listen_addr";
            const auto at = place(name);
            throw config_error(at.file, at.line, name, quoted(address), error.what());
        }
    }
    return out;
}

void importer::look_at_settings() {
    for (const auto& [name, entry] : book_.settings) {
        const auto same = same_settings();
        const bool known = std::find(handled.begin(), handled.end(), name) != handled.end() ||
                           std::any_of(same.begin(), same.end(),
                                       [&key = name](const auto& row) { return row.name == key; });
        if (known) continue;
        const auto* const row = find_unmapped(name);
        if (row == nullptr) {
            note(lost, entry.at, name, "a setting that this version does not know");
        } else if (entry.value != row->fallback) {
            note(row->kind, entry.at, name, std::string(row->text));
        }
    }
    for (const auto& peer : ini_.peers) {
        note(changed, peer.at, "[peers] " + peer.key,
             "one sluice needs no peers on its machine; cancel requests that reach another machine "
             "are not passed on");
    }
}

void importer::write_top() {
    if (const auto verbose = value("verbose", "0"); verbose != "0") {
        yaml_.line(0, "log: {level: debug}", "verbose = " + yaml_word(verbose));
        yaml_.gap();
    }
    yaml_.line(0, "postgres:");
    std::string list;
    for (const auto& address : addresses())
        list += (list.empty() ? "" : ", ") + yaml_word(address);
    yaml_.line(2, "listen: [" + list + "]",
               value("listen_addr").empty() ? "without listen_addr PgBouncer has no TCP port" : "");
    yaml_.line(2, "auth_type: " + std::string(name_of(in_.auth)), in_.auth_comment);
    if (in_.tls != tls_mode::disable) {
        yaml_.line(2, "tls:");
        yaml_.line(4, "mode: " + std::string(name_of(in_.tls)), in_.tls_comment);
        yaml_.line(4, "certificate: " + yaml_value(value("client_tls_cert_file")));
        yaml_.line(4, "key: " + yaml_value(value("client_tls_key_file")));
        if (const auto ca = value("client_tls_ca_file"); !ca.empty()) {
            yaml_.line(4, "client_ca: " + yaml_value(ca));
        }
    }
    write_names("admin_users");
    write_names("stats_users");
}

void importer::write_names(std::string_view name) {
    std::string list;
    for (const auto& user : comma_list(value(name))) {
        list += (list.empty() ? "" : ", ") + yaml_value(user);
        const auto at = book_.users.find(user);
        const bool has_password = at != book_.users.end() && usable_password(at->second.password);
        if (!has_password && needs_password(in_.auth)) {
            note(lost, place(name), std::string(name),
                 quoted(user) + " has no password that sluice can use, and so cannot log in");
        }
    }
    if (!list.empty()) yaml_.line(2, std::string(name) + ": [" + list + "]");
}

void importer::write_limits() {
    yaml_.gap();
    const auto mode = value("pool_mode", "session");
    yaml_.line(2, "pool_mode: " + book_.checked_mode(mode, place("pool_mode")),
               find("pool_mode") == nullptr ? "PgBouncer's default; sluice's is transaction"
               : mode == "transaction"      ? "sessions stay whole: docs/sessions.md says how"
                                            : "");
    for (const auto& row : same_settings()) {
        const auto* const entry = find(row.name);
        if (entry == nullptr && row.fallback.empty()) continue;
        const ini_entry used =
            entry != nullptr
                ? *entry
                : ini_entry{std::string(row.name), std::string(row.fallback), book_.default_place};
        yaml_.line(2, std::string(row.key) + ": " + book_.converted(row, used),
                   entry == nullptr ? row.comment : std::string_view());
    }
}

void importer::write_users() {
    std::map<std::string, const ini_entry*> all;
    for (const auto& [name, entry] : book_.users)
        all.emplace(name, nullptr);
    for (const auto& entry : ini_.users)
        all[entry.key] = &entry;
    yaml_.gap();
    const auto written = [&](const auto& one) {
        return place_of_user(book_, in_.auth, one.first, one.second) == user_place::entry;
    };
    if (std::none_of(all.begin(), all.end(), written)) {
        const bool open = !needs_password(in_.auth);
        yaml_.line(2, "users: {}",
                   open ? "with this auth_type nobody has to be listed" : "nobody can log in yet");
        if (!open) {
            note(lost, place("auth_file"), "auth_file",
                 "has no user with a password that sluice can use: nobody can log in until "
                 "postgres.users has one, or auth_type is passthrough");
        }
    } else {
        yaml_.line(2, "users:");
    }
    for (const auto& [name, settings] : all)
        write_user_entry(book_, in_.auth, name, settings, yaml_);
}

void importer::write_rest() {
    yaml_.gap();
    yaml_.line(0, "kv: {listen: []}",
               "PgBouncer has no key-value port; without this line sluice's is on 127.0.0.1:6380");
}

std::string importer::heading() const {
    yaml_writer top;
    top.comment(0, "Made by: sluice import-pgbouncer " + path_);
    top.comment(0, "See whether it is right with: sluice check --config THIS_FILE");
    if (book_.has_passwords) {
        top.comment(0,
                    "There are passwords in it: keep it to those who may know them (mode 0600).");
    }
    for (const auto kind : {lost, changed, needless}) {
        bool first = true;
        for (const auto& one : book_.notes) {
            if (one.kind != kind) continue;
            if (first) {
                top.comment(0, "");
                top.comment(0, std::string(heading_of(kind)) + ":");
            }
            first = false;
            top.comment(0, "- " + show_note(one));
        }
    }
    top.gap();
    return top.take();
}

}  // namespace

imported import_pgbouncer(const std::string& ini_path, const environment& env) {
    return importer(ini_path, env).run();
}

std::string_view heading_of(import_kind kind) noexcept {
    switch (kind) {
        case lost:
            return "Does not come over";
        case changed:
            return "Comes over differently";
        case needless:
            break;
    }
    return "Not needed";
}

std::string show_note(const import_note& note) {
    auto out = note.at.file;
    if (note.at.line > 0) out += ":" + std::to_string(note.at.line);
    return out + ": " + note.what + ": " + note.text;
}

}  // namespace sluice::config
