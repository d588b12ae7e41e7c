// The lines of `sluice doctor`: written as soon as each is known, as text or as one JSON object
// each. One thread.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

namespace sluice::daemon {

class doctor_report {
  public:
    doctor_report(std::ostream& out, bool json) : out_(out), json_(json) {}

    // What was looked at, what was found.
    void ok(std::string_view what, std::string_view found) { write("ok", what, found, {}); }
    // ... and what to do about it.
    void warn(std::string_view what, std::string_view found, std::string_view advice) {
        ++warnings_;
        write("warn", what, found, advice);
    }
    void fail(std::string_view what, std::string_view found, std::string_view advice) {
        ++failures_;
        write("fail", what, found, advice);
    }
    [[nodiscard]] unsigned warnings() const noexcept { return warnings_; }
    [[nodiscard]] unsigned failures() const noexcept { return failures_; }
    void end();

  private:
    void write(std::string_view level, std::string_view what, std::string_view found,
               std::string_view advice);

    std::ostream& out_;
    bool json_;
    unsigned warnings_ = 0;
    unsigned failures_ = 0;
};

}  // namespace sluice::daemon
