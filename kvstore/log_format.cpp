#include "kvstore/log_format.hpp"

#include <xxhash.h>

#include <array>
#include <bit>
#include <cstring>

namespace sluice::kvstore {

namespace {

constexpr std::string_view magic = "SLUICELG";
constexpr std::size_t checked_header_bytes = segment_header_bytes - 8;
constexpr std::size_t longest_number = 10;
constexpr unsigned form_bits = 3;
constexpr unsigned expires_bit = 4;

template <typename Number>
Number little_endian(Number number) noexcept {
    if constexpr (std::endian::native == std::endian::little) return number;
    Number turned = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i) {
        turned = static_cast<Number>((turned << 8) | ((number >> (8 * i)) & 0xff));
    }
    return turned;
}

template <typename Number>
void put_le(char* at, Number number) noexcept {
    number = little_endian(number);
    std::memcpy(at, &number, sizeof number);
}

template <typename Number>
Number get_le(const char* at) noexcept {
    Number number = 0;
    std::memcpy(&number, at, sizeof number);
    return little_endian(number);
}

void append_number(std::string& out, std::uint64_t number) {
    std::array<char, longest_number> text;
    std::size_t length = 0;
    while (number >= 0x80) {
        text[length++] = static_cast<char>(static_cast<unsigned char>(number | 0x80));
        number >>= 7;
    }
    text[length++] = static_cast<char>(static_cast<unsigned char>(number));
    out.append(text.data(), length);
}

void append_bytes(std::string& out, std::string_view bytes) {
    append_number(out, bytes.size());
    out.append(bytes);
}

void append_options(std::string& out, const change& what) {
    auto options = static_cast<unsigned>(what.form) & form_bits;
    if (what.expires != never) options |= expires_bit;
    out.push_back(static_cast<char>(static_cast<unsigned char>(options)));
}

void append_expiry(std::string& out, const change& what) {
    if (what.expires == never) return;
    std::array<char, 8> text;
    put_le(text.data(), static_cast<std::uint64_t>(what.expires));
    out.append(text.data(), text.size());
}

std::uint32_t frame_check(const char* header, std::uint64_t salt) noexcept {
    std::array<char, frame_header_bytes - 4> checked;
    std::memcpy(checked.data(), header, 4);
    std::memcpy(checked.data() + 4, header + 8, 16);
    return static_cast<std::uint32_t>(XXH3_64bits_withSeed(checked.data(), checked.size(), salt));
}

}  // namespace

void append_change(std::string& payload, const change& what) {
    payload.push_back(static_cast<char>(what.kind));
    if (what.kind == change_kind::clear_all) return;
    append_number(payload, what.project);
    switch (what.kind) {
        case change_kind::put:
            append_options(payload, what);
            append_bytes(payload, what.key);
            append_bytes(payload, what.value);
            append_expiry(payload, what);
            break;
        case change_kind::splice:
            append_number(payload, what.offset);
            append_bytes(payload, what.key);
            append_bytes(payload, what.value);
            break;
        case change_kind::erase:
            append_bytes(payload, what.key);
            break;
        case change_kind::expire:
            append_options(payload, what);
            append_bytes(payload, what.key);
            append_expiry(payload, what);
            break;
        case change_kind::rename:
            append_bytes(payload, what.key);
            append_bytes(payload, what.value);
            break;
        case change_kind::clear:
        case change_kind::clear_all:
            break;
    }
}

bool change_reader::read_byte(std::uint8_t& out) noexcept {
    if (rest_.empty()) return false;
    out = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return true;
}

bool change_reader::read_number(std::uint64_t& out) noexcept {
    out = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        std::uint8_t byte = 0;
        if (!read_byte(byte)) return false;
        // The tenth byte has room for one bit; a last byte of zero would be a second spelling.
        if (shift == 63 && byte > 1) return false;
        if (shift != 0 && byte == 0) return false;
        out |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) return true;
    }
    return false;
}

bool change_reader::read_bytes(std::string_view& out) noexcept {
    std::uint64_t length = 0;
    if (!read_number(length) || length > rest_.size()) return false;
    out = rest_.substr(0, static_cast<std::size_t>(length));
    rest_.remove_prefix(out.size());
    return true;
}

bool change_reader::read_options(change& out, bool& expires) noexcept {
    std::uint8_t options = 0;
    if (!read_byte(options) || (options & ~(form_bits | expires_bit)) != 0) return false;
    if ((options & form_bits) > static_cast<unsigned>(value_form::json)) return false;
    out.form = static_cast<value_form>(options & form_bits);
    expires = (options & expires_bit) != 0;
    return true;
}

bool change_reader::read_expiry(bool expires, change& out) noexcept {
    if (!expires) return true;
    if (rest_.size() < 8) return false;
    out.expires = static_cast<time_ms>(get_le<std::uint64_t>(rest_.data()));
    rest_.remove_prefix(8);
    return out.expires != never;
}

