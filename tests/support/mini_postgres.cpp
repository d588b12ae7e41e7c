#include "support/mini_postgres.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "support/pg_messages.hpp"

namespace sluice::test {

namespace {

constexpr const char* reported_names[] = {"DateStyle", "TimeZone", "application_name",
                                          "client_encoding"};

bool starts(std::string_view text, std::string_view with) {
    return text.substr(0, with.size()) == with;
}

// The string literal E'...' at `at`, which moves behind it.
std::string literal(std::string_view text, std::size_t& at) {
    std::string out;
    at = text.find("E'", at);
    if (at == text.npos) return out;
    at += 2;
    for (; at < text.size(); ++at) {
        if (text[at] == '\\' && at + 1 < text.size()) {
            out += text[++at];
        } else if (text[at] == '\'') {
            if (at + 1 >= text.size() || text[at + 1] != '\'') break;
            out += text[++at];
        } else {
            out += text[at];
        }
    }
    ++at;
    return out;
}

std::vector<std::string> split(std::string_view sql) {
    std::vector<std::string> out;
    std::string now;
    bool quoted = false;
    for (std::size_t i = 0; i < sql.size(); ++i) {
        if (quoted && sql[i] == '\\') {
            now += sql[i++];
        } else if (sql[i] == '\'') {
            quoted = !quoted;
        } else if (sql[i] == ';' && !quoted) {
            if (!now.empty()) out.push_back(std::move(now));
            now.clear();
            continue;
        }
        now += sql[i];
    }
    if (!now.empty()) out.push_back(std::move(now));
    return out;
}

bool returns_rows(std::string_view text) {
    return starts(text, "select") || starts(text, "star") || starts(text, "show");
}

// Names are folded as far as these tests need it.
std::string known_name(std::string name, const std::map<std::string, std::string>& settings) {
    std::erase(name, '"');
    for (const auto& [known, value] : settings) {
        if (known.size() == name.size() &&
            std::equal(known.begin(), known.end(), name.begin(), [](char a, char b) {
                return std::tolower(static_cast<unsigned char>(a)) ==
                       std::tolower(static_cast<unsigned char>(b));
            })) {
            return known;
        }
    }
    return name;
}

}  // namespace

mini_postgres::mini_postgres(std::shared_ptr<mini_database> database, const setting_list& startup)
    : database_(std::move(database)) {
    settings_ = {{"DateStyle", "ISO"},        {"TimeZone", "UTC"}, {"application_name", ""},
                 {"client_encoding", "UTF8"}, {"work_mem", "4MB"}, {"statement_timeout", "0"}};
    for (const auto& [name, value] : startup)
        settings_[name] = value;
    defaults_ = settings_;
    for (const auto* name : reported_names)
        told_[name] = settings_[name];
}

mini_postgres::setting_list mini_postgres::reported() const {
    return {told_.begin(), told_.end()};
}

const std::string& mini_postgres::setting(const std::string& name) const {
    return settings_.at(name);
}

std::string mini_postgres::feed(std::string_view bytes) {
    in_ += bytes;
    protocol::frame_header header;
    while (!ended_ &&
           protocol::read_header(protocol::as_bytes(in_), header) ==
               protocol::header_status::whole &&
           header.total() <= in_.size()) {
        const auto body = in_.substr(protocol::frame_header::size, header.body);
        in_.erase(0, header.total());
        if (copying_) {
            on_copy_message(header.type, body);
        } else {
            on_message(header.type, body);
        }
    }
    return std::exchange(out_, {});
}

void mini_postgres::hang_up() {
    ended_ = true;
    effects_.clear();
}

void mini_postgres::send_now() {
    out_ += held_;
    held_.clear();
}

void mini_postgres::send_ready() {
    for (auto& [name, value] : told_) {
        if (settings_[name] == value) continue;
        value = settings_[name];
        held_ += parameter(name, value);
    }
    held_ += ready(status_);
    send_now();
}

void mini_postgres::tag(std::string_view text) {
    held_ += complete(text);
}

void mini_postgres::start() {
    if (open_) return;
    open_ = true;
    at_start_ = settings_;
}

void mini_postgres::end_transaction(bool commit) {
    if (commit) {
        database_->committed.insert(database_->committed.end(), effects_.begin(), effects_.end());
    } else if (open_) {
        settings_ = at_start_;
    }
    effects_.clear();
    portals_.clear();
    open_ = false;
}

void mini_postgres::finish() {
    if (status_ == 'I' && open_) end_transaction(true);
}

void mini_postgres::fail(std::string_view sqlstate, const std::string& text,
                         std::string_view routine) {
    held_ += error(sqlstate, text, "ERROR", routine);
    send_now();
    const bool block = status_ != 'I';
    end_transaction(false);
    if (block) {
        status_ = 'E';
        start();
    }
    left_of_query_.clear();
    copying_ = false;
    if (extended_) {
        skipping_ = true;
    } else {
        send_ready();
    }
}

bool mini_postgres::allowed(const std::string& text) {
    if (status_ != 'E' || text == "commit" || text == "rollback" || text == "ROLLBACK") return true;
    fail("25P02",
         "current transaction is aborted, commands ignored until end of transaction block");
    return false;
}

void mini_postgres::on_message(char type, std::string_view body) {
    if (skipping_ && type != 'S' && type != 'X') return;
    extended_ = std::string_view("PBDECH").find(type) != std::string_view::npos ||
                (extended_ && std::string_view("dcf").find(type) != std::string_view::npos);
    switch (type) {
        case 'Q':
            return on_query(body);
        case 'P':
            return on_parse(body);
        case 'B':
            return on_bind(body);
        case 'D':
            return on_describe(body);
        case 'E':
            return on_execute(body);
        case 'C':
            return on_close(body);
        case 'H':
            return send_now();
        case 'S':
            skipping_ = false;
            finish();
            return send_ready();
        case 'F':
            start();
            if (!allowed("function")) return;
            held_ += frame('V', {"\xff\xff\xff\xff", 4});
            finish();
            return send_ready();
        case 'X':
            hang_up();
            return;
        default:
            return;  // CopyData, CopyDone, CopyFail
    }
}

void mini_postgres::on_copy_message(char type, std::string_view body) {
    switch (type) {
        case 'd':
            if (body == "bad") return fail("22P02", "invalid input syntax");
            copied_ += body;
            return;
        case 'c':
            copying_ = false;
            effects_.push_back("copied:" + copied_);
            tag("COPY 1");
            if (!extended_) go_on();
            return;
        case 'f':
            return fail("57014", "COPY from stdin failed: " + std::string(body.data()));
        case 'S':
        case 'H':
            return;
        case 'X':
            return hang_up();
        default:  // it has begun to read a message that it cannot read
            held_ += error("08P01", "unexpected message type during COPY from stdin");
            held_ +=
                error("08P01", "terminating connection because protocol synchronization was lost",
                      "FATAL");
            send_now();
            hang_up();
    }
}

void mini_postgres::on_query(std::string_view body) {
    start();
    statements_.erase("");
    left_of_query_ = split(body.substr(0, body.size() - 1));
    if (left_of_query_.empty()) held_ += frame('I');
    for (const auto& one : left_of_query_) {
        if (starts(one, "syntax")) return fail("42601", "syntax error");
    }
    go_on();
}

// The statements of a simple query that have not run yet.
void mini_postgres::go_on() {
    while (!left_of_query_.empty()) {
        const auto text = left_of_query_.front();
        left_of_query_.erase(left_of_query_.begin());
        start();
        if (!allowed(text)) return;
        if (returns_rows(text)) describe_rows(text, database_->shape);
        const auto how = run(text, nullptr, 0);
        if (how == outcome::failed || how == outcome::copying) return;
    }
    if (ended_) return;
    finish();
    send_ready();
}

void mini_postgres::describe_rows(const std::string& text, int shape) {
    held_ += frame('T', starts(text, "star") ? text + "@" + std::to_string(shape) : text);
}

void mini_postgres::on_parse(std::string_view body) {
    start();
    const std::string name(body.data());
    const std::string text(body.data() + name.size() + 1);
    if (name.empty()) statements_.erase("");
    if (starts(text, "syntax")) return fail("42601", "syntax error");
    if (!allowed(text)) return;
    if (!name.empty() && statements_.contains(name)) {
        return fail("42P05", "prepared statement \"" + name + "\" already exists");
    }
    statements_[name] = {text, database_->shape};
    held_ += frame('1');
}

void mini_postgres::on_bind(std::string_view body) {
    start();
    const std::string to(body.data());
    const std::string name(body.data() + to.size() + 1);
    const auto at = statements_.find(name);
    if (at == statements_.end()) {
        return name.empty() ? fail("26000", "unnamed prepared statement does not exist")
                            : fail("26000", "prepared statement \"" + name + "\" does not exist");
    }
    if (!allowed(at->second.text)) return;
    if (!to.empty() && portals_.contains(to)) {
        return fail("42P03", "cursor \"" + to + "\" already exists");
    }
    if (starts(at->second.text, "star") && at->second.shape != database_->shape) {
        return fail("0A000", "cached plan must not change result type", "RevalidateCachedQuery");
    }
    portals_[to] = {at->second.text, std::string(body.substr(to.size() + name.size() + 2)),
                    at->second.shape, 0};
    held_ += frame('2');
}

void mini_postgres::on_describe(std::string_view body) {
    start();
    const std::string name(body.data() + 1);
    if (body[0] == 'S') {
        const auto at = statements_.find(name);
        if (at == statements_.end()) {
            return name.empty()
                       ? fail("26000", "unnamed prepared statement does not exist")
                       : fail("26000", "prepared statement \"" + name + "\" does not exist");
        }
        if (returns_rows(at->second.text) && !allowed(at->second.text)) return;
        if (starts(at->second.text, "star") && at->second.shape != database_->shape) {
            return fail("0A000", "cached plan must not change result type",
                        "RevalidateCachedQuery");
        }
        held_ += frame('t', {"\0\0", 2});
        if (!returns_rows(at->second.text)) {
            held_ += frame('n');
        } else {
            describe_rows(at->second.text, at->second.shape);
        }
        return;
    }
    const auto at = portals_.find(name);
    if (at == portals_.end()) return fail("34000", "portal \"" + name + "\" does not exist");
    if (!returns_rows(at->second.text)) {
        held_ += frame('n');
    } else {
        describe_rows(at->second.text, at->second.shape);
    }
}

void mini_postgres::on_execute(std::string_view body) {
    start();
    const std::string name(body.data());
    const auto most =
        protocol::load_u32(reinterpret_cast<const std::uint8_t*>(body.data()) + name.size() + 1);
    const auto at = portals_.find(name);
    if (at == portals_.end()) return fail("34000", "portal \"" + name + "\" does not exist");
    const auto all = split(at->second.text);
    if (all.empty()) {
        held_ += frame('I');
        return;
    }
    if (!allowed(all[0])) return;
    static_cast<void>(run(all[0], &at->second, most));
}

void mini_postgres::on_close(std::string_view body) {
    const std::string name(body.data() + 1);
    if (body[0] == 'S') {
        statements_.erase(name);
    } else {
        portals_.erase(name);
    }
    held_ += frame('3');
}

mini_postgres::outcome mini_postgres::run_rows(const std::string& text, portal* from,
                                               std::uint32_t most) {
    std::size_t total = 1;
    if (starts(text, "select")) total = std::strtoul(text.c_str() + 6, nullptr, 10);
    std::size_t at = from != nullptr ? from->sent : 0;
    for (std::size_t given = 0; at < total; ++at, ++given) {
        if (most != 0 && given == most) {
            from->sent = at;
            held_ += frame('s');
            return outcome::suspended;
        }
        std::string row = text + "#" + std::to_string(at);
        if (starts(text, "show")) row = settings_[known_name(text.substr(5), settings_)];
        if (from != nullptr) row += "|" + from->values;
        held_ += frame('D', row);
    }
    if (from != nullptr) from->sent = at;
    tag("SELECT " + std::to_string(total));
    return outcome::done;
}

bool mini_postgres::run_transaction(const std::string& text) {
    if (text == "begin") {
        if (status_ == 'I') status_ = 'T';
        tag("BEGIN");
    } else if (text == "commit") {
        const bool good = status_ != 'E';
        end_transaction(good);
        status_ = 'I';
        tag(good ? "COMMIT" : "ROLLBACK");
    } else if (text == "rollback" || text == "ROLLBACK") {
        end_transaction(false);
        status_ = 'I';
        tag("ROLLBACK");
    } else {
        return false;
    }
    return true;
}

bool mini_postgres::change(const std::string& name, const std::string& value) {
    const auto known = known_name(name, settings_);
    if (!settings_.contains(known) && known.find('.') == known.npos) {
        fail("42704", "unrecognized configuration parameter \"" + name + "\"");
        return false;
    }
    if (value == "bad") {
        fail("22023", "invalid value for parameter \"" + known + "\": \"" + value + "\"");
        return false;
    }
    settings_[known] = value;
    return true;
}

bool mini_postgres::run_set_config(const std::string& text) {
    std::size_t at = 0;
    std::string row;
    while (text.find("set_config(", at) != text.npos) {
        at = text.find("set_config(", at);
        const auto name = literal(text, at);
        const auto value = literal(text, at);
        if (!change(name, value)) return false;
        row += value;
    }
    held_ += frame('T', "set_config");
    held_ += frame('D', row);
    tag("SELECT 1");
    return true;
}

// False: it failed.
bool mini_postgres::run_setting(const std::string& text) {
    if (starts(text, "SET ")) {  // SET "name"=E'value'
        const auto cut = text.find('=');
        auto name = text.substr(5, cut - 6);
        if (const auto dot = name.find("\".\""); dot != name.npos) name.replace(dot, 3, ".");
        std::size_t at = cut;
        if (!change(name, literal(text, at))) return false;
        tag("SET");
        return true;
    }
    if (starts(text, "set ")) {
        const auto cut = text.find(' ', 4);
        if (!change(text.substr(4, cut - 4), text.substr(cut + 1))) return false;
        tag("SET");
        return true;
    }
    const auto name = text.substr(6);
    if (name == "all" || name == "ALL") {
        settings_ = defaults_;
    } else if (name != "SESSION AUTHORIZATION") {
        const auto known = known_name(name, settings_);
        if (const auto preset = defaults_.find(known); preset != defaults_.end()) {
            settings_[known] = preset->second;
        } else {
            settings_.erase(known);
        }
    }
    tag("RESET");
    return true;
}

mini_postgres::outcome mini_postgres::run(const std::string& text, portal* from,
                                          std::uint32_t most) {
    if (run_transaction(text)) return outcome::done;
    if (starts(text, "SELECT pg_catalog")) {
        return run_set_config(text) ? outcome::done : outcome::failed;
    }
    if (starts(text, "set ") || starts(text, "SET ") || starts(text, "reset ") ||
        starts(text, "RESET ")) {
        return run_setting(text) ? outcome::done : outcome::failed;
    }
    if (returns_rows(text)) return run_rows(text, from, most);
    if (starts(text, "fail")) {
        fail(text.size() > 9 ? text.substr(5, 5) : "22012", "it failed");
        return outcome::failed;
    }
    if (text == "fatal" || text == "die") {
        if (text == "fatal") {
            held_ += error("57P01", "terminating connection due to administrator command", "FATAL");
            send_now();
        }
        hang_up();
        return outcome::failed;
    }
    if (text == "copy in") {
        held_ += frame('G', {"\0\0\0", 3});
        send_now();
        copied_.clear();
        copying_ = true;
        return outcome::copying;
    }
    if (starts(text, "effect")) {
        effects_.push_back(text.substr(7));
        tag("INSERT 0 1");
    } else if (text == "note") {
        held_ += notice("noted");
        send_now();
        tag("DO");
    } else if (text == "notify") {
        held_ += frame('A', {"\0\0\0\7here\0it is\0", 15});
        tag("NOTIFY");
    } else if (text == "alter") {
        ++database_->shape;
        tag("ALTER TABLE");
    } else if (starts(text, "copy out")) {
        const auto rows = std::strtoul(text.c_str() + 8, nullptr, 10);
        held_ += frame('H', {"\0\0\0", 3});
        for (std::size_t i = 0; i < rows; ++i)
            held_ += frame('d', text + std::to_string(i));
        held_ += frame('c');
        tag("COPY " + std::to_string(rows));
    } else if (text == "deallocate all" || text == "DEALLOCATE ALL") {
        statements_.clear();
        tag("DEALLOCATE ALL");
    } else if (text == "discard all" || text == "DISCARD ALL") {
        statements_.clear();
        settings_ = defaults_;
        tag("DISCARD ALL");
    } else if (starts(text, "DEALLOCATE ") || starts(text, "deallocate ")) {
        const auto name = text.substr(11);
        if (statements_.erase(name) == 0) {
            fail("26000", "prepared statement \"" + name + "\" does not exist");
            return outcome::failed;
        }
        tag("DEALLOCATE");
    } else if (text == "CLOSE ALL") {
        tag("CLOSE CURSOR ALL");
    } else if (text == "UNLISTEN *") {
        tag("UNLISTEN");
    } else if (text == "declare") {
        tag("DECLARE CURSOR");
    } else if (text == "listen") {
        tag("LISTEN");
    } else if (text == "prepare") {
        tag("PREPARE");
    } else {
        fail("42601", "syntax error");
        return outcome::failed;
    }
    return outcome::done;
}

}  // namespace sluice::test
