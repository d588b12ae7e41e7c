#include "kvstore/project_content.hpp"

namespace sluice::kvstore {

namespace {

class collector final : public entry_sink {
  public:
    explicit collector(project_content& out) : out_(out) {}
    void on_entry(const stored_entry& entry) override {
        out_.keys.insert_or_assign(std::string(entry.key),
                                   kept_value{std::string(entry.value), entry.expires, entry.form});
    }

  private:
    project_content& out_;
};

}  // namespace

std::uint64_t project_content::bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& [key, kept] : keys)
        sum += key.size() + kept.value.size();
    return sum;
}

project_file_outcome read_project(std::string_view text, project_id expected,
                                  project_content& out) {
    out = {};
    collector into(out);
    return read_project_file(text, expected, out.header, into);
}

std::string project_text(const project_content& of) {
    std::string text;
    project_file_writer writer(text, of.header);
    for (const auto& [key, kept] : of.keys)
        writer.add({key, kept.value, kept.expires, kept.form});
    writer.finish();
    return text;
}

}  // namespace sluice::kvstore
