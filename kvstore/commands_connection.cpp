// What a connection says about itself: HELLO, AUTH, SELECT, PING, ECHO, QUIT, RESET.
// CLIENT is in commands_client.cpp.

#include <algorithm>

#include "kvstore/client.hpp"
#include "kvstore/login.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::string_view wrong_password =
    "WRONGPASS invalid username-password pair or user is disabled.";

enum class login { in, refused, again };

// Checks the password; a slow check is done on another thread, and the command comes again.
login log_in(call& c, std::string_view name, std::string_view password) {
    auto& self = c.self;
    const auto access = c.in.access;
    const auto* const who = access->find(name);
    auto answer = access_list::check(who, password);
    if (answer == access_list::answer::slow && self.in_exec != nullptr) {
        answer = client::checked(*self.in_exec, self.in_exec->running, *who);
        if (answer == access_list::answer::slow) answer = access_list::answer::wrong;
    } else if (answer == access_list::answer::slow) {
        if (self.pending == nullptr || self.pending->text != who->password) {
            self.await(c.in.outside.start_check(who->password, std::string(password), *self.waker));
            return login::again;
        }
        if (!self.pending->done.load(std::memory_order_acquire)) {
            self.await(self.pending);
            return login::again;
        }
        answer =
            self.pending->error.empty() ? access_list::answer::right : access_list::answer::wrong;
        self.pending.reset();
    }
    if (answer == access_list::answer::wrong || certificate_is_of_another(c, name)) {
        c.in.counts.auth_failures.add();
        c.out.error(wrong_password);
        return login::refused;
    }
    self.access = access;
    self.who = who;
    // Somebody with one project is in it.
    if (!who->all_projects && who->projects.size() == 1) self.select(who->projects[0]);
    const std::lock_guard lock(self.card->mutex);
    self.card->user = who->name;
    return login::in;
}

void auth(call& c) {
    if (c.args.size() > 3) return c.out.error("ERR syntax error");
    if (c.args.size() == 2 && c.in.access->initial() != nullptr) {
        return c.out.error(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?");
    }
    const auto name = c.args.size() == 2 ? std::string_view("default") : c.arg(1);
    if (log_in(c, name, c.args.back()) == login::in) c.out.simple("OK");
}

void describe(call& c) {
    c.out.map(7);
    c.out.bulk("server");
    c.out.bulk("redis");
    c.out.bulk("version");
    c.out.bulk("7.0.15");
    c.out.bulk("proto");
    c.out.integer(c.self.version);
    c.out.bulk("id");
    c.out.integer(static_cast<std::int64_t>(c.self.card->id));
    c.out.bulk("mode");
    c.out.bulk("standalone");
    c.out.bulk("role");
    c.out.bulk("master");
    c.out.bulk("modules");
    c.out.array(0);
}

void hello(call& c) {
    hello_options asked;
    asked.version = c.self.version;
    const auto error = read_hello(c.args, asked);
    if (!error.empty()) return c.out.error(error);
    if (asked.login && log_in(c, asked.login->name, asked.login->password) != login::in) return;
    if (c.self.who == nullptr) {
        return c.out.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
            "HELLO AUTH <user> <pass> option can be used to authenticate the client and "
            "select the RESP protocol version at the same time");
    }
    if (asked.client_name) {
        const std::lock_guard lock(c.self.card->mutex);
        c.self.card->name = *asked.client_name;
    }
    c.self.version = static_cast<int>(asked.version);
    c.self.card->version.store(c.self.version, std::memory_order_relaxed);
    c.answer_in(c.self.version);
    describe(c);
}

void select_project(call& c) {
    std::int64_t id = 0;
    c.self.select_was_refused = true;
    if (!to_integer(c.arg(1), id)) return c.not_an_integer();
    if (id < INT32_MIN || id > INT32_MAX) {
        return c.out.error(
            "ERR value is out of range, value must between -2147483648 and 2147483647");
    }
    if (id < 0) return c.out.error("ERR DB index is out of range");
    const auto project = static_cast<project_id>(id);
    if (!c.may_open(project)) return;
    c.self.select(project);
    c.out.simple("OK");
}

