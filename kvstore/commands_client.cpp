// CLIENT: what a connection says of itself, and what it may see of others and do to them. Who may
// not open all projects sees and ends the clients of its own user only.

#include <optional>

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::uint32_t usual = noscript | loading | stale;

// A line of CLIENT LIST. What sluice does not have is as Redis shows it for a plain client.
std::string described(const client_card& card, time_ms now) {
    const auto seconds = [now](time_ms since) {
        return std::to_string(std::max<time_ms>(now - since, 0) / 1000);
    };
    std::string flags;
    const auto queued = card.queued.load();
    if (card.is_monitor.load()) flags += 'O';
    if (queued >= 0) flags += 'x';
    if (flags.empty()) flags = "N";
    const auto unsent = std::to_string(card.unsent.load());
    const std::lock_guard lock(card.mutex);
    return "id=" + std::to_string(card.id) + " addr=" + card.address +
           " laddr=" + card.local_address + " fd=" + std::to_string(card.descriptor) +
           " name=" + card.name + " age=" + seconds(card.connected_ms) +
           " idle=" + seconds(card.used_ms.load()) + " flags=" + flags +
           " db=" + std::to_string(card.selected.load()) +
           " sub=0 psub=0 ssub=0 multi=" + std::to_string(queued) +
           " watch=" + std::to_string(card.watching.load()) +
           " qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=" + unsent +
           " tot-mem=" + unsent + " events=r cmd=" + card.last_command.load() +
           " user=" + card.user + " redir=-1 resp=" + std::to_string(card.version.load()) +
           " lib-name=" + card.library_name + " lib-ver=" + card.library_version;
}

std::string user_of(const client_card& card) {
    const std::lock_guard lock(card.mutex);
    return card.user;
}

bool may_see(const call& c, const client_card& card) {
    return c.is_administrator() || user_of(card) == c.self.who->name;
}

// This command, in its own line.
void show_now(const call& c, const char* name) {
    c.self.card->last_command.store(name);
    c.self.card->used_ms.store(c.now());
}

void id(call& c) {
    c.out.integer(static_cast<std::int64_t>(c.self.card->id));
}

void info(call& c) {
    show_now(c, "client|info");
    c.out.verbatim(described(*c.self.card, c.now()) + "\n");
}

enum class kind { any, normal, none };

bool to_kind(call& c, std::string_view text, kind& out) {
    for (const std::string_view other : {"master", "slave", "replica", "pubsub"}) {
        if (equals_in_any_case(text, other)) out = kind::none;
    }
    if (equals_in_any_case(text, "normal")) out = kind::normal;
    if (out != kind::any) return true;
    c.out.error("ERR Unknown client type '" + std::string(text.substr(0, 128)) + "'");
    return false;
}

void list(call& c) {
    show_now(c, "client|list");
    kind wanted = kind::any;
    std::vector<std::uint64_t> ids;
    if (c.args.size() == 4 && c.is(2, "type")) {
        if (!to_kind(c, c.arg(3), wanted)) return;
    } else if (c.args.size() > 3 && c.is(2, "id")) {
        for (const auto arg : c.args.subspan(3)) {
            std::int64_t one = 0;
            if (!to_integer(arg, one) || one < 1) return c.out.error("ERR Invalid client ID");
            ids.push_back(static_cast<std::uint64_t>(one));
        }
    } else if (c.args.size() > 2) {
        return c.syntax_error();
    }
    std::string out;
    for (const auto& card : c.in.clients.all()) {
        if (wanted == kind::none || !may_see(c, *card)) continue;
        if (!ids.empty() && std::find(ids.begin(), ids.end(), card->id) == ids.end()) continue;
        out += described(*card, c.now());
        out += '\n';
    }
    c.out.verbatim(out);
}

void getname(call& c) {
    const std::lock_guard lock(c.self.card->mutex);
    if (c.self.card->name.empty()) return c.out.nil();
    c.out.bulk(c.self.card->name);
}

void setname(call& c) {
    if (!is_client_name(c.arg(2))) {
        return c.out.error(
            "ERR Client names cannot contain spaces, newlines or special characters.");
    }
    const std::lock_guard lock(c.self.card->mutex);
    c.self.card->name = c.arg(2);
    c.out.simple("OK");
}

