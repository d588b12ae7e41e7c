#include "daemon/doctor_report.hpp"

#include <algorithm>
#include <ostream>

#include "kvstore/json_string.hpp"

namespace sluice::daemon {

namespace {

// What servers and the system say is put on one line, without what would steer a terminal.
std::string on_one_line(std::string_view text) {
    std::string out(text);
    std::replace_if(
        out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
    return out;
}

void append_value(std::string& to, std::string_view text) {
    auto line = on_one_line(text);
    if (kvstore::append_json_string(to, line)) return;
    std::replace_if(
        line.begin(), line.end(), [](unsigned char c) { return c >= 0x80; }, '?');
    (void)kvstore::append_json_string(to, line);
}

}  // namespace

void doctor_report::write(std::string_view level, std::string_view what, std::string_view found,
                          std::string_view advice) {
    if (json_) {
        std::string line = "{\"level\":";
        append_value(line, level);
        line += ",\"what\":";
        append_value(line, what);
        line += ",\"found\":";
        append_value(line, found);
        if (!advice.empty()) {
            line += ",\"advice\":";
            append_value(line, advice);
        }
        out_ << line << '}' << std::endl;
        return;
    }
    out_ << level << std::string(6 - level.size(), ' ') << on_one_line(what) << ": "
         << on_one_line(found);
    if (!advice.empty()) out_ << ". " << on_one_line(advice);
    out_ << std::endl;
}

void doctor_report::end() {
    if (json_) return;
    const auto count = [](unsigned n, const char* one) {
        return std::to_string(n) + " " + one + (n == 1 ? "" : "s");
    };
    out_ << (failures_ == 0 && warnings_ == 0
                 ? std::string("all is well")
                 : count(failures_, "failure") + ", " + count(warnings_, "warning"))
         << std::endl;
}

}  // namespace sluice::daemon
