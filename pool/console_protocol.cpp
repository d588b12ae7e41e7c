#include "pool/console_protocol.hpp"

#include <algorithm>

#include "pool/console_shows.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::pool {

namespace {

console_columns columns_of(const console_command& command) {
    if (command.verb == console_verb::show) return columns_of(command.show);
    if (command.verb == console_verb::constant) return {&command.column, 1};
    return {};
}

// Whether nobody needs to be asked for it.
bool is_ours(console_verb verb) {
    return verb <= console_verb::rollback;
}

}  // namespace

std::size_t console_protocol::receive(protocol::byte_span in, std::string& out) {
    std::size_t taken = 0;
    needed_ = 0;
    while (want_ == console_want::bytes) {
        if (in_query_) {
            next_statement(out);
            continue;
        }
        const auto rest = in.subspan(taken);
        protocol::frame_header header;
        const auto status = protocol::read_header(rest, header);
        if (status == protocol::header_status::partial) break;
        if (status == protocol::header_status::broken) {
            reject("invalid message length");
            break;
        }
        if (header.body > largest_message) {
            reject("message is too long for the admin console");
            break;
        }
        if (rest.size() < header.total()) {
            needed_ = header.total();
            break;
        }
        taken += header.total();
        on_message(header.type, rest.first(header.total()).subspan(protocol::frame_header::size),
                   out);
    }
    return taken;
}

void console_protocol::on_message(char type, protocol::byte_span body, std::string& out) {
    const bool extended = type == 'P' || type == 'B' || type == 'D' || type == 'E' || type == 'C';
    if (skip_to_sync_ && (extended || type == 'H' || type == 'Q' || type == 'F')) return;
    switch (type) {
        case 'Q':
            return on_query(body);
        case 'P':
            return on_parse(body, out);
        case 'B':
            return on_bind(body, out);
        case 'D':
            return on_describe(body, out);
        case 'E':
            return on_execute(body, out);
        case 'C':
            return on_close(body, out);
        case 'S':
            skip_to_sync_ = false;
            return end_batch(out);
        case 'H':  // everything is sent at once
        case 'd':
        case 'c':
        case 'f':  // of a COPY that has failed: PostgreSQL ignores them, too
            return;
        case 'F':
            fail("0A000", "function calls are not supported by the admin console", {}, out);
            skip_to_sync_ = false;
            return end_batch(out);
        case 'X':
            want_ = console_want::goodbye;
            return;
        default:
            return reject("invalid frontend message type " +
                          std::to_string(static_cast<unsigned char>(type)));
    }
}

void console_protocol::on_query(protocol::byte_span body) {
    protocol::reader in(body);
    const auto text = in.text();
    if (!in.at_end()) return reject("invalid Query message");
    auto commands = parse_console(text);
    queue_.assign(std::make_move_iterator(commands.begin()),
                  std::make_move_iterator(commands.end()));
    in_query_ = true;
    statements_.erase("");
    portals_.erase("");
}

void console_protocol::next_statement(std::string& out) {
    if (queue_.empty()) {
        in_query_ = false;
        return end_batch(out);
    }
    const auto next = std::move(queue_.front());
    queue_.pop_front();
    run(next, out);
}

// Gives the answer, or wants it.
void console_protocol::run(const console_command& what, std::string& out) {
    if (!is_ours(what.verb)) {
        running_ = what;
        want_ = console_want::answer;
        return;
    }
    console_answer done;
    done.tag = what.tag;
    switch (what.verb) {
        case console_verb::empty:
            protocol::append_empty(out, 'I');
            return;
        case console_verb::invalid:
            return fail(what.sqlstate, what.problem, what.hint, out);
        case console_verb::constant:
            done.table = table_of(what);
            break;
        case console_verb::begin:
            status_ = 'T';
            break;
        case console_verb::commit:
        case console_verb::rollback:
            status_ = 'I';
            break;
        default:
            break;
    }
    finish(std::move(done), out);
}