void setinfo(call& c) {
    const bool is_library = c.is(2, "lib-name");
    if (!is_library && !c.is(2, "lib-ver")) {
        return c.out.error("ERR Unrecognized option '" + std::string(c.arg(2).substr(0, 128)) +
                           "'");
    }
    if (!is_client_name(c.arg(3))) {
        return c.out.error(std::string("ERR ") + (is_library ? "lib-name" : "lib-ver") +
                           " cannot contain spaces, newlines or special characters.");
    }
    const std::lock_guard lock(c.self.card->mutex);
    (is_library ? c.self.card->library_name : c.self.card->library_version) = c.arg(3);
    c.out.simple("OK");
}

struct kill_filter {
    std::optional<std::uint64_t> id;
    std::optional<std::string_view> address, local_address, user;
    kind type = kind::any;
    bool skip_me = true;

    [[nodiscard]] bool fits(const client_card& card) const {
        return type != kind::none && (!id || *id == card.id) &&
               (!address || *address == card.address) &&
               (!local_address || *local_address == card.local_address) &&
               (!user || *user == user_of(card));
    }
};

bool read_filter(call& c, kill_filter& out) {
    if (c.args.size() % 2 != 0) return c.syntax_error(), false;
    for (std::size_t i = 2; i < c.args.size(); i += 2) {
        const auto value = c.arg(i + 1);
        if (c.is(i, "id")) {
            std::int64_t one = 0;
            if (!to_integer(value, one) || one < 1) {
                return c.out.error("ERR client-id should be greater than 0"), false;
            }
            out.id = static_cast<std::uint64_t>(one);
        } else if (c.is(i, "type")) {
            if (!to_kind(c, value, out.type)) return false;
        } else if (c.is(i, "addr")) {
            out.address = value;
        } else if (c.is(i, "laddr")) {
            out.local_address = value;
        } else if (c.is(i, "user")) {
            if (c.in.access->find(value) == nullptr) {
                return c.out.error("ERR No such user '" + std::string(value.substr(0, 128)) + "'"),
                       false;
            }
            out.user = value;
        } else if (c.is(i, "skipme") &&
                   (equals_in_any_case(value, "yes") || equals_in_any_case(value, "no"))) {
            out.skip_me = equals_in_any_case(value, "yes");
        } else {
            return c.syntax_error(), false;
        }
    }
    return true;
}

void kill(call& c) {
    const bool is_old_form = c.args.size() == 3;
    kill_filter filter;
    if (is_old_form) {
        filter.address = c.arg(2);
        filter.skip_me = false;
    } else if (!read_filter(c, filter)) {
        return;
    }
    std::int64_t killed = 0;
    for (const auto& card : c.in.clients.all()) {
        const bool is_me = card == c.self.card;
        if ((is_me && filter.skip_me) || !filter.fits(*card) || !may_see(c, *card)) continue;
        ++killed;
        if (is_me) {
            c.self.closes = true;  // after the reply
        } else if (card->close) {
            card->close();
        }
    }
    if (!is_old_form) return c.out.integer(killed);
    if (killed == 0) return c.out.error("ERR No such client");
    c.out.simple("OK");
}

void reply(call& c) {
    auto& mode = c.self.reply_mode;
    if (c.is(2, "on")) {
        mode = client::replies::on;
        c.out.simple("OK");
    } else if (c.is(2, "off")) {
        mode = client::replies::off;
    } else if (c.is(2, "skip")) {
        if (mode != client::replies::off) mode = client::replies::skip;
    } else {
        c.syntax_error();
    }
}

// Nothing is evicted, and reads leave no trace that anything is decided by.
void accept_switch(call& c) {
    if (!c.is(2, "on") && !c.is(2, "off")) return c.syntax_error();
    c.out.simple("OK");
}

void tracking(call& c) {
    if (c.is(2, "off")) return c.out.simple("OK");
    if (!c.is(2, "on")) return c.syntax_error();
    c.out.error("ERR CLIENT TRACKING is not supported: no invalidation messages are sent here");
}

