#include "protocol/pg_build.hpp"

namespace sluice::protocol {

namespace {

void append_report(std::string& out, char type, const error_report& report) {
    frame_writer frame(out, type);
    frame.byte('S').text(report.severity).byte('V').text(report.severity);
    frame.byte('C').text(report.sqlstate).byte('M').text(report.message);
    if (!report.detail.empty()) frame.byte('D').text(report.detail);
    if (!report.hint.empty()) frame.byte('H').text(report.hint);
    frame.byte('\0').finish();
}

}  // namespace

void append_error(std::string& out, const error_report& report) {
    append_report(out, 'E', report);
}

void append_notice(std::string& out, const error_report& report) {
    append_report(out, 'N', report);
}

void append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
    frame_writer(out, 'S').text(name).text(value).finish();
}

void append_backend_key(std::string& out, std::uint32_t pid, std::string_view secret) {
    frame_writer(out, 'K').u32(pid).bytes(secret).finish();
}

void append_ready(std::string& out, char status) {
    frame_writer(out, 'Z').byte(status).finish();
}

void append_query(std::string& out, std::string_view sql) {
    frame_writer(out, 'Q').text(sql).finish();
}

void append_parse(std::string& out, std::string_view name, std::string_view query,
                  std::string_view types) {
    frame_writer(out, 'P').text(name).text(query).bytes(types).finish();
}

void append_bind(std::string& out, std::string_view statement,
                 const std::vector<std::string_view>& parameters) {
    frame_writer frame(out, 'B');
    const auto count = static_cast<unsigned>(parameters.size());
    frame.text("").text(statement).bytes({"\0\0", 2});
    frame.byte(static_cast<char>(count >> 8)).byte(static_cast<char>(count));
    for (const auto value : parameters)
        frame.u32(static_cast<std::uint32_t>(value.size())).bytes(value);
    frame.bytes({"\0\0", 2}).finish();
}

void append_execute(std::string& out) {
    frame_writer(out, 'E').text("").u32(0).finish();
}

void append_close_statement(std::string& out, std::string_view name) {
    frame_writer(out, 'C').byte('S').text(name).finish();
}

void append_empty(std::string& out, char type) {
    frame_writer(out, type).finish();
}

void append_copy_fail(std::string& out, std::string_view reason) {
    frame_writer(out, 'f').text(reason).finish();
}

}  // namespace sluice::protocol
