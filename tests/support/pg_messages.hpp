// Builders of the messages that clients and servers send, for scripts in tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/outgoing.hpp"
#include "protocol/pg_build.hpp"
#include "protocol/pg_frame.hpp"

namespace sluice::test {

using protocol::frame_writer;

inline std::string frame(char type, std::string_view body = {}) {
    std::string out;
    frame_writer(out, type).bytes(body).finish();
    return out;
}

// What a client sends.
inline std::string query(std::string_view sql) {
    std::string out;
    protocol::append_query(out, sql);
    return out;
}
inline std::string parse(std::string_view name, std::string_view sql) {
    std::string out;
    protocol::append_parse(out, name, sql, {"\0\0", 2});
    return out;
}
// One text parameter.
inline std::string bind_to(std::string_view portal, std::string_view name,
                           std::string_view value = "v") {
    std::string out;
    frame_writer writer(out, 'B');
    writer.text(portal).text(name).bytes({"\0\0\0\1", 4});
    writer.u32(static_cast<std::uint32_t>(value.size())).bytes(value).bytes({"\0\0", 2});
    writer.finish();
    return out;
}
inline std::string describe(char kind, std::string_view name) {
    std::string out;
    frame_writer(out, 'D').byte(kind).text(name).finish();
    return out;
}
inline std::string execute(std::string_view portal = "", std::uint32_t most = 0) {
    std::string out;
    frame_writer(out, 'E').text(portal).u32(most).finish();
    return out;
}
inline std::string close(char kind, std::string_view name) {
    std::string out;
    frame_writer(out, 'C').byte(kind).text(name).finish();
    return out;
}
inline std::string sync() {
    return frame('S');
}
inline std::string flush() {
    return frame('H');
}
inline std::string terminate() {
    return frame('X');
}
inline std::string copy_data(std::string_view data) {
    return frame('d', data);
}
inline std::string copy_done() {
    return frame('c');
}
inline std::string copy_fail() {
    std::string out;
    protocol::append_copy_fail(out, "no more");
    return out;
}
inline std::string function_call() {
    return frame('F', {"\0\0\0\1\0\0\0\0\0\0", 10});
}

// What a server sends.
inline std::string ready(char status = 'I') {
    return frame('Z', {&status, 1});
}
inline std::string complete(std::string_view tag) {
    std::string out;
    frame_writer(out, 'C').text(tag).finish();
    return out;
}
inline std::string parameter(std::string_view name, std::string_view value) {
    std::string out;
    protocol::append_parameter_status(out, name, value);
    return out;
}
inline std::string error(std::string_view sqlstate, std::string_view text,
                         std::string_view severity = "ERROR", std::string_view routine = {}) {
    std::string out;
    frame_writer writer(out, 'E');
    writer.byte('S').text(severity).byte('V').text(severity).byte('C').text(sqlstate);
    writer.byte('M').text(text);
    if (!routine.empty()) writer.byte('R').text(routine);
    writer.byte('\0').finish();
    return out;
}
inline std::string notice(std::string_view text, std::string_view sqlstate = "00000") {
    auto out = error(sqlstate, text, "NOTICE");
    out[0] = 'N';
    return out;
}

inline std::string flat(const protocol::outgoing& from) {
    std::string out;
    from.save_rest(0, out);
    return out;
}

// Whole frames; what is left at the end becomes a last element as it is.
inline std::vector<std::string> frames(std::string_view bytes) {
    std::vector<std::string> out;
    protocol::frame_header header;
    while (protocol::read_header(protocol::as_bytes(bytes), header) ==
               protocol::header_status::whole &&
           header.total() <= bytes.size()) {
        out.emplace_back(bytes.substr(0, header.total()));
        bytes.remove_prefix(header.total());
    }
    if (!bytes.empty()) out.emplace_back(bytes);
    return out;
}

// The types of the frames, and the SQLSTATEs of errors: "12DCZ", "E(42601)Z".
inline std::string outline(std::string_view bytes) {
    std::string out;
    for (const auto& one : frames(bytes)) {
        out += one[0];
        if (one[0] == 'E' && one.size() > 5) {
            const auto fields =
                protocol::read_error_fields(protocol::as_bytes(std::string_view(one).substr(5)));
            out += '(' + std::string(fields.sqlstate) + ')';
        }
        if (one[0] == 'Z' && one.size() == 6 && one[5] != 'I') out += one[5];
    }
    return out;
}

// For messages about differences.
inline std::string readable(std::string_view bytes) {
    std::string out;
    for (const auto& one : frames(bytes)) {
        out += one[0];
        out += ' ';
        for (const char c : one.substr(std::min<std::size_t>(5, one.size()))) {
            out += c >= ' ' && c <= '~' ? c : '.';
        }
        out += '\n';
    }
    return out;
}

}  // namespace sluice::test
