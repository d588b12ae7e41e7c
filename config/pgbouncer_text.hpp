// Texts that import_pgbouncer writes: YAML lines with their comments, quoted as YAML, libpq and
// sluice's own ${...} want it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::config {

// A key or value of YAML that reads back as `text`.
[[nodiscard]] std::string yaml_word(std::string_view text);
// The same for a value in which ${...} must not be replaced.
[[nodiscard]] std::string yaml_value(std::string_view text);
// key=value as libpq reads it.
[[nodiscard]] std::string conninfo(const std::vector<std::pair<std::string, std::string>>& words);
// "a, b,c"
[[nodiscard]] std::vector<std::string> comma_list(std::string_view text);

class yaml_writer {
  public:
    // `comment` goes behind the text where there is room, else above it.
    void line(int indent, std::string_view text, std::string_view comment = {});
    void comment(int indent, std::string_view text);
    void gap() { out_ += '\n'; }
    [[nodiscard]] std::string take() { return std::move(out_); }

  private:
    std::string out_;
};

}  // namespace sluice::config
