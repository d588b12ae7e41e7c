// Builders of Postgres messages: each appends one whole message to `out`.
// Wire formats: PostgreSQL documentation, chapter "Frontend/Backend Protocol", "Message Formats".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"

namespace sluice::protocol {

// Writes a frame around what the caller appends between construction and finish().
class frame_writer {
  public:
    frame_writer(std::string& out, char type) : out_(out), start_(out.size() + 1) {
        out_.push_back(type);
        out_.append(4, '\0');
    }
    frame_writer& text(std::string_view value) {
        out_.append(value).push_back('\0');
        return *this;
    }
    frame_writer& bytes(std::string_view value) {
        out_.append(value);
        return *this;
    }
    frame_writer& byte(char value) {
        out_.push_back(value);
        return *this;
    }
    frame_writer& u32(std::uint32_t value) {
        char raw[4];
        store_u32(raw, value);
        out_.append(raw, 4);
        return *this;
    }
    // `behind` counts body bytes that will follow by other means.
    void finish(std::size_t behind = 0) {
        store_u32(out_.data() + start_, static_cast<std::uint32_t>(out_.size() - start_ + behind));
    }

  private:
    std::string& out_;
    std::size_t start_;
};

// An ErrorResponse or NoticeResponse of our own. Empty detail and hint are left out.
struct error_report {
    std::string_view severity = "ERROR";
    std::string_view sqlstate = {};
    std::string_view message = {};
    std::string_view detail = {};
    std::string_view hint = {};
};

void append_error(std::string& out, const error_report& report);
void append_notice(std::string& out, const error_report& report);
void append_parameter_status(std::string& out, std::string_view name, std::string_view value);
void append_backend_key(std::string& out, std::uint32_t pid, std::string_view secret);
void append_ready(std::string& out, char status);
void append_query(std::string& out, std::string_view sql);
void append_parse(std::string& out, std::string_view name, std::string_view query,
                  std::string_view types);
// The unnamed portal, parameters and results as text.
void append_bind(std::string& out, std::string_view statement,
                 const std::vector<std::string_view>& parameters);
void append_execute(std::string& out);  // of the unnamed portal, to its end
void append_close_statement(std::string& out, std::string_view name);
void append_empty(std::string& out, char type);  // Sync, Flush, Terminate, ParseComplete, ...
void append_copy_fail(std::string& out, std::string_view reason);

}  // namespace sluice::protocol
