// The exact content of one project at one moment, taken while commands go on: a walker copies the
// buckets a slice at a time under the project's lock, and whoever is about to change a bucket that
// has not been walked yet has it copied first. Big values are not copied but held on to.
// begin(), step() and save() under the project's lock; the rest on the walker's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kvstore/project.hpp"
#include "kvstore/project_file.hpp"

namespace sluice::kvstore {

class snapshot {
  public:
    snapshot() = default;
    ~snapshot();
    snapshot(const snapshot&) = delete;
    snapshot& operator=(const snapshot&) = delete;

    // The moment. The project must live until the last step().
    void begin(project& of);
    // Copies up to about `bytes`; true: everything has been copied, and the project is let go.
    [[nodiscard]] bool step(project& of, std::size_t bytes);
    void abandon(project& of) noexcept;

    // Of the project: these keys are about to change.
    void save(project& of, std::uint32_t hash);
    void take_all(project& of);

    // After the last step(). Entries in the order of their keys; those too that have expired, since
    // a record that comes later may still change one.
    [[nodiscard]] const project_header& header() const noexcept { return header_; }
    [[nodiscard]] std::vector<stored_entry>& sorted();
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  private:
    struct arena {
        std::unique_ptr<char[]> memory;
        std::size_t size = 0;
        std::size_t used = 0;
    };
    void copy_bucket(const table& from, int half, std::size_t index);
    void copy(const entry& e);
    [[nodiscard]] std::string_view keep(std::string_view bytes);
    void end(project& of) noexcept;

    project_header header_;
    std::vector<bool> done_[2];
    int half_ = 0;  // where the walker is
    std::size_t index_ = 0;
    std::uint64_t bytes_ = 0;
    bool running_ = false;
    table taken_;  // what a clear left us
    bool has_taken_ = false;
    std::vector<arena> arenas_;
    std::vector<blob_ref> held_;
    std::vector<stored_entry> entries_;
};

}  // namespace sluice::kvstore
