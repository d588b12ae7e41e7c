#include "config/pgbouncer_hba.hpp"

#include <algorithm>
#include <optional>
#include <string_view>

#include "config/names.hpp"

namespace sluice::config {

namespace {

using kind = hba_rule::kind;

// Columns; a comma and the blanks behind it do not end one, nor do blanks in quotes.
std::vector<std::string> columns(std::string_view text) {
    std::vector<std::string> out;
    std::string now;
    bool in_quotes = false;
    const auto end = [&] {
        if (!now.empty()) out.push_back(std::move(now));
        now.clear();
    };
    for (const char c : text) {
        if (c == '"') in_quotes = !in_quotes;
        if (!in_quotes && c == '#') break;
        const bool blank = c == ' ' || c == '\t' || c == '\r';
        if (in_quotes || !blank) {
            if (!in_quotes && c == ',' && now.empty() && !out.empty()) {
                now = std::move(out.back());  // "a ,b"
                out.pop_back();
            }
            now += c;
        } else if (!now.ends_with(',')) {
            end();
        }
    }
    end();
    return out;
}

std::optional<kind> type_of(std::string_view word) {
    if (word == "local") return kind::local;
    if (word == "host") return kind::host;
    if (word == "hostssl") return kind::hostssl;
    if (word == "hostnossl") return kind::hostnossl;
    return std::nullopt;
}

std::optional<hba_rule> rule_of(const text_line& line) {
    const auto words = columns(line.text);
    if (words.empty()) return std::nullopt;
    hba_rule out;
    out.at = line.at;
    const auto type = type_of(words[0]);
    if (!type) return std::nullopt;
    out.type = *type;
    std::size_t method = 3;
    if (out.type != kind::local) {
        if (words.size() < 4) return std::nullopt;
        out.address = words[3];
        method = 4;
        const bool is_word = out.address == "all" || out.address.starts_with("same");
        if (!is_word && out.address.find('/') == std::string::npos) {
            if (words.size() < 5) return std::nullopt;
            out.address += "/" + words[4];
            method = 5;
        }
    }
    if (words.size() <= method) return std::nullopt;
    out.databases = words[1];
    out.users = words[2];
    out.method = words[method];
    return out;
}

bool any_address(const std::string& address) {
    return address == "all" || address == "0.0.0.0/0" || address == "0.0.0.0/0.0.0.0" ||
           address == "::/0" || address == "::0/0";
}

bool loopback(const std::string& address) {
    return address.starts_with("127.") || address.starts_with("::1/");
}

bool of_everybody(const hba_rule& rule) {
    return rule.databases == "all" && rule.users == "all";
}

bool uses_scram(const hba_rule& rule) {
    return rule.method == "md5" || rule.method == "scram-sha-256";
}

std::string wanted_by(auth_type type) {
    return std::string(name_of(type));
}

// The strictest way that any line asks for; trust only where nobody is let in by it who was not.
auth_type choose(const std::vector<const hba_rule*>& in, bool rejects) {
    const auto some = [&](auto&& test) {
        return std::any_of(in.begin(), in.end(), [&](const hba_rule* r) { return test(*r); });
    };
    if (some(uses_scram)) return auth_type::scram_sha_256;
    const auto is = [](std::string_view method) {
        return [method](const hba_rule& rule) { return rule.method == method; };
    };
    if (some(is("password"))) return auth_type::cleartext;
    if (some(is("cert"))) return auth_type::cert;
    const bool open = !in.empty() && !rejects && !some([](const hba_rule& rule) {
        return rule.method != "trust" || !of_everybody(rule) ||
               (rule.type != kind::local && !any_address(rule.address) && !loopback(rule.address));
    });
    return open ? auth_type::trust : auth_type::scram_sha_256;
}

bool answers(const hba_rule& rule, auth_type chosen) {
    switch (chosen) {
        case auth_type::scram_sha_256:
            return uses_scram(rule);
        case auth_type::cleartext:
            return rule.method == "password";
        case auth_type::cert:
            return rule.method == "cert";
        case auth_type::trust:
            return rule.method == "trust";
        case auth_type::passthrough:
            break;
    }
    return false;
}

void note_rule(const hba_rule& rule, const hba_outcome& out, std::vector<import_note>& notes) {
    const auto lost = [&](std::string text) {
        notes.push_back({import_kind::lost, rule.at, "auth_hba_file", std::move(text)});
    };
    if (rule.method == "reject") {
        return lost(
            "a line that rejects clients: sluice has no such rules; use a firewall, or take "
            "the user or the database away");
    }
    if (!answers(rule, out.auth_type)) {
        lost("these clients logged in with " + rule.method +
             "; sluice has one auth_type for all: " + wanted_by(out.auth_type));
    }
    if (rule.databases != "all") {
        lost("for databases " + rule.databases +
             " only: in sluice a user may open every database that the server lets them");
    }
    if (rule.users != "all") {
        lost("for users " + rule.users + " only: in sluice the line's rule is everybody's");
    }
    if (rule.type == kind::local) return;
    if (!any_address(rule.address) && !(loopback(rule.address) && out.loopback_only)) {
        lost("for clients of " + rule.address + " only: use a firewall, or postgres.listen");
    }
    if (rule.type == kind::hostnossl) {
        lost("for clients without TLS only: sluice's tls.mode does not look at addresses");
    }
    if (rule.type == kind::hostssl && !out.tls_only) {
        lost(
            "for clients with TLS only, and other lines let clients without it in: tls.mode is "
            "one for all");
    }
}

}  // namespace

std::vector<hba_rule> read_hba(const ini_entry& named, const environment& env,
                               std::vector<import_note>& notes) {
    std::vector<hba_rule> out;
    for (const auto& line : read_lines(named, env)) {
        if (columns(line.text).empty()) continue;
        if (auto rule = rule_of(line)) {
            out.push_back(*std::move(rule));
        } else {
            notes.push_back({import_kind::lost, line.at, "auth_hba_file",
                             "a line that is no rule; PgBouncer passes over it, too"});
        }
    }
    return out;
}

hba_outcome decide_hba(const std::vector<hba_rule>& rules, std::vector<import_note>& notes) {
    // What nobody is let in by changes nothing at the end of the file.
    auto last = rules.size();
    while (last > 0 && rules[last - 1].method == "reject")
        --last;
    std::vector<const hba_rule*> in;
    bool rejects = false;
    for (std::size_t i = 0; i < last; ++i) {
        if (rules[i].method == "reject") {
            rejects = true;
        } else {
            in.push_back(&rules[i]);
        }
    }
    hba_outcome out;
    out.loopback_only = true;
    out.tls_only = true;
    for (const auto* rule : in) {
        if (rule->type == kind::local) {
            out.unix_socket = true;
            continue;
        }
        out.tcp = true;
        out.tls_only = out.tls_only && rule->type == kind::hostssl;
        out.loopback_only = out.loopback_only && loopback(rule->address);
    }
    out.tls_only = out.tls_only && out.tcp;
    out.loopback_only = out.loopback_only && out.tcp;
    out.auth_type = choose(in, rejects);
    for (std::size_t i = 0; i < last; ++i)
        note_rule(rules[i], out, notes);
    return out;
}

}  // namespace sluice::config