void ping(call& c) {
    if (c.args.size() > 2) {
        return c.out.error("ERR wrong number of arguments for 'ping' command");
    }
    if (c.args.size() == 2) return c.out.bulk(c.arg(1));
    c.out.simple("PONG");
}

void echo(call& c) {
    c.out.bulk(c.arg(1));
}

void quit(call& c) {
    c.self.closes = true;
    c.out.simple("OK");
}

void reset(call& c) {
    auto& self = c.self;
    self.end_transaction();
    c.in.changes.release();
    self.unwatch();
    c.in.clients.remove_monitor(*self.card);
    self.version = 2;
    self.card->version.store(2, std::memory_order_relaxed);
    self.select(0);
    self.reply_mode = client::replies::on;
    if (!self.is_control) self.who = c.in.access->initial();
    {
        const std::lock_guard lock(self.card->mutex);
        self.card->name.clear();
        self.card->user = self.who == nullptr ? "(none)" : self.who->name;
    }
    c.answer_in(2);
    c.out.simple("RESET");
}

constexpr command rows[] = {
    {"auth", -2, noscript | loading | stale | fast | no_auth | skip_monitor | skip_slowlog, 0, 0, 0,
     auth, "connection", "1.0.0", "Says who the client is.", "O(1)"},
    {"hello", -1, noscript | loading | stale | fast | no_auth | skip_monitor | skip_slowlog, 0, 0,
     0, hello, "connection", "6.0.0", "Chooses the protocol's version, and may log in.", "O(1)"},
    {"select", 2, loading | stale | fast, 0, 0, 0, select_project, "connection", "1.0.0",
     "Selects the project that the next commands work on.", "O(1)"},
    {"ping", -1, fast, 0, 0, 0, ping, "connection", "1.0.0", "Answers PONG, or its argument.",
     "O(1)"},
    {"echo", 2, loading | stale | fast, 0, 0, 0, echo, "connection", "1.0.0",
     "Answers its argument.", "O(1)"},
    {"quit", -1, noscript | loading | stale | fast | no_auth | at_once, 0, 0, 0, quit, "connection",
     "1.0.0", "Answers what is owed and closes the connection.", "O(1)"},
    {"reset", 1, noscript | loading | stale | fast | no_auth | at_once, 0, 0, 0, reset,
     "connection", "6.2.0", "Makes the connection as a new one.", "O(1)"},
};

}  // namespace

std::string read_hello(std::span<const std::string_view> args, hello_options& out) {
    std::size_t next = 1;
    if (args.size() > 1) {
        if (!to_integer(args[1], out.version)) {
            return "ERR Protocol version is not an integer or out of range";
        }
        if (out.version < 2 || out.version > 3) return "NOPROTO unsupported protocol version";
        next = 2;
    }
    for (; next < args.size(); ++next) {
        const auto left = args.size() - next - 1;
        if (equals_in_any_case(args[next], "auth") && left >= 2) {
            out.login = login_words{args[next + 1], args[next + 2]};
            next += 2;
        } else if (equals_in_any_case(args[next], "setname") && left >= 1) {
            out.client_name = args[++next];
            if (!is_client_name(*out.client_name)) {
                return "ERR Client names cannot contain spaces, newlines or special characters.";
            }
        } else {
            return "ERR Syntax error in HELLO option '" + std::string(args[next]) + "'";
        }
    }
    return {};
}

std::optional<login_words> login_of(std::span<const std::string_view> args,
                                    const access_list& access) {
    if (equals_in_any_case(args[0], "hello")) {
        hello_options asked;
        if (!read_hello(args, asked).empty()) return std::nullopt;
        return asked.login;
    }
    if (!equals_in_any_case(args[0], "auth") || args.size() > 3) return std::nullopt;
    if (args.size() == 2 && access.initial() != nullptr) return std::nullopt;
    return login_words{args.size() == 2 ? std::string_view("default") : args[1], args.back()};
}

bool certificate_is_of_another(const call& c, std::string_view name) {
    const auto& names = c.self.certificate_names;
    return c.in.settings->tls.mode == config::tls_mode::verify_full && names.has_value() &&
           std::find(names->begin(), names->end(), name) == names->end();
}

std::span<const command> connection_commands() {
    return rows;
}

}  // namespace sluice::kvstore