bool change_reader::read_fields(change& out) noexcept {
    std::uint8_t kind = 0;
    if (!read_byte(kind)) return false;
    out.kind = static_cast<change_kind>(kind);
    if (out.kind == change_kind::clear_all) return true;
    std::uint64_t project = 0;
    if (!read_number(project) || project > most_project_id) return false;
    out.project = static_cast<project_id>(project);
    bool expires = false;
    switch (out.kind) {
        case change_kind::put:
            return read_options(out, expires) && read_bytes(out.key) && read_bytes(out.value) &&
                   read_expiry(expires, out);
        case change_kind::splice:
            return read_number(out.offset) && read_bytes(out.key) && read_bytes(out.value);
        case change_kind::erase:
            return read_bytes(out.key);
        case change_kind::expire:
            return read_options(out, expires) && read_bytes(out.key) && read_expiry(expires, out);
        case change_kind::rename:
            return read_bytes(out.key) && read_bytes(out.value);
        case change_kind::clear:
        case change_kind::clear_all:
            return true;
    }
    return false;  // a kind of a later format
}

bool change_reader::next(change& out) noexcept {
    if (!ok_ || rest_.empty()) return false;
    out = {};
    ok_ = read_fields(out);
    return ok_;
}

void append_segment_header(std::string& out, const segment_header& header) {
    std::array<char, segment_header_bytes> text{};
    std::memcpy(text.data(), magic.data(), magic.size());
    put_le(text.data() + 8, log_format_version);
    put_le(text.data() + 16, header.first);
    put_le(text.data() + 24, header.after);
    put_le(text.data() + 32, header.salt);
    put_le(text.data() + checked_header_bytes, XXH3_64bits(text.data(), checked_header_bytes));
    out.append(text.data(), text.size());
}

header_verdict read_segment_header(std::string_view segment, segment_header& out,
                                   std::uint32_t& version) noexcept {
    version = 0;
    if (segment.size() < magic.size() + 4 || !segment.starts_with(magic)) {
        return header_verdict::damaged;
    }
    version = get_le<std::uint32_t>(segment.data() + 8);
    if (version != log_format_version) return header_verdict::unknown_version;
    if (segment.size() < segment_header_bytes) return header_verdict::damaged;
    const auto check = get_le<std::uint64_t>(segment.data() + checked_header_bytes);
    if (check != XXH3_64bits(segment.data(), checked_header_bytes)) return header_verdict::damaged;
    out.first = get_le<std::uint64_t>(segment.data() + 16);
    out.after = get_le<std::uint64_t>(segment.data() + 24);
    out.salt = get_le<std::uint64_t>(segment.data() + 32);
    return out.after < out.first ? header_verdict::good : header_verdict::damaged;
}

std::uint64_t payload_hash(std::string_view payload) noexcept {
    return XXH3_64bits(payload.data(), payload.size());
}

void write_frame_header(char* at, std::uint64_t salt, log_number number, std::size_t length,
                        std::uint64_t hash) noexcept {
    put_le(at, static_cast<std::uint32_t>(length));
    put_le(at + 8, number);
    put_le(at + 16, hash);
    put_le(at + 4, frame_check(at, salt));
}

void write_mark(char* at, std::uint64_t salt, log_number safe) noexcept {
    put_le(at + frame_header_bytes, safe);
    write_frame_header(at, salt, 0, 8, payload_hash({at + frame_header_bytes, 8}));
}

frame read_frame(std::string_view text, std::uint64_t salt) noexcept {
    if (text.size() < frame_header_bytes) return {};
    const std::uint64_t length = get_le<std::uint32_t>(text.data());
    if (length > text.size() - frame_header_bytes || length > most_payload_bytes) return {};
    if (get_le<std::uint32_t>(text.data() + 4) != frame_check(text.data(), salt)) return {};
    const auto payload = text.substr(frame_header_bytes, static_cast<std::size_t>(length));
    if (get_le<std::uint64_t>(text.data() + 16) != payload_hash(payload)) return {};
    frame found{frame::kind::record, get_le<std::uint64_t>(text.data() + 8), payload,
                frame_header_bytes + payload.size()};
    if (found.number == 0) {
        if (length != 8) return {};
        found.what = frame::kind::mark;
        found.number = get_le<std::uint64_t>(payload.data());
    }
    return found;
}

std::string segment_name(log_number first) {
    auto digits = std::to_string(first);
    return std::string(20 - digits.size(), '0') + digits + ".log";
}

bool parse_segment_name(std::string_view name, log_number& first) noexcept {
    if (name.size() != 24 || !name.ends_with(".log")) return false;
    log_number number = 0;
    for (const char c : name.substr(0, 20)) {
        if (c < '0' || c > '9') return false;
        const auto digit = static_cast<log_number>(c - '0');
        if (number > (~log_number{0} - digit) / 10) return false;
        number = number * 10 + digit;
    }
    first = number;
    return first != 0;
}

}  // namespace sluice::kvstore
