// `sluice kv import`: everything is read and compared before anything is written.

#include <algorithm>
#include <ostream>

#include "daemon/kv/cli_place.hpp"
#include "daemon/kv/service.hpp"
#include "kvstore/batch.hpp"
#include "kvstore/transfer.hpp"
#include "kvstore/whole_file.hpp"

namespace sluice::daemon {

namespace {

using kvstore::kept_value;
using kvstore::project_content;
using kvstore::project_id;

// What a running sluice is sent before its answers are read.
constexpr std::size_t most_in_flight = 512;
constexpr std::size_t most_bytes_in_flight = std::size_t{1} << 20;
constexpr std::size_t most_errors_told = 5;

// What the import does to one project.
struct plan {
    project_id id = 0;
    const project_content* wanted = nullptr;
    std::vector<const std::pair<const std::string, kept_value>*> puts;
    std::vector<std::string> erased;
    std::uint64_t added = 0;
    std::uint64_t changed = 0;
    std::uint64_t unchanged = 0;
    std::uint64_t keys_after = 0;
    std::uint64_t bytes_after = 0;
    bool is_set_aside = false;  // its file was damaged, and it gets a new one
};

kvstore::transfer_format format_of(const std::string& name) {
    if (name == "json" || name == "ecode") return kvstore::transfer_format::json;
    if (name == "jsonl") return kvstore::transfer_format::lines;
    if (name == "replit") return kvstore::transfer_format::replit;
    return kvstore::transfer_format::automatic;
}

kvstore::imported_projects read_files(const kv_job& job, std::uint64_t& expired) {
    kvstore::imported_projects out;
    for (const auto& path : job.options.files) {
        std::string text;
        if (const auto error = kvstore::posix_files().read(path, text)) {
            throw std::runtime_error(path + ": " + error.message() + "; nothing was imported");
        }
        const auto error =
            kvstore::read_transfer(text, format_of(job.options.format), job.options.project, out);
        if (!error.empty()) {
            throw std::runtime_error(path + ": " + error + "; nothing was imported");
        }
    }
    const auto now = wall_clock_ms();
    for (auto& [id, content] : out) {
        expired += std::erase_if(content.keys,
                                 [now](const auto& one) { return one.second.expires <= now; });
    }
    return out;
}

plan compare(const project_content& wanted, const project_content& there, bool replaces) {
    plan out;
    out.wanted = &wanted;
    out.keys_after = there.keys.size();
    out.bytes_after = there.bytes();
    for (const auto& one : wanted.keys) {
        const auto& [key, kept] = one;
        const auto old = there.keys.find(key);
        if (old == there.keys.end()) {
            ++out.added;
            ++out.keys_after;
            out.bytes_after += key.size() + kept.value.size();
        } else if (old->second == kept) {
            ++out.unchanged;
            continue;
        } else {
            ++out.changed;
            out.bytes_after += kept.value.size();
            out.bytes_after -= old->second.value.size();
        }
        out.puts.push_back(&one);
    }
    for (const auto& [key, kept] : there.keys) {
        if (!replaces || wanted.keys.contains(key)) continue;
        out.erased.push_back(key);
        --out.keys_after;
        out.bytes_after -= key.size() + kept.value.size();
    }
    return out;
}

void check_limits(const kv_job& job, const plan& what) {
    const auto& limits = job.settings;
    const auto refuse = [&](const std::string& why) {
        throw std::runtime_error("project " + std::to_string(what.id) + " " + why +
                                 "; nothing was imported");
    };
    for (const auto* const one : what.puts) {
        const auto& [key, kept] = *one;
        if (key.size() > limits.max_key_size) {
            refuse("would get a key that is longer than kv.max_key_size");
        }
        if (kept.value.size() > limits.max_value_size) {
            refuse("would get a value that is longer than kv.max_value_size");
        }
    }
    if (!job.has_limits || what.puts.empty()) return;
    if (limits.max_keys != 0 && what.keys_after > limits.max_keys && what.added > 0) {
        refuse("would have " + std::to_string(what.keys_after) + " keys and may have " +
               std::to_string(limits.max_keys) + " (kv.max_keys)");
    }
    if (limits.max_project_size != 0 && what.bytes_after > limits.max_project_size) {
        refuse("would hold " + bytes_text(what.bytes_after) + " and may hold " +
               bytes_text(limits.max_project_size) + " (kv.max_project_size)");
    }
}

std::vector<plan> make_plans(const kv_job& job, kv_place& place,
                             const kvstore::imported_projects& wanted) {
    std::vector<plan> out;
    const auto aside = place.set_aside();
    progress_line progress(job.with, "compare");
    for (const auto& [id, content] : wanted) {
        progress.show(out.size(), wanted.size(), "projects");
        project_content there;
        std::string damage;
        const bool exists = place.read(id, there, damage);
        auto one = compare(content, there, job.options.replace);
        one.id = id;
        const auto kept = kvstore::project_file_name(id) + ".damaged";
        one.is_set_aside = !damage.empty() ||
                           (!exists && std::find(aside.begin(), aside.end(), kept) != aside.end());
        if (one.is_set_aside && place.control() != nullptr) {
            throw std::runtime_error("the file of project " + std::to_string(id) +
                                     " was damaged, and the running sluice refuses it: stop "
                                     "sluice, and import again; nothing was imported");
        }
        check_limits(job, one);
        out.push_back(std::move(one));
    }
    return out;
}

// Counts answers of the running daemon, and tells the first errors.
class answers {
  public:
    explicit answers(std::ostream& err) : err_(err) {}
    void count(const std::string& error) {
        if (error.empty()) return;
        if (++failed_ <= most_errors_told) err_ << "sluice: " << error << '\n';
    }
    [[nodiscard]] std::uint64_t failed() const { return failed_; }

