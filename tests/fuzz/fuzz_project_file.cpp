// Any text is damaged, or entries that come back from what sluice writes of them; any bytes come
// back as a key and as a value of each form; any JSON without white space stays as it is.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/json_string.hpp"
#include "kvstore/json_text.hpp"
#include "kvstore/project_file.hpp"

namespace {

using namespace sluice::kvstore;
using verdict = project_file_outcome::verdict;

constexpr project_id project = 7;

struct entry {
    std::string key;
    std::string value;
    time_ms expires;
    value_form form;

    bool operator==(const entry&) const = default;
};

struct collector final : entry_sink {
    void on_entry(const stored_entry& e) override {
        entries.push_back({std::string(e.key), std::string(e.value), e.expires, e.form});
    }
    std::vector<entry> entries;
};

void must(bool holds) {
    if (!holds) std::abort();
}

std::string write(const std::vector<entry>& entries, const project_header& header) {
    std::string out;
    project_file_writer writer(out, header);
    for (const auto& e : entries)
        writer.add({.key = e.key, .value = e.value, .expires = e.expires, .form = e.form});
    writer.finish();
    return out;
}

// What was written of them is intact, holds the same bytes, and does not change any more.
void must_come_back(std::vector<entry> entries, const project_header& header) {
    const auto file = write(entries, header);
    project_header found;
    collector sink;
    must(read_project_file(file, project, found, sink).result == verdict::intact);
    must(found.covers == header.covers);
    must(write(sink.entries, found) == file);
    must(sink.entries.size() == entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i)
        entries[i].form = sink.entries[i].form;
    must(sink.entries == entries);
}

void fuzz_file(std::string_view text) {
    project_header header;
    collector sink;
    const auto outcome = read_project_file(text, project, header, sink);
    must((outcome.result == verdict::damaged) == (outcome.line != 0));
    must((outcome.result == verdict::damaged) != outcome.what.empty());
    if (outcome.result == verdict::damaged) return;
    json_fault fault;
    const bool marked = text.starts_with("\xef\xbb\xbf");
    must(check_json(marked ? text.substr(3) : text, json_most_nested + 2, fault));
    // The writer takes each key once.
    for (auto& e : sink.entries)
        e.key += '#' + std::to_string(&e - sink.entries.data());
    must_come_back(sink.entries, header);
}

void fuzz_bytes(const std::string& bytes) {
    using enum value_form;
    must_come_back({{bytes, bytes, never, undecided}, {bytes + 'x', bytes, 5, text}}, {project});
    must_come_back({{"k", bytes, never, json}, {'$' + bytes, bytes, never, undecided}}, {project});
    std::string literal;
    must(append_json_string(literal, bytes) == can_be_json_string(bytes));
    std::string once;
    json_fault fault;
    if (!compact_json(bytes, once, fault)) {
        must(fault.offset <= bytes.size() && !fault.what.empty() && !is_canonical_json(bytes));
        return;
    }
    std::string twice;
    must(compact_json(once, twice, fault) && twice == once);
    must(!is_canonical_json(bytes) || once == bytes);
    std::string lines;
    twice.clear();
    if (pretty_json(once, 1, lines, 1 << 20))
        must(compact_json(lines, twice, fault) && twice == once);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string bytes(reinterpret_cast<const char*>(data), size);
    fuzz_file(bytes);
    fuzz_bytes(bytes);
    return 0;
}
