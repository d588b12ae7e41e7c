// client_link where the cost of statements is counted: which text each of the client's messages
// runs. A prepared statement holds its text's handle, so only new texts are looked at.
#include "pool/client_link.hpp"
#include "pool/client_message.hpp"
#include "protocol/bytes.hpp"

namespace sluice::pool {

using protocol::as_text;

namespace {

// Names of statements that pass unchanged and are told apart.
constexpr std::size_t most_passed = 200;

std::size_t hash_of(std::string_view portal) noexcept {
    return portal.empty() ? 0 : text_hash{}(portal);
}

}  // namespace

void client_link::look_at_strings() {
    if (reported.get() == strings_seen_) return;
    strings_seen_ = reported.get();
    const auto* value = reported->find("standard_conforming_strings");
    standard_strings_ = value == nullptr || *value == "on";
}

std::uint32_t client_link::text_of(const message& m, std::string_view sql) {
    if (!counts_statements()) return 0;
    look_at_strings();
    if (m.whole()) return counts_->find(sql, standard_strings_, scope_);
    return counts_->find_unread(as_text(m.body), scope_);
}

void client_link::note_bound(std::string_view portal, std::uint32_t text) noexcept {
    bound_text_ = text;
    bound_portal_ = hash_of(portal);
}

// The text's place may have been given to another one.
void client_link::renew_text(std::string_view sql, std::uint32_t& text) {
    if (!counts_statements() || counts_->is_current(text)) return;
    look_at_strings();
    text = counts_->find(sql, standard_strings_, scope_);
}

void client_link::note_passed(std::string_view name, std::uint32_t text) {
    if (text == 0 && passed_texts_.empty()) return;
    if (const auto at = passed_texts_.find(name); at != passed_texts_.end()) {
        at->second = text;
        return;
    }
    if (passed_texts_.size() >= most_passed) passed_texts_.clear();
    passed_texts_.emplace(std::string(name), text);
}

std::uint32_t client_link::passed_text(std::string_view name) const {
    const auto at = passed_texts_.find(name);
    return at == passed_texts_.end() ? 0 : at->second;
}

// Of portals that were bound before the last one is not known what they run.
void client_link::on_execute(message& m) {
    std::uint32_t text = 0;
    if (bound_text_ != 0) {
        protocol::reader in(m.body);
        if (hash_of(in.text()) == bound_portal_) text = bound_text_;
    }
    pass(m, owed_kind::execute);
    m.server->owed.last().text = text;
}

void client_link::count_statements(ended_statements& ended, std::chrono::nanoseconds took) {
    if (!counts_statements()) return ended.clear();
    const auto whole = took.count() > 0 ? static_cast<std::uint64_t>(took.count()) : 0U;
    ended.drain([&](const ended_statement& one, std::size_t sharers) {
        const auto share = sharers == 0 ? 0 : whole / sharers;
        counts_->add(one.text, scope_, {share * one.calls, share, one.calls, one.errors});
    });
}

}  // namespace sluice::pool