  private:
    std::ostream& err_;
    std::uint64_t failed_ = 0;
};

class online_import {
  public:
    online_import(const kv_job& job, control_client& control)
        : control_(control), answers_(job.with.err) {}

    std::uint64_t run(const std::vector<plan>& plans, progress_line& progress) {
        for (std::size_t i = 0; i < plans.size(); ++i) {
            const auto& one = plans[i];
            progress.show(i, plans.size(), "projects");
            control_.call({"SELECT", std::to_string(one.id)});
            for (const auto& key : one.erased)
                send({"DEL", key}, key.size());
            for (const auto* const put : one.puts)
                send_put(*put);
            receive();
        }
        return answers_.failed();
    }

  private:
    void send_put(const std::pair<const std::string, kept_value>& one) {
        const auto& [key, kept] = one;
        const auto form = kept.form == kvstore::value_form::text   ? "text"
                          : kept.form == kvstore::value_form::json ? "json"
                                                                   : "undecided";
        const auto expires = std::to_string(kept.expires == kvstore::never ? -1 : kept.expires);
        send({"SLUICE", "PUT", key, kept.value, form, expires}, key.size() + kept.value.size());
    }

    void send(std::initializer_list<std::string_view> args, std::size_t bytes) {
        control_.send(args);
        bytes_ += bytes;
        if (++sent_ >= most_in_flight || bytes_ >= most_bytes_in_flight) receive();
    }

    void receive() {
        for (; sent_ > 0; --sent_)
            answers_.count(control_.receive());
        bytes_ = 0;
    }

    control_client& control_;
    answers answers_;
    std::size_t sent_ = 0;
    std::size_t bytes_ = 0;
};

// In the store that was opened here. There is no other thread: the log is written in between.
class offline_import {
  public:
    explicit offline_import(kvstore::store& db) : db_(db), changes_(db) {}

    void run(const std::vector<plan>& plans, progress_line& progress) {
        for (std::size_t i = 0; i < plans.size(); ++i) {
            progress.show(i, plans.size(), "projects");
            changes_.now = wall_clock_ms();
            if (plans[i].is_set_aside) {
                write_file(plans[i]);
            } else {
                change_project(plans[i]);
            }
        }
    }

  private:
    void change_project(const plan& what) {
        if (what.erased.empty() && what.puts.empty()) return;
        const auto one = db_.find(what.id);
        if (one->state == kvstore::project::residence::absent) db_.load(*one, changes_.now);
        if (one->state != kvstore::project::residence::resident) {
            throw std::runtime_error(one->why);
        }
        changes_.hold(one);
        for (const auto& key : what.erased) {
            kvstore::change change;
            change.kind = kvstore::change_kind::erase;
            change.key = key;
            commit(one, change);
        }
        for (const auto* const put : what.puts) {
            const auto& [key, kept] = *put;
            kvstore::change change;
            change.key = key;
            change.value = kept.value;
            change.form = kept.form;
            change.expires = kept.expires;
            commit(one, change);
        }
        (void)changes_.finish();
    }

    void commit(const std::shared_ptr<kvstore::project>& to, const kvstore::change& what) {
        const auto bytes = what.key.size() + what.value.size() + 64;
        for (;;) {
            const auto answer = changes_.make_room(bytes);
            if (answer == kvstore::admission::granted) break;
            if (answer == kvstore::admission::refused) {
                throw std::runtime_error("the log cannot be written: " + db_.log().why());
            }
            (void)db_.log().step(std::chrono::steady_clock::now());
        }
        changes_.commit(*to, what);
        changes_.breathe();
    }

    // The damaged one has another name already, or gets it here.
    void write_file(const plan& what) {
        const auto one = db_.find(what.id);
        if (one->state == kvstore::project::residence::absent) db_.load(*one, changes_.now);
        project_content content = *what.wanted;
        content.header = {.project = what.id,
                          .created_ms = changes_.now,
                          .updated_ms = changes_.now,
                          .covers = db_.log().last()};
        const auto path = db_.directory() + "/" + kvstore::project_file_name(what.id);
        if (const auto error =
                kvstore::replace_file(db_.files(), path, kvstore::project_text(content))) {
            throw std::runtime_error(path + ": " + error.message());
        }
    }

    kvstore::store& db_;
    kvstore::batch changes_;
};

void print(std::ostream& out, const std::vector<plan>& plans, std::uint64_t expired) {
    for (const auto& one : plans) {
        out << "project " << one.id << ": " << one.added << " added, " << one.changed
            << " changed, " << one.erased.size() << " removed, " << one.unchanged << " unchanged"
            << (one.is_set_aside ? "; its damaged file stays set aside" : "") << '\n';
    }
    if (expired > 0) {
        out << count_text(expired, "key has", "keys have") << " expired already: left out\n";
    }
}

}  // namespace

int import_files(const kv_job& job) {
    std::uint64_t expired = 0;
    const auto wanted = read_files(job, expired);
    kv_place place(job);
    place.save();
    const auto plans = make_plans(job, place, wanted);
    print(job.with.out, plans, expired);
    if (job.options.dry_run) {
        job.with.out << "dry run: nothing was changed\n";
        place.close();
        return exit_fine;
    }
    std::uint64_t failed = 0;
    {
        progress_line progress(job.with, "import");
        if (place.control() != nullptr) {
            failed = online_import(job, *place.control()).run(plans, progress);
            place.save();
        } else {
            offline_import(place.db()).run(plans, progress);
        }
    }
    place.close();
    if (failed == 0) return exit_fine;
    job.with.err << "sluice: " << count_text(failed, "change was", "changes were")
                 << " refused; the others were made\n";
    return exit_failure;
}

}  // namespace sluice::daemon
