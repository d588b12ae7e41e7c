// A project's JSON file, `.replitdb/project-<id>.json`: docs/kv-files.md, "A project's file".
// Text in, entries out, and back; no file is opened here. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvstore/change.hpp"

namespace sluice::kvstore {

struct stored_entry {
    std::string_view key;
    std::string_view value;
    time_ms expires = never;
    value_form form = value_form::undecided;
};

struct project_header {
    project_id project = 0;
    time_ms created_ms = 0;
    time_ms updated_ms = 0;
    log_number covers = 0;  // every record up to this one is in the file
};

// Builds the text of one file. Entries come in the order in which the file shall have them, each
// key once.
class project_file_writer {
  public:
    project_file_writer(std::string& out, const project_header& header);
    void add(const stored_entry& entry);
    void finish();

  private:
    std::string& out_;
    project_header header_;
    std::string expires_;  // the member that lists them
    std::size_t entries_ = 0;
};

class entry_sink {
  public:
    // The views live until it returns. A key that comes twice: the last one counts.
    virtual void on_entry(const stored_entry& entry) = 0;

  protected:
    ~entry_sink() = default;
};

struct project_file_outcome {
    enum class verdict {
        intact,   // as sluice wrote it, or without a checksum of sluice's (E-Code wrote it)
        edited,   // good JSON of the right shape that is not what sluice wrote
        damaged,  // cannot be read: `line`, `what`
    };
    verdict result = verdict::intact;
    std::uint64_t line = 0;
    std::string what;  // "a comma or } expected"; never a key or a value
};

// `expected`: the id of the file's name; another one within is damage. After `damaged` the sink may
// have got entries already: they are to be thrown away.
[[nodiscard]] project_file_outcome read_project_file(std::string_view text, project_id expected,
                                                     project_header& header, entry_sink& sink);

[[nodiscard]] std::string project_file_name(project_id project);  // "project-7.json"
// True for exactly such names.
[[nodiscard]] bool parse_project_file_name(std::string_view name, project_id& out);

}  // namespace sluice::kvstore