console_table console_protocol::table_of(const console_command& constant) const {
    console_table out({&constant.column, 1});
    switch (constant.source) {
        case constant_of::user:
            out.row().text(user_);
            break;
        case constant_of::database:
            out.row().text(database_);
            break;
        case constant_of::text:
            out.row().text(constant.argument);
            break;
    }
    return out;
}

void console_protocol::answer(console_answer what, std::string& out) {
    if (want_ != console_want::answer) return;
    want_ = console_want::bytes;
    finish(std::move(what), out);
}

void console_protocol::finish(console_answer what, std::string& out) {
    for (const auto& notice : what.notices) {
        protocol::append_notice(out, {.severity = "NOTICE",
                                      .sqlstate = "00000",
                                      .message = notice.message,
                                      .detail = notice.detail});
    }
    if (!what.sqlstate.empty()) {
        protocol::append_error(out, {.sqlstate = what.sqlstate,
                                     .message = what.message,
                                     .detail = what.detail,
                                     .hint = what.hint});
        queue_.clear();
        skip_to_sync_ = !in_query_;
        return;
    }
    if (!in_query_) {
        const auto at = portals_.find(executing_);
        if (at == portals_.end()) return;
        at->second.table = what.table.has_value() ? std::move(what.table) : console_table({});
        at->second.tag = std::move(what.tag);
        return send_rows(at->second, out);
    }
    if (what.table.has_value()) {
        append_row_description(out, what.table->columns(), {});
        for (const auto& row : what.table->rows())
            append_data_row(out, what.table->columns(), row, {});
    }
    protocol::frame_writer(out, 'C').text(what.tag).finish();
}

void console_protocol::send_rows(portal& from, std::string& out) const {
    const auto& rows = from.table->rows();
    const auto left = rows.size() - from.sent;
    const auto now = most_rows_ == 0 ? left : std::min<std::size_t>(left, most_rows_);
    for (std::size_t i = 0; i < now; ++i)
        append_data_row(out, from.table->columns(), rows[from.sent++], from.binary);
    if (most_rows_ != 0 && now == most_rows_) return protocol::append_empty(out, 's');
    protocol::frame_writer(out, 'C').text(from.tag).finish();
}

void console_protocol::end_batch(std::string& out) {
    if (status_ == 'I') portals_.clear();
    protocol::append_ready(out, status_);
}

void console_protocol::on_parse(protocol::byte_span body, std::string& out) {
    protocol::reader in(body);
    const std::string name(in.text());
    const auto text = in.text();
    in.take(in.u16() * std::size_t{4});  // types of parameters, of which there are none
    if (!in.at_end()) return broken("Parse", out);
    auto commands = parse_console(text);
    if (commands.size() > 1) {
        return fail("42601", "cannot insert multiple commands into a prepared statement", {}, out);
    }
    auto& only = commands.front();
    if (only.verb == console_verb::invalid) {
        return fail(only.sqlstate, only.problem, only.hint, out);
    }
    if (!name.empty() && statements_.contains(name)) {
        return fail("42P05", "prepared statement \"" + name + "\" already exists", {}, out);
    }
    if (statements_.size() >= most_statements) {
        return fail("54000", "too many prepared statements on the admin console", {}, out);
    }
    statements_.insert_or_assign(name, std::move(only));
    protocol::append_empty(out, '1');
}

