#include "kvstore/entry.hpp"

#include <algorithm>

namespace sluice::kvstore {

entry* entry::make(std::uint32_t hash, const content& from) {
    const bool big = from.value.size() > largest_inline;
    const std::size_t lead = from.expires == never ? 0 : 16;
    const auto room = lead + from.key.size() + (big ? pointer_size : from.value.size());
    auto* const out = ::new (::operator new(sizeof(entry) + room)) entry;
    out->hash = hash;
    out->key_and_flags_ = static_cast<std::uint32_t>(from.key.size()) |
                          (lead != 0 ? expiry_flag : 0) | (big ? blob_flag : 0);
    out->value_and_form_ = static_cast<std::uint32_t>(from.value.size());
    out->set_form(from.form);
    if (lead != 0) out->set_expiry(from.expires);
    char* at = out->bytes() + lead;
    if (!from.key.empty()) std::memcpy(at, from.key.data(), from.key.size());
    at += from.key.size();
    if (big) {
        auto* big_value = from.shared;
        if (big_value != nullptr) {
            big_value->add_reference();
        } else {
            big_value = blob::make(from.value.size());
            std::memcpy(big_value->data(), from.value.data(), from.value.size());
        }
        std::memcpy(at, static_cast<const void*>(&big_value), pointer_size);
    } else if (!from.value.empty()) {
        std::memcpy(at, from.value.data(), from.value.size());
    }
    return out;
}

void entry::destroy(entry* which) noexcept {
    if (which == nullptr) return;
    if (auto* const big_value = which->shared()) big_value->drop_reference();
    which->~entry();
    ::operator delete(which);
}

bool entry::overwrite(std::string_view value, value_form form) noexcept {
    if (is_blob() || value.size() != value_size()) return false;
    if (!value.empty()) std::memcpy(bytes() + lead() + key_size(), value.data(), value.size());
    set_form(form);
    return true;
}

bool entry::splice(std::uint64_t offset, std::string_view with) noexcept {
    const auto end = offset + with.size();
    char* to = nullptr;
    if (auto* const big_value = shared()) {
        if (big_value->is_shared() || end > big_value->capacity()) return false;
        to = big_value->data();
    } else {
        if (end > value_size()) return false;
        to = bytes() + lead() + key_size();
    }
    if (offset > value_size()) std::memset(to + value_size(), 0, offset - value_size());
    if (!with.empty()) std::memcpy(to + offset, with.data(), with.size());
    value_and_form_ = static_cast<std::uint32_t>(std::max<std::uint64_t>(value_size(), end));
    return true;  // the form is undecided again
}

}  // namespace sluice::kvstore
