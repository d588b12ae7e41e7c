// `sluice kv stats`.

#include <algorithm>
#include <ostream>

#include "daemon/kv/cli_place.hpp"
#include "daemon/kv/service.hpp"
#include "kvstore/iso_time.hpp"
#include "kvstore/json_string.hpp"

namespace sluice::daemon {

namespace {

constexpr std::size_t most_listed = 10;

struct project_facts {
    kvstore::project_id id = 0;
    std::uint64_t keys = 0;
    std::uint64_t bytes = 0;
    std::uint64_t expiring = 0;
    kvstore::time_ms updated_ms = 0;
};

struct store_facts {
    std::vector<project_facts> projects;
    project_facts sum;
    std::uint64_t file_bytes = 0;
    std::uint64_t log_bytes = 0;
    std::vector<std::string> damaged;
    std::vector<std::string> set_aside;
};

store_facts collect(const kv_job& job, const kv_place& place) {
    store_facts out;
    const auto ids = job.options.project ? std::vector{*job.options.project} : place.projects();
    progress_line progress(job.with, "stats");
    for (std::size_t i = 0; i < ids.size(); ++i) {
        kvstore::project_content content;
        std::string damage;
        std::uint64_t size = 0;
        progress.show(i, ids.size(), "projects");
        if (!place.read(ids[i], content, damage, &size)) continue;
        out.file_bytes += size;
        if (!damage.empty()) {
            out.damaged.push_back(damage);
            continue;
        }
        project_facts one{ids[i], content.keys.size(), content.bytes(), 0,
                          content.header.updated_ms};
        one.expiring = static_cast<std::uint64_t>(
            std::count_if(content.keys.begin(), content.keys.end(),
                          [](const auto& key) { return key.second.expires != kvstore::never; }));
        out.sum.keys += one.keys;
        out.sum.bytes += one.bytes;
        out.sum.expiring += one.expiring;
        out.projects.push_back(one);
    }
    out.log_bytes = place.log_bytes();
    out.set_aside = place.set_aside();
    return out;
}

// The first few, the most by `order` in front.
template <class Order>
std::vector<project_facts> first_by(std::vector<project_facts> all, Order order) {
    const auto count = std::min(all.size(), most_listed);
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(),
                      order);
    all.resize(count);
    return all;
}

std::vector<project_facts> largest(const store_facts& all) {
    return first_by(all.projects,
                    [](const auto& one, const auto& other) { return one.bytes > other.bytes; });
}

std::vector<project_facts> oldest(const store_facts& all) {
    return first_by(all.projects, [](const auto& one, const auto& other) {
        return one.updated_ms < other.updated_ms;
    });
}

void print_projects(std::ostream& out, const char* title, const std::vector<project_facts>& all) {
    if (all.empty()) return;
    out << title << '\n';
    for (const auto& one : all) {
        out << "  project " << one.id << ": " << count_text(one.keys, "key", "keys") << ", "
            << bytes_text(one.bytes) << ", changed " << kvstore::iso_time_text(one.updated_ms)
            << '\n';
    }
}

void print(std::ostream& out, const store_facts& all, const kv_place& place, bool online) {
    out << "directory  " << place.directory() << (online ? ", in use by a running sluice" : "")
        << "\nprojects   " << all.projects.size() << "\nkeys       " << all.sum.keys << ", "
        << all.sum.expiring << " of them expire\ncontents   " << bytes_text(all.sum.bytes)
        << "\nfiles      " << bytes_text(all.file_bytes) << "\nlog        "
        << bytes_text(all.log_bytes) << '\n';
    print_projects(out, "largest", largest(all));
    print_projects(out, "longest unchanged", oldest(all));
    for (const auto& one : all.damaged)
        out << "damaged    " << one << '\n';
    for (const auto& one : all.set_aside)
        out << "set aside  " << one << '\n';
}

void append_projects(std::string& out, const char* name, const std::vector<project_facts>& all) {
    out += std::string(",\"") + name + "\":[";
    for (const auto& one : all) {
        out += "{\"project\":" + std::to_string(one.id) + ",\"keys\":" + std::to_string(one.keys) +
               ",\"bytes\":" + std::to_string(one.bytes) +
               ",\"expiring\":" + std::to_string(one.expiring) + ",\"updatedAt\":\"" +
               kvstore::iso_time_text(one.updated_ms) + "\"},";
    }
    if (!all.empty()) out.pop_back();
    out += ']';
}

void append_names(std::string& out, const char* name, const std::vector<std::string>& all) {
    out += std::string(",\"") + name + "\":[";
    for (const auto& one : all) {
        if (!kvstore::append_json_string(out, one)) out += "null";
        out += ',';
    }
    if (!all.empty()) out.pop_back();
    out += ']';
}

std::string json_of(const store_facts& all, const kv_place& place, bool online) {
    std::string out = "{\"directory\":";
    if (!kvstore::append_json_string(out, place.directory())) out += "null";
    out += std::string(",\"running\":") + (online ? "true" : "false") +
           ",\"projects\":" + std::to_string(all.projects.size()) +
           ",\"keys\":" + std::to_string(all.sum.keys) +
           ",\"bytes\":" + std::to_string(all.sum.bytes) +
           ",\"expiring\":" + std::to_string(all.sum.expiring) +
           ",\"fileBytes\":" + std::to_string(all.file_bytes) +
           ",\"logBytes\":" + std::to_string(all.log_bytes);
    append_projects(out, "largest", largest(all));
    append_projects(out, "oldest", oldest(all));
    append_names(out, "damaged", all.damaged);
    append_names(out, "setAside", all.set_aside);
    return out + "}\n";
}

}  // namespace

int show_stats(const kv_job& job) {
    kv_place place(job);
    const bool online = place.control() != nullptr;
    place.save();
    const auto facts = collect(job, place);
    if (job.options.project && facts.projects.empty() && facts.damaged.empty()) {
        throw std::runtime_error("there is no project " + std::to_string(*job.options.project));
    }
    if (job.options.json) {
        job.with.out << json_of(facts, place, online);
    } else {
        print(job.with.out, facts, place, online);
    }
    place.close();
    return exit_fine;
}

}  // namespace sluice::daemon