void console_protocol::on_bind(protocol::byte_span body, std::string& out) {
    protocol::reader in(body);
    const std::string name(in.text());
    const auto statement = in.text();
    in.take(in.u16() * std::size_t{2});  // formats of parameters
    const auto supplied = in.u16();
    if (!in.ok()) return broken("Bind", out);
    if (supplied != 0) {
        return fail("08P01",
                    "bind message supplies " + std::to_string(supplied) +
                        " parameters, but the admin console takes none",
                    {}, out);
    }
    std::vector<std::uint16_t> formats(in.u16());
    for (auto& format : formats)
        format = in.u16();
    if (!in.at_end()) return broken("Bind", out);
    const auto at = statements_.find(statement);
    if (at == statements_.end()) {
        return fail("26000", "prepared statement \"" + std::string(statement) + "\" does not exist",
                    {}, out);
    }
    const auto columns = columns_of(at->second);
    if (formats.size() > 1 && formats.size() != columns.size()) {
        return fail("08P01",
                    "bind message has " + std::to_string(formats.size()) +
                        " result formats but query has " + std::to_string(columns.size()) +
                        " columns",
                    {}, out);
    }
    if (std::any_of(formats.begin(), formats.end(), [](auto code) { return code > 1; })) {
        return fail("22023", "unsupported format code", {}, out);
    }
    if (!name.empty() && portals_.contains(name)) {
        return fail("42P03", "cursor \"" + name + "\" already exists", {}, out);
    }
    if (portals_.size() >= most_statements) {
        return fail("54000", "too many portals on the admin console", {}, out);
    }
    portal made;
    made.command = at->second;
    made.binary.resize(columns.size());
    for (std::size_t i = 0; i < columns.size() && !formats.empty(); ++i)
        made.binary[i] = formats[formats.size() == 1 ? 0 : i] == 1;
    portals_.insert_or_assign(name, std::move(made));
    protocol::append_empty(out, '2');
}

void console_protocol::on_describe(protocol::byte_span body, std::string& out) {
    protocol::reader in(body);
    const auto kind = static_cast<char>(in.u8());
    const auto name = in.text();
    if (!in.at_end() || (kind != 'S' && kind != 'P')) return broken("Describe", out);
    const console_command* described = nullptr;
    const binary_columns* binary = nullptr;
    const binary_columns text;
    if (kind == 'S') {
        const auto at = statements_.find(name);
        if (at == statements_.end()) {
            return fail("26000", "prepared statement \"" + std::string(name) + "\" does not exist",
                        {}, out);
        }
        described = &at->second;
        binary = &text;
        protocol::frame_writer(out, 't').bytes({"\0\0", 2}).finish();
    } else {
        const auto at = portals_.find(name);
        if (at == portals_.end()) {
            return fail("34000", "portal \"" + std::string(name) + "\" does not exist", {}, out);
        }
        described = &at->second.command;
        binary = &at->second.binary;
    }
    const auto columns = columns_of(*described);
    if (columns.empty()) return protocol::append_empty(out, 'n');
    append_row_description(out, columns, *binary);
}

void console_protocol::on_execute(protocol::byte_span body, std::string& out) {
    protocol::reader in(body);
    const auto name = in.text();
    const auto most = in.u32();
    if (!in.at_end()) return broken("Execute", out);
    const auto at = portals_.find(name);
    if (at == portals_.end()) {
        return fail("34000", "portal \"" + std::string(name) + "\" does not exist", {}, out);
    }
    executing_ = name;
    most_rows_ = most > 0x7fff'ffffU ? 0 : most;
    if (at->second.table.has_value()) return send_rows(at->second, out);
    run(at->second.command, out);
}

void console_protocol::on_close(protocol::byte_span body, std::string& out) {
    protocol::reader in(body);
    const auto kind = static_cast<char>(in.u8());
    const std::string name(in.text());
    if (!in.at_end() || (kind != 'S' && kind != 'P')) return broken("Close", out);
    if (kind == 'S') {
        statements_.erase(name);
    } else {
        portals_.erase(name);
    }
    protocol::append_empty(out, '3');
}

void console_protocol::fail(std::string_view sqlstate, std::string message, std::string hint,
                            std::string& out) {
    finish(console_answer::error(sqlstate, std::move(message), std::move(hint)), out);
}

void console_protocol::broken(const char* what, std::string& out) {
    fail("08P01", std::string("invalid ") + what + " message", {}, out);
}

void console_protocol::reject(std::string message) {
    rejection_ = std::move(message);
    want_ = console_want::rejection;
}

}  // namespace sluice::pool
