#include "kvstore/command.hpp"

#include <algorithm>
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>

#include "kvstore/client.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

namespace {

// A reply that is being made, and what was made before it in the same turn.
constexpr std::size_t most_reply = std::size_t{576} << 20;

char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

struct command_table {
    std::vector<command> rows;
    std::vector<command> parts;
    boost::unordered_flat_map<std::string_view, const command*> by_name;
    boost::unordered_flat_map<std::string_view, const command*> by_full_name;

    command_table() {
        for (const auto part :
             {string_commands(), counter_commands(), key_commands(), expiry_commands(),
              scan_commands(), object_commands(), transaction_commands(), connection_commands(),
              database_commands(), client_commands(), config_commands(), acl_commands(),
              info_commands(), command_commands(), server_commands(), control_commands()}) {
            rows.insert(rows.end(), part.begin(), part.end());
        }
        for (std::size_t i = 0; i < rows.size(); ++i) {
            rows[i].number = static_cast<std::uint16_t>(i);
            by_name.emplace(rows[i].name, &rows[i]);
            if (rows[i].parts == nullptr) continue;
            for (auto part : rows[i].parts()) {
                part.number = rows[i].number;
                parts.push_back(part);
            }
        }
        by_full_name = by_name;
        for (const auto& part : parts)
            by_full_name.emplace(part.name, &part);
    }
};

const command_table& the_table() {
    static const command_table out;
    return out;
}

// Of the whole that a name is a part of, if one is given.
const command* find_in(const boost::unordered_flat_map<std::string_view, const command*>& names,
                       std::string_view whole, std::string_view name) noexcept {
    std::array<char, 48> buffer;
    std::size_t used = 0;
    if (whole.size() + 1 + name.size() > buffer.size()) return nullptr;
    if (!whole.empty()) {
        used = static_cast<std::size_t>(std::copy(whole.begin(), whole.end(), buffer.begin()) -
                                        buffer.begin());
        buffer[used++] = '|';
    }
    std::transform(name.begin(), name.end(), buffer.begin() + used, lower);
    const auto at = names.find(std::string_view(buffer.data(), used + name.size()));
    return at == names.end() ? nullptr : at->second;
}

std::string size_text(std::uint64_t bytes) {
    return std::to_string(bytes) + " bytes";
}

}  // namespace

std::span<const command> all_commands() {
    return the_table().rows;
}

const command* find_command(std::string_view name) noexcept {
    return find_in(the_table().by_name, {}, name);
}

const command* find_part(const command& of, std::string_view name) noexcept {
    return find_in(the_table().by_full_name, of.name, name);
}

const command* find_by_full_name(std::string_view name) noexcept {
    return find_in(the_table().by_full_name, {}, name);
}

const command* find_called(std::span<const std::string_view> words) noexcept {
    const auto* const row = words.empty() ? nullptr : find_command(words[0]);
    if (row == nullptr || row->parts == nullptr || words.size() < 2) return row;
    return find_part(*row, words[1]);
}

bool equals_in_any_case(std::string_view text, std::string_view small) noexcept {
    return text.size() == small.size() &&
           std::equal(text.begin(), text.end(), small.begin(),
                      [](char a, char b) { return lower(a) == lower(b); });
}

bool to_integer(std::string_view text, std::int64_t& value) noexcept {
    const auto parsed = parse_integer(text);
    if (parsed) value = *parsed;
    return parsed.has_value();
}

