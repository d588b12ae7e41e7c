// `sluice kv export`.

#include <ostream>

#include "daemon/kv/cli_place.hpp"
#include "daemon/kv/service.hpp"
#include "kvstore/transfer.hpp"
#include "kvstore/whole_file.hpp"

namespace sluice::daemon {

namespace {

// Where the text goes: standard output, or a file that is there when it is whole.
class export_target {
  public:
    export_target(std::ostream& out, std::string path) : out_(out), path_(std::move(path)) {
        if (path_.empty()) return;
        auto& files = kvstore::posix_files();
        (void)files.remove(path_ + ".new");
        check(files.open(path_ + ".new", kvstore::file_env::create::fresh, file_));
    }
    ~export_target() {
        if (file_ != nullptr) (void)kvstore::posix_files().remove(path_ + ".new");
    }
    export_target(const export_target&) = delete;
    export_target& operator=(const export_target&) = delete;

    void write(std::string_view text) {
        if (file_ == nullptr) {
            if (!(out_ << text)) throw std::runtime_error("standard output cannot be written");
            return;
        }
        std::size_t written = 0;
        check(file_->append(text, written));
    }

    void finish() {
        if (file_ == nullptr) {
            if (!out_.flush()) throw std::runtime_error("standard output cannot be written");
            return;
        }
        auto& files = kvstore::posix_files();
        check(file_->sync());
        check(files.rename(path_ + ".new", path_));
        file_.reset();
        check(files.sync_directory(kvstore::directory_of(path_)));
    }

  private:
    void check(const std::error_code& error) const {
        if (error) throw std::runtime_error(path_ + ": " + error.message());
    }

    std::ostream& out_;
    std::string path_;
    std::unique_ptr<kvstore::open_file> file_;
};

// One project of the export, behind the others.
std::string text_of(kvstore::project_content& content, bool as_lines, bool all, bool first) {
    std::string out;
    if (as_lines) {
        for (const auto& [key, kept] : content.keys)
            kvstore::append_key_line(out, content.header.project, key, kept);
        return out;
    }
    content.header.covers = 0;
    out = kvstore::project_text(content);
    if (!all) return out;
    out.pop_back();  // the line's end
    return (first ? "\n" : ",\n") + out;
}

}  // namespace

int export_projects(const kv_job& job) {
    const auto& options = job.options;
    kv_place place(job);
    place.save();
    const bool all = !options.project;
    const bool as_lines = options.format == "jsonl";
    const auto ids = all ? place.projects() : std::vector{*options.project};
    export_target to(job.with.out, options.output);
    progress_line progress(job.with, "export");
    std::size_t written = 0;
    bool complete = true;
    if (all && !as_lines) to.write("{\"projects\":[");
    for (std::size_t i = 0; i < ids.size(); ++i) {
        kvstore::project_content content;
        std::string damage;
        const bool is_there = place.read(ids[i], content, damage);
        if (!damage.empty()) {
            job.with.err << "sluice: " << damage << '\n';
            complete = false;
        } else if (is_there) {
            to.write(text_of(content, as_lines, all, written++ == 0));
        }
        progress.show(i + 1, ids.size(), "projects");
    }
    if (!all && written == 0 && complete) {
        throw std::runtime_error("there is no project " + std::to_string(*options.project));
    }
    if (!all && !complete) return exit_failure;
    if (all && !as_lines) to.write(written == 0 ? "]}\n" : "\n]}\n");
    to.finish();
    for (const auto& name : place.set_aside()) {
        if (all) job.with.err << "warning: not exported: " << name << ", which was set aside\n";
    }
    place.close();
    if (!complete) job.with.err << "sluice: the export lacks the projects that are damaged\n";
    return complete ? exit_fine : exit_failure;
}

}  // namespace sluice::daemon
