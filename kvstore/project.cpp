#include "kvstore/project.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kvstore/snapshot.hpp"

namespace sluice::kvstore {

project::~project() = default;

project::place project::look_up(std::string_view key) noexcept {
    const auto hash = table::hash_of(key);
    return {hash, table_.find(hash, key)};
}

entry* project::find(std::string_view key, time_ms now) noexcept {
    return look_up(key).live(now);
}

entry* project::use(std::string_view key, time_ms now) noexcept {
    auto* const found = find(key, now);
    if (found != nullptr) found->used = static_cast<std::uint32_t>(now / 1000);
    return found;
}

std::uint64_t project::memory() const noexcept {
    // 24 bytes of an entry, 8 of malloc and, on average, 8 of rounding up.
    return bytes_ + keys() * 40 + expiring_.size() * 32 + table_.overhead();
}

void project::make_resident(table&& keys, std::uint64_t bytes) {
    table_ = std::move(keys);
    bytes_ = bytes;
    expiring_.clear();
    table_.for_each([&](entry& e) {
        e.used = used_s();
        if (e.expires()) expiring_.add(&e);
    });
    state = residence::resident;
}

void project::leave_memory() noexcept {
    table_ = table();
    expiring_.clear();
    bytes_ = 0;
    state = residence::absent;
}

void project::before_change(std::uint32_t hash) {
    if (snapshot_ != nullptr) snapshot_->save(*this, hash);
}

void project::apply(const change& what) {
    switch (what.kind) {
        case change_kind::put:
            return put(what, look_up(what.key));
        case change_kind::splice:
            return splice(what);
        case change_kind::erase:
            return erase(what.key);
        case change_kind::expire:
            return expire(what);
        case change_kind::rename:
            return rename(what.key, what.value);
        case change_kind::clear:
        case change_kind::clear_all:
            return clear();
    }
}

void project::put(const change& what, const place& at) {
    before_change(at.hash);
    store(at.hash, at.found, {what.key, what.value, what.expires, what.form});
    touch(what.key, false);
}

void project::store(std::uint32_t hash, entry* old, const entry::content& content) {
    if (old != nullptr && old->expires() == (content.expires != never) &&
        old->overwrite(content.value, content.form)) {
        old->used = used_s();
        if (old->expiry() == content.expires) return;
        old->set_expiry(content.expires);
        expiring_.replace(old, old);
        return;
    }
    auto* const fresh = entry::make(hash, content);
    fresh->used = used_s();
    bytes_ += content.key.size() + content.value.size();
    if (old == nullptr) {
        table_.insert(fresh);
        if (fresh->expires()) expiring_.add(fresh);
        return;
    }
    bytes_ -= old->key_size() + old->value_size();
    table_.replace(old, fresh);
    if (old->expires() && fresh->expires()) {
        expiring_.replace(old, fresh);
    } else if (old->expires()) {
        expiring_.remove(old);
    } else if (fresh->expires()) {
        expiring_.add(fresh);
    }
    entry::destroy(old);
}

void project::splice(const change& what) {
    const auto hash = table::hash_of(what.key);
    before_change(hash);
    auto* const old = table_.find(hash, what.key);
    const auto before = old == nullptr ? 0 : old->value_size();
    if (old != nullptr && old->splice(what.offset, what.value)) {
        old->used = used_s();
        bytes_ += old->value_size() - before;
    } else {
        splice_copy(hash, old, what);
    }
    touch(what.key, false);
}

// A big value that grows gets as much room again, up to a MiB or a quarter of it: what is appended
// to it in small pieces costs time for the pieces only.
void project::splice_copy(std::uint32_t hash, entry* old, const change& what) {
    const auto before = old == nullptr ? std::string_view() : old->value();
    const auto end = what.offset + what.value.size();
    const auto size = std::max<std::uint64_t>(before.size(), end);
    const bool grows = before.size() > entry::largest_inline && size > before.size();
    const auto spare = grows ? std::max(std::min(size, std::uint64_t{1} << 20), size / 4) : 0;
    auto* const room = blob::make(size + spare);
    char* const to = room->data();
    if (!before.empty()) std::memcpy(to, before.data(), before.size());
    if (size > before.size()) std::memset(to + before.size(), 0, size - before.size());
    if (!what.value.empty()) std::memcpy(to + what.offset, what.value.data(), what.value.size());
    store(hash, old, {what.key, {to, size}, old == nullptr ? never : old->expiry(), {}, room});
    room->drop_reference();
}

void project::erase(std::string_view key) {
    const auto hash = table::hash_of(key);
    before_change(hash);
    auto* const old = table_.find(hash, key);
    if (old == nullptr) return;
    touch(key, true);  // `key` may be the entry's own
    remove(old);
}

void project::remove(entry* which) {
    bytes_ -= which->key_size() + which->value_size();
    if (which->expires()) expiring_.remove(which);
    table_.remove(which);
    entry::destroy(which);
}

void project::expire(const change& what) {
    const auto hash = table::hash_of(what.key);
    before_change(hash);
    auto* const old = table_.find(hash, what.key);
    if (old == nullptr) return;
    touch(what.key, false);
    if (old->expires() && what.expires != never) {
        old->set_expiry(what.expires);
        expiring_.replace(old, old);
    } else if (old->expires() != (what.expires != never)) {
        store(hash, old, {what.key, old->value(), what.expires, old->form(), old->shared()});
    }
}

void project::rename(std::string_view from, std::string_view to) {
    const auto hash = table::hash_of(from);
    const auto target = table::hash_of(to);
    before_change(hash);
    before_change(target);
    auto* const old = table_.find(hash, from);
    if (old == nullptr || from == to) return;
    touch(from, true);
    touch(to, false);
    const blob_ref keep(old->shared());
    const std::string value(keep ? std::string_view() : old->value());
    const entry::content content{to, keep ? old->value() : value, old->expiry(), old->form(),
                                 old->shared()};
    remove(old);
    store(target, table_.find(target, to), content);
}

void project::clear() {
    for (auto& [key, who] : watches_) {
        if (table_.find(table::hash_of(key), key) == nullptr) continue;
        if (!std::exchange(who.was_expired, false)) {
            who.touched->store(true, std::memory_order_relaxed);
        }
    }
    if (snapshot_ != nullptr) snapshot_->take_all(*this);
    table_ = table();
    expiring_.clear();
    bytes_ = 0;
}

void project::touch(std::string_view key, bool is_gone) {
    if (watches_.empty()) return;
    const auto [from, to] = watches_.equal_range(std::string(key));
    for (auto at = from; at != to; ++at) {
        if (at->second.was_expired && is_gone) {
            at->second.was_expired = false;  // from now on a change is one
        } else {
            at->second.touched->store(true, std::memory_order_relaxed);
        }
    }
}

void project::add_watch(std::string_view key, watch who) {
    watches_.emplace(std::string(key), who);
}

bool project::is_watched_by(std::string_view key, const std::atomic<bool>* who) const {
    if (watches_.empty()) return false;
    const auto [from, to] = watches_.equal_range(std::string(key));
    return std::any_of(from, to, [&](const auto& one) { return one.second.touched == who; });
}

void project::remove_watch(std::string_view key, const std::atomic<bool>* who) {
    const auto [from, to] = watches_.equal_range(std::string(key));
    const auto at =
        std::find_if(from, to, [&](const auto& one) { return one.second.touched == who; });
    if (at != to) watches_.erase(at);
}

}  // namespace sluice::kvstore