void call::unknown_part() {
    std::string whole(args[0]);
    std::transform(whole.begin(), whole.end(), whole.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    out.error("ERR unknown subcommand or wrong number of arguments for '" +
              std::string(args[1].substr(0, 128)) + "'. Try " + whole + " HELP.");
}

bool call::is_administrator() const noexcept {
    return self.is_control || self.who->all_projects;
}

bool call::may_administer() {
    if (is_administrator()) return true;
    const auto* const row = find_called(args);
    out.error("NOPERM user '" + self.who->name + "' may not run '" +
              std::string(row == nullptr ? args[0] : row->name) +
              "': it is for users who may open all projects");
    return false;
}

bool call::may_open(project_id id) {
    if (self.is_control || self.who->may_open(id)) return true;
    out.error("NOPERM user '" + self.who->name + "' may not open project " + std::to_string(id));
    return false;
}

void call::answer_in(int version) {
    std::construct_at(&out, in.reply.text, version);
}

time_ms call::now() const noexcept {
    return in.now;
}

bool call::is(std::size_t i, std::string_view option) const noexcept {
    return equals_in_any_case(args[i], option);
}

bool call::integer(std::size_t i, std::int64_t& value) {
    if (to_integer(args[i], value)) return true;
    not_an_integer();
    return false;
}

bool call::reserve(std::uint64_t bytes) {
    return self.has_room(*this, bytes);
}

const entry* call::read(std::string_view key) {
    const auto* const found = here->use(key, in.now);
    (found != nullptr ? in.counts.hits : in.counts.misses).add();
    return found;
}

const entry* call::peek(std::string_view key) const {
    return here->find(key, in.now);
}

const entry* call::look(std::string_view key) {
    const auto* const found = here->find(key, in.now);
    (found != nullptr ? in.counts.hits : in.counts.misses).add();
    return found;
}

// More than the largest value and some: a client that asks for one value many times and reads none
// of it would hold that much memory.
void call::value(const entry& from) {
    if (in.reply.size() + from.value_size() > most_reply) {
        self.reply_is_too_big = true;
        return;
    }
    out.bulk_header(from.value_size());
    in.reply.append_value(from);
    in.reply.text += "\r\n";
}

bool call::may_have_size(std::string_view key, std::uint64_t size) {
    const auto& limits = *in.settings;
    const bool is_value = size > limits.max_value_size;
    if (!is_value && key.size() <= limits.max_key_size) return true;
    out.error(std::string("ERR ") + (is_value ? "value" : "key") + " is longer than kv.max_" +
              (is_value ? "value" : "key") + "_size (" +
              size_text(is_value ? limits.max_value_size : limits.max_key_size) + ")");
    return false;
}

bool call::may_store_in(const project& where, std::string_view key, std::uint64_t value_size,
                        std::uint64_t freed, bool is_new) {
    const auto added = key.size() + value_size;
    return may_have_size(key, value_size) &&
           may_grow(where, added > freed ? added - freed : 0, is_new ? 1 : 0);
}

bool call::may_grow(const project& where, std::uint64_t bytes, std::uint64_t keys) {
    const auto& limits = *in.settings;
    if (limits.max_project_size != 0 && bytes > 0 &&
        where.bytes() + bytes > limits.max_project_size) {
        out.error("OOM project " + std::to_string(where.id()) + " holds " +
                  size_text(where.bytes()) + " and may hold " + size_text(limits.max_project_size) +
                  ": delete keys, or raise kv.max_project_size");
        return false;
    }
    if (limits.max_keys != 0 && keys > 0 && where.keys() + keys > limits.max_keys) {
        out.error("OOM project " + std::to_string(where.id()) + " has " +
                  std::to_string(where.keys()) + " keys and may have " +
                  std::to_string(limits.max_keys) + ": delete keys, or raise kv.max_keys");
        return false;
    }
    return true;
}

bool call::may_store(std::string_view key, std::uint64_t new_size, std::uint64_t old_size,
                     bool is_new) {
    if (!may_have_size(key, new_size)) return false;
    if (is_new) return may_grow(*here, key.size() + new_size, 1);
    return may_grow(*here, new_size > old_size ? new_size - old_size : 0, 0);
}

// A key that has expired makes way for what is put in its place.
bool call::may_put(const project::place& at, std::string_view key, std::uint64_t size) {
    return may_store(key, size, at.found == nullptr ? 0 : at.found->value_size(),
                     at.found == nullptr);
}

void call::commit_put(const project::place& at, std::string_view key, std::string_view bytes,
                      time_ms expires) {
    change what;
    what.key = key;
    what.value = bytes;
    what.expires = expires;
    in.changes.commit_put(*here, what, at);
}

bool call::put(const project::place& at, std::string_view key, std::string_view bytes,
               time_ms expires) {
    if (!may_put(at, key, bytes.size())) return false;
    commit_put(at, key, bytes, expires);
    return true;
}

bool call::put(std::string_view key, std::string_view bytes, time_ms expires) {
    return put(here->look_up(key), key, bytes, expires);
}

void call::erase(std::string_view key) {
    change what;
    what.kind = change_kind::erase;
    what.key = key;
    commit(what);
}

void call::commit(const change& what) {
    in.changes.commit(*here, what);
}

}  // namespace sluice::kvstore