void trackinginfo(call& c) {
    c.out.map(3);
    c.out.bulk("flags");
    c.out.set(1);
    c.out.bulk("off");
    c.out.bulk("redirect");
    c.out.integer(-1);
    c.out.bulk("prefixes");
    c.out.array(0);
}

void caching(call& c) {
    c.out.error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
        "OPTOUT mode enabled");
}

void getredir(call& c) {
    c.out.integer(-1);
}

void pause(call& c) {
    c.out.error("ERR CLIENT PAUSE is not supported: clients are not held up here");
}

void unpause(call& c) {
    c.out.simple("OK");  // nobody is paused
}

// No command waits for others.
void unblock(call& c) {
    std::int64_t which = 0;
    if (c.args.size() > 4) return c.unknown_part();
    if (c.args.size() == 4 && !c.is(3, "timeout") && !c.is(3, "error")) {
        return c.out.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
    if (c.integer(2, which)) c.out.integer(0);
}

constexpr command parts[] = {
    {"client|caching", 3, usual, 0, 0, 0, caching, "connection", "6.0.0",
     "Refused: keys are not tracked.", "O(1)"},
    {"client|getname", 2, usual, 0, 0, 0, getname, "connection", "2.6.9",
     "Answers the connection's name.", "O(1)"},
    {"client|getredir", 2, usual, 0, 0, 0, getredir, "connection", "6.0.0",
     "Answers -1: keys are not tracked.", "O(1)"},
    {"client|help", 2, loading | stale, 0, 0, 0, show_help, "connection", "5.0.0",
     "Prints this help.", "O(1)"},
    {"client|id", 2, usual, 0, 0, 0, id, "connection", "5.0.0", "Answers the connection's number.",
     "O(1)"},
    {"client|info", 2, usual, 0, 0, 0, info, "connection", "6.2.0", "Describes the connection.",
     "O(1)"},
    {"client|kill", -3, usual | admin, 0, 0, 0, kill, "connection", "2.4.0", "Ends connections.",
     "O(N), the connections"},
    {"client|list", -2, usual | admin, 0, 0, 0, list, "connection", "2.4.0",
     "Describes connections, a line each.", "O(N), the connections"},
    {"client|no-evict", 3, usual | admin, 0, 0, 0, accept_switch, "connection", "7.0.0",
     "Accepted; clients are not evicted.", "O(1)"},
    {"client|no-touch", 3, usual, 0, 0, 0, accept_switch, "connection", "7.2.0", "Accepted.",
     "O(1)"},
    {"client|pause", -3, usual | admin, 0, 0, 0, pause, "connection", "3.0.0",
     "Refused: clients are not held up.", "O(1)"},
    {"client|reply", 3, usual, 0, 0, 0, reply, "connection", "3.2.0",
     "Lets replies be sent, not be sent, or the next one not be sent.", "O(1)"},
    {"client|setinfo", 4, usual, 0, 0, 0, setinfo, "connection", "7.2.0",
     "Sets the name or version of the client's library.", "O(1)"},
    {"client|setname", 3, usual, 0, 0, 0, setname, "connection", "2.6.9",
     "Sets the connection's name.", "O(1)"},
    {"client|tracking", -3, usual, 0, 0, 0, tracking, "connection", "6.0.0",
     "Refused: keys are not tracked.", "O(1)"},
    {"client|trackinginfo", 2, usual, 0, 0, 0, trackinginfo, "connection", "6.2.0",
     "Says that keys are not tracked.", "O(1)"},
    {"client|unblock", -3, usual | admin, 0, 0, 0, unblock, "connection", "5.0.0",
     "Answers 0: no command blocks.", "O(1)"},
    {"client|unpause", 2, usual | admin, 0, 0, 0, unpause, "connection", "6.2.0",
     "Nothing: clients are not held up.", "O(1)"},
};

std::span<const command> all_parts() {
    return parts;
}

constexpr command rows[] = {
    {"client", -2, 0, 0, 0, 0, nullptr, "connection", "2.4.0", "Commands about connections.",
     "Depends on subcommand.", 0, all_parts},
};

}  // namespace

std::span<const command> client_commands() {
    return rows;
}

}  // namespace sluice::kvstore
