#include "kvstore/client.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "kvstore/info.hpp"
#include "kvstore/numbers.hpp"
#include "kvstore/quoted.hpp"

namespace sluice::kvstore {

namespace {

// Replies go out, and others get their turn, when there is this much of them.
constexpr std::size_t most_replies = std::size_t{256} << 10;
// What a change adds to its key and value in a record, and a number's longest text.
constexpr std::uint64_t room_per_argument = 48;
constexpr std::uint64_t room_for_a_number = 6000;
// Queued by MULTI; as Redis's query buffer limit.
constexpr std::uint64_t most_queued = std::uint64_t{1} << 30;

std::uint64_t room_for(std::span<const std::string_view> args) {
    std::uint64_t out = room_for_a_number + args.size() * room_per_argument;
    for (const auto arg : args)
        out += arg.size();
    return out;
}

// As Redis shows what it was sent: cut at 128 bytes, and where a zero byte is.
std::string_view shown(std::string_view text, std::size_t most = 128) {
    text = text.substr(0, most);
    return text.substr(0, text.find('\0'));
}

std::string unknown_command(std::span<const std::string_view> args) {
    std::string out = "ERR unknown command '";
    out += shown(args[0]);
    out += "', with args beginning with: ";
    std::string rest;
    for (std::size_t i = 1; i < args.size() && rest.size() < 128; ++i) {
        rest += '\'';
        rest += shown(args[i], 128 - rest.size() + 1);
        rest += "' ";
    }
    return out + rest;
}

std::string unknown_part(const command& whole, std::string_view part) {
    std::string name(whole.name);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    return "ERR unknown subcommand '" + std::string(shown(part)) + "'. Try " + name + " HELP.";
}

// By its own name, or as a part of a command that is.
bool is_disabled(const command& row, const std::vector<std::string>& disabled) {
    return std::any_of(disabled.begin(), disabled.end(), [&](std::string_view one) {
        return row.name == one || row.name.substr(0, row.name.find('|')) == one;
    });
}

bool to_project(std::string_view text, project_id& out) {
    return parse_whole(text, out) && out <= most_project_id;
}

// Of the reply that begins there.
void count_error(turn& in, std::size_t at) {
    const auto text = std::string_view(in.reply.text).substr(at + 1);
    in.counts.error_replies[error_kind(text.substr(0, text.find(' ')))].add();
}

}  // namespace

client::progress client::run(protocol::byte_span input, turn& in,
                             const std::function<void()>& wake) {
    progress out;
    waker = &wake;
    in.changes.now = in.now;
    protocol::resp_limits limits;
    while (true) {
        if (in.reply.size() >= (who == nullptr ? most_replies_before_login : most_replies)) {
            out.next = wants::turn_over;
            break;
        }
        limits.authenticated = who != nullptr;
        const auto found = parser_.next(input.subspan(out.consumed), limits);
        if (found == protocol::resp_parser::outcome::incomplete) {
            out.consumed += parser_.consumed();
            out.expected = parser_.wanted();
            break;
        }
        if (found == protocol::resp_parser::outcome::broken) {
            in.counts.protocol_errors.add();
            protocol::resp_writer(in.reply.text, version)
                .error("ERR " + std::string(parser_.error()));
            out.next = wants::close;
            break;
        }
        const auto went = take(parser_.args(), in);
        if (went == step::again) {
            out.next = stopped_by_;
            break;
        }
        out.consumed += parser_.consumed();
        if (went == step::stop || closes) {
            out.next = wants::close;
            break;
        }
        in.changes.breathe();
    }
    waker = nullptr;
    out.waits_for = in.changes.finish();
    return out;
}

const command* client::look_up(std::string_view name) {
    if (last_ != nullptr && name == last_name_) return last_;
    const auto* const row = find_command(name);
    if (row != nullptr) {
        last_ = row;
        last_name_ = name;
    }
    return row;
}

client::step client::take(std::span<const std::string_view> args, turn& in) {
    const auto* row = look_up(args[0]);
    if (row == nullptr &&
        (equals_in_any_case(args[0], "post") || equals_in_any_case(args[0], "host:"))) {
        return step::stop;  // a browser was talked into speaking to us
    }
    if (row != nullptr && row->parts != nullptr && args.size() > 1) row = find_part(*row, args[1]);
    const auto began = in.clock_ns();
    const auto before = in.reply.here();
    const auto mode = reply_mode;
    const bool has_writes = transaction.open && transaction.writes;
    call what{args, *this, in, protocol::resp_writer(in.reply.text, version), nullptr};
    stopped_by_ = wants::bytes;
    const bool refused = is_refused(what, row);
    if (!refused) {
        const auto went = begin(what, *row);
        if (went == step::again || went == step::stop) {
            in.reply.rewind(before);
            return went;
        }
    } else if (row != nullptr && row->name == "exec") {
        abort_exec(in, before);
    } else {
        transaction.broken = transaction.open;
        // The client goes on as if it were in that project.
        if (row != nullptr && row->name == "select") select_was_refused = true;
    }
    pending.reset();  // it may have ended without asking for it again
    if (std::exchange(reply_is_too_big, false)) {
        in.reply.rewind(before);
        what.out.error(
            "ERR the reply is too big: it has more than 576 MiB. What the command did, or the "
            "commands of a transaction, is done; ask for less at a time");
    }
    const bool failed = in.reply.text.size() > before.text && in.reply.text[before.text] == '-';
    if (failed) count_error(in, before.text);
    if (mode == replies::skip && reply_mode == replies::skip) {
        reply_mode = replies::on;
        in.reply.rewind(before);
    } else if (mode == replies::off && reply_mode == replies::off) {
        in.reply.rewind(before);
    } else if (!refused && (row->has(flag::write) || (has_writes && row->name == "exec"))) {
        if (in.db.waits_for_disk()) in.reply.note_write(before.all);
    }
    if (row != nullptr && !refused) account(what, *row, began, failed);
    if (row != nullptr && refused) in.counts.count_rejected(row->number);
    return step::done;
}

// EXEC itself was refused: the transaction is over, for the reason that stands in the reply.
void client::abort_exec(turn& in, const reply_buffer::mark& before) {
    auto why = in.reply.text.substr(before.text + 1);
    why.resize(why.size() - 2);
    if (why.starts_with("ERR ")) why.erase(0, 4);
    in.reply.rewind(before);
    protocol::resp_writer(in.reply.text, version)
        .error("EXECABORT Transaction discarded because of: " + why);
    end_transaction();
    in.changes.release();
    unwatch();
}

bool client::is_refused(call& what, const command* row) {
    const auto* const whole = row == nullptr ? find_command(what.args[0]) : row;
    if (whole == nullptr || (whole->has(flag::hidden) && !is_control) ||
        is_disabled(*whole, what.in.settings->disabled_commands)) {
        what.out.error(unknown_command(what.args));
        return true;
    }
    if (row == nullptr) {
        what.out.error(unknown_part(*whole, what.args[1]));
        return true;
    }
    const auto given = static_cast<std::ptrdiff_t>(what.args.size());
    if (row->arity > 0 ? given != row->arity : given < -row->arity) {
        what.out.error("ERR wrong number of arguments for '" + std::string(row->name) +
                       "' command");
        return true;
    }
    if (who == nullptr && !row->has(flag::no_auth)) {
        what.out.error("NOAUTH Authentication required.");
        return true;
    }
    if (transaction.open && row->has(flag::no_multi)) {
        what.out.error("ERR Command not allowed inside a transaction");
        return true;
    }
    if (row->has(flag::write | flag::readonly) &&
        card->is_monitor.load(std::memory_order_relaxed)) {
        what.out.error("ERR Replica can't interact with the keyspace");  // as Redis's monitors
        return true;
    }
    if (row->has(flag::denyoom) && what.in.db.is_over_memory()) {
        what.out.error("OOM command not allowed when used memory > 'maxmemory'.");
        return true;
    }
    return false;
}

client::step client::begin(call& what, const command& row) {
    if (transaction.open && !row.has(flag::at_once)) {
        queue(what, row);
        return step::done;
    }
    const auto went = hold_projects(what, row);
    if (went != step::done) return went;
    // Not before: to let go of other projects ends their record, and gives its room back.
    if (row.has(flag::write) && !has_room(what, room_for(what.args))) {
        return stopped_by_ == wants::room ? step::again : step::answered;
    }
    row.run(what);
    return stopped_by_ == wants::bytes ? step::done : step::again;
}

void client::queue(call& what, const command& row) {
    if (row.has(flag::write) && what.in.db.log().refusing()) {
        transaction.broken = true;
        (void)has_room(what, 0);
        return;
    }
    std::vector<std::string> copy(what.args.begin(), what.args.end());
    for (const auto& arg : copy)
        transaction.bytes += arg.size() + sizeof(std::string);
    if (transaction.bytes > most_queued) {
        transaction.broken = true;
        what.out.error("ERR the transaction is too big: its commands have more than 1 GiB");
        return;
    }
    transaction.writes = transaction.writes || row.has(flag::write);
    transaction.commands.push_back(std::move(copy));
    card->queued.store(static_cast<int>(transaction.commands.size()), std::memory_order_relaxed);
    what.out.simple("QUEUED");
}

void client::end_transaction() {
    transaction = {};
    card->queued.store(-1, std::memory_order_relaxed);
}

bool client::has_room(call& what, std::uint64_t bytes) {
    switch (what.in.changes.make_room(bytes)) {
        case admission::granted:
            return true;
        case admission::busy:
            if (!in_exec) {
                stopped_by_ = wants::room;
                return false;
            }
            what.out.error("MISCONF the write-ahead log has no room for this value at the moment");
            return false;
        case admission::refused:
            break;
    }
    what.in.counts.refused_writes.add();
    what.out.error("MISCONF Errors writing to the write-ahead log: " + what.in.db.log().why() +
                   ". Writes are refused until it can be written again; reads go on.");
    return false;
}

bool client::may_use_project(call& what) const {
    if (select_was_refused) {
        what.out.error(
            "ERR no project is selected: the last SELECT was refused. SELECT one that you may "
            "open, then go on");
        return false;
    }
    if (!is_control && !who->may_open(selected)) {
        what.out.error("NOPERM user '" + who->name + "' may not open project " +
                       std::to_string(selected) + ": SELECT one of its own");
        return false;
    }
    return true;
}

client::step client::hold_projects(call& what, const command& row) {
    auto& changes = what.in.changes;
    if (row.has(flag::everyone)) {
        changes.hold_all();
        return step::done;
    }
    if (!row.has(flag::data | flag::several)) return step::done;
    if (row.has(flag::data) && !may_use_project(what)) return step::answered;
    if (!row.has(flag::several)) {
        if (project_ == nullptr || project_->id() != selected) {
            changes.release();
            project_ = what.in.db.find(selected);
        }
        changes.hold(project_);
    } else {
        std::vector<project_id> ids;
        if (row.has(flag::data)) ids.push_back(selected);
        add_named(what.args, row, ids);
        std::erase_if(ids, [&](project_id id) { return !is_control && !who->may_open(id); });
        hold_several(ids, what);
    }
    const auto went = bring(what);
    if (went == step::done && row.has(flag::data)) what.here = changes.held(selected);
    return went;
}

// Projects that a command names beside the selected one. A name that is no number is the
// command's to complain of.
void client::add_named(std::span<const std::string_view> args, const command& row,
                       std::vector<project_id>& out) {
    project_id id = 0;
    const auto add = [&](std::string_view text) {
        if (to_project(text, id)) out.push_back(id);
    };
    if (row.name == "move" && args.size() > 2) add(args[2]);
    if (row.name == "swapdb" && args.size() > 2) {
        add(args[1]);
        add(args[2]);
    }
    if (row.name == "copy") {
        for (std::size_t i = 3; i + 1 < args.size(); ++i) {
            if (equals_in_any_case(args[i], "db")) add(args[++i]);
        }
    }
}

void client::hold_several(const std::vector<project_id>& ids, call& what) const {
    what.in.changes.release();
    std::vector<std::shared_ptr<project>> several;
    several.reserve(ids.size());
    for (const auto id : ids)
        several.push_back(what.in.db.find(id));
    what.in.changes.hold_together(std::move(several));
}

// Every project that is held is in memory, or is being brought there, or cannot be.
client::step client::bring(call& what) {
    for (const auto& one : what.in.changes.held()) {
        one->used_ms = what.in.now;
        if (one->state == project::residence::resident) continue;
        if (one->state == project::residence::refused && what.in.now >= one->retry_at) {
            one->state = project::residence::absent;  // somebody may have put a good file there
        }
        if (one->state == project::residence::refused) {
            what.out.error(one->why);
            return step::answered;
        }
        if (one->state == project::residence::absent) {
            one->state = project::residence::loading;
            what.in.outside.start_loading(one);
        }
        one->waiting.push_back(*waker);
        stopped_by_ = wants::wake;
        return step::again;
    }
    return step::done;
}

void client::execute(call& what, const command& row) {
    const auto began = what.in.clock_ns();
    const auto before = what.in.reply.text.size();
    row.run(what);
    const auto& text = what.in.reply.text;
    const bool failed = text.size() > before && text[before] == '-';
    if (failed) count_error(what.in, before);
    account(what, row, began, failed);
}

void client::account(const call& what, const command& row, std::uint64_t began, bool failed) {
    auto& in = what.in;
    const auto took = in.clock_ns() - began;
    in.counts.count(row.number, took, failed);
    card->last_command.store(row.name.data(), std::memory_order_relaxed);
    card->used_ms.store(in.now, std::memory_order_relaxed);
    const auto slow = in.slow.slower_than_us();
    if (slow >= 0 && took / 1000 >= static_cast<std::uint64_t>(slow) &&
        !row.has(flag::skip_slowlog)) {
        const std::lock_guard lock(card->mutex);
        in.slow.add(in.now, static_cast<std::int64_t>(took / 1000), what.args, card->address,
                    card->name);
    }
    if (in.clients.has_monitors() && !row.has(flag::skip_monitor | flag::admin)) {
        tell_monitors(what);
    }
}

void client::tell_monitors(const call& what) const {
    const auto now = what.in.now;
    std::string micros = std::to_string(now % 1000 * 1000);
    micros.insert(0, 6 - micros.size(), '0');
    std::string line = "+" + std::to_string(now / 1000) + "." + micros + " [" +
                       std::to_string(selected) + " " + card->address + "]";
    for (const auto arg : what.args) {
        line += ' ';
        append_quoted(line, arg);
    }
    what.in.clients.feed_monitors(line + "\r\n");
}

void client::select(project_id id) noexcept {
    selected = id;
    select_was_refused = false;
    card->selected.store(id, std::memory_order_relaxed);
}

void client::unwatch() {
    for (const auto& one : watched) {
        const std::lock_guard lock(one.in->mutex);
        one.in->remove_watch(one.key, &touched);
    }
    watched.clear();
    touched = false;
    card->watching.store(0, std::memory_order_relaxed);
}

void client::leave() {
    unwatch();
    transaction = {};
    project_.reset();
}

bool client::adopt(const std::shared_ptr<const access_list>& fresh) {
    const auto* const again = who == nullptr ? fresh->initial() : fresh->find(who->name);
    if (who != nullptr && again == nullptr) return false;
    who = again;
    access = fresh;
    return true;
}

}  // namespace sluice::kvstore
