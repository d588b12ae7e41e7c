#include "support/faulty_files.hpp"

#include <algorithm>
#include <utility>

namespace sluice::test {

namespace {

std::error_code failure(std::errc what) {
    return std::make_error_code(what);
}

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? std::string{} : path.substr(0, slash);
}

}  // namespace

class faulty_files::file final : public kvstore::open_file {
  public:
    file(faulty_files& files, inode_ptr node)
        : files_(files), node_(std::move(node)), run_(files.run_) {}

    std::error_code append(std::string_view bytes, std::size_t& written) override {
        const std::lock_guard guard(files_.mutex_);
        written = 0;
        bool part = false;
        auto error = begin(operation::append, part);
        if (error && !part) return error;
        auto length = bytes.size();
        if (part) length = files_.pick(length + 1);
        const auto& now = *node_;
        const auto free = files_.capacity_ - std::min(files_.capacity_, files_.used_locked());
        const auto most =
            std::max<std::uint64_t>(now.allocated, now.data.size()) - now.data.size() + free;
        if (length > most) {
            length = static_cast<std::size_t>(most);
            if (!error) error = failure(std::errc::no_space_on_device);
        }
        put(bytes.substr(0, length));
        written = length;
        return error;
    }

    std::error_code sync() override {
        const std::lock_guard guard(files_.mutex_);
        bool part = false;
        if (const auto error = begin(operation::sync, part)) {
            // When the machine dies within a sync, a power failure decides about each sector.
            if (!files_.dead_ && current()) files_.sync_badly(*node_);
            return error;
        }
        sync_well(*node_);
        return {};
    }

    std::error_code reserve(std::uint64_t beyond_end, std::uint64_t bytes) override {
        const std::lock_guard guard(files_.mutex_);
        bool part = false;
        if (const auto error = begin(operation::reserve, part)) return error;
        if (!files_.reserves_) return failure(std::errc::not_supported);
        const auto held = std::max<std::uint64_t>(node_->allocated, node_->data.size());
        const auto end = node_->data.size() + beyond_end + bytes;
        if (end <= held) return {};
        const auto free = files_.capacity_ - std::min(files_.capacity_, files_.used_locked());
        if (end - held > free) return failure(std::errc::no_space_on_device);
        node_->allocated = end;
        return {};
    }

    std::error_code truncate(std::uint64_t length) override {
        const std::lock_guard guard(files_.mutex_);
        bool part = false;
        if (const auto error = begin(operation::truncate, part)) return error;
        auto& node = *node_;
        const auto before = node.data.size();
        node.data.resize(static_cast<std::size_t>(length));
        node.allocated = length;
        node.dirty.erase(node.dirty.lower_bound((node.data.size() + sector - 1) / sector),
                         node.dirty.end());
        if (length != before && length != 0) node.dirty.insert((node.data.size() - 1) / sector);
        std::erase_if(node.ends, [&](std::size_t end) { return end > length; });
        return {};
    }

  private:
    [[nodiscard]] bool current() const { return run_ == files_.run_; }

    [[nodiscard]] std::error_code begin(operation what, bool& part) {
        if (!current()) return failure(std::errc::bad_file_descriptor);
        return files_.begin(what, part);
    }

    void put(std::string_view bytes) {
        if (bytes.empty()) return;
        auto& node = *node_;
        const auto from = node.data.size();
        node.data.append(bytes);
        for (auto at = from / sector; at <= (node.data.size() - 1) / sector; ++at) {
            node.dirty.insert(at);
        }
        node.ends.push_back(node.data.size());
        node.modified_ms = ++files_.clock_ms_;
    }

    faulty_files& files_;
    inode_ptr node_;
    std::uint64_t run_;
};

class faulty_files::lock_of_test final : public kvstore::held_lock {
  public:
    lock_of_test(faulty_files& files, std::string path)
        : files_(files), path_(std::move(path)), run_(files.run_) {}
    ~lock_of_test() override {
        const std::lock_guard guard(files_.mutex_);
        if (run_ == files_.run_) files_.locks_.erase(path_);
    }

  private:
    faulty_files& files_;
    std::string path_;
    std::uint64_t run_;
};

std::uint64_t faulty_files::pick(std::uint64_t below) {
    return random_() % below;
}

std::error_code faulty_files::begin(operation what, bool& part) {
    part = false;
    if (dead_) return failure(std::errc::io_error);
    if (const auto found = failing_.find(what); found != failing_.end()) return found->second;
    if (what >= operation::read) return {};
    ++operations_;
    if (die_at_ && (*die_at_)-- == 0) {
        die_at_.reset();
        dead_ = true;
        part = true;
        return failure(std::errc::io_error);
    }
    if (fail_at_ && (*fail_at_)-- == 0) {
        fail_at_.reset();
        part = true;
        return fail_with_;
    }
    return {};
}

std::uint64_t faulty_files::operations() const {
    const std::lock_guard guard(mutex_);
    return operations_;
}

void faulty_files::fail_operation(std::uint64_t n, std::error_code error) {
    const std::lock_guard guard(mutex_);
    fail_at_ = n;
    fail_with_ = error;
}

void faulty_files::fail_all(operation what, std::error_code error) {
    const std::lock_guard guard(mutex_);
    failing_[what] = error;
}

void faulty_files::heal() {
    const std::lock_guard guard(mutex_);
    failing_.clear();
    fail_at_.reset();
    die_at_.reset();
}

void faulty_files::die_at(std::uint64_t n) {
    const std::lock_guard guard(mutex_);
    die_at_ = n;
}

bool faulty_files::dead() const {
    const std::lock_guard guard(mutex_);
    return dead_;
}

void faulty_files::restart() {
    ++run_;
    locks_.clear();
    failing_.clear();
    fail_at_.reset();
    die_at_.reset();
    dead_ = false;
}

void faulty_files::process_crash() {
    const std::lock_guard guard(mutex_);
    restart();
}

void faulty_files::power_failure() {
    const std::lock_guard guard(mutex_);
    const auto kept = static_cast<amount>(pick(4));
    const auto prefix = pick(unsynced_entries_.size() + 1);
    for (std::size_t i = 0; i < unsynced_entries_.size(); ++i) {
        const bool there = kept == amount::all || (kept == amount::prefix && i < prefix) ||
                           (kept == amount::any && coin());
        if (there) apply(unsynced_entries_[i], on_disk_);
    }
    unsynced_entries_.clear();
    // No file is left without its directory.
    for (const auto& [name, node] : on_disk_.files) {
        for (auto up = parent_of(name); !up.empty(); up = parent_of(up))
            on_disk_.directories.insert(up);
    }
    seen_ = on_disk_;
    std::set<inode*> seen;  // links name one file twice
    for (const auto& [name, node] : seen_.files) {
        if (seen.insert(node.get()).second) forget_unsynced(*node);
    }
    restart();
}

// Copies one sector of what readers saw, as it was when the file was `data_end` long.
void faulty_files::keep_sector(inode& node, std::size_t index, std::size_t data_end) {
    const auto from = index * sector;
    const auto to = std::min({from + sector, node.data.size(), data_end});
    if (to <= from) return;
    if (node.disk.size() < to) node.disk.resize(to);
    std::copy(node.data.begin() + static_cast<std::ptrdiff_t>(from),
              node.data.begin() + static_cast<std::ptrdiff_t>(to),
              node.disk.begin() + static_cast<std::ptrdiff_t>(from));
}

void faulty_files::sync_well(inode& node) {
    for (const auto index : node.dirty)
        keep_sector(node, index, node.data.size());
    node.disk.resize(node.data.size());
    node.dirty.clear();
    node.ends.clear();
}

void faulty_files::sync_badly(inode& node) {
    const bool all = pick(4) == 0;
    for (const auto index : node.dirty) {
        if (all || coin()) keep_sector(node, index, node.data.size());
    }
    node.dirty.clear();
    node.ends.clear();
}

void faulty_files::forget_unsynced(inode& node) {
    const auto kept = static_cast<amount>(pick(4));
    auto length = node.disk.size();
    if (kept != amount::none && (kept == amount::all || coin())) length = node.data.size();
    const auto shorter = std::min(node.disk.size(), node.data.size());
    const auto longer = std::max(node.disk.size(), node.data.size());
    if (kept == amount::prefix) length = shorter + pick(longer - shorter + 1);
    for (const auto index : node.dirty) {
        if (kept == amount::none) break;
        auto end = node.data.size();
        if (kept == amount::any) {
            const auto choice = pick(4);
            if (choice == 0) continue;
            if (choice == 1 && !node.ends.empty()) end = node.ends[pick(node.ends.size())];
        }
        keep_sector(node, index, end);
    }
    node.disk.resize(length);
    node.data = node.disk;
    node.dirty.clear();
    node.ends.clear();
    node.allocated = node.data.size();
}

void faulty_files::set_capacity(std::uint64_t bytes) {
    const std::lock_guard guard(mutex_);
    capacity_ = bytes;
}

std::uint64_t faulty_files::used_locked() const {
    std::uint64_t sum = 0;
    for (const auto& weak : inodes_) {
        const auto node = weak.lock();
        if (node) sum += std::max<std::uint64_t>(node->allocated, node->data.size());
    }
    return sum;
}

std::uint64_t faulty_files::used() const {
    const std::lock_guard guard(mutex_);
    return used_locked();
}

void faulty_files::refuse_to_reserve() {
    const std::lock_guard guard(mutex_);
    reserves_ = false;
}

bool faulty_files::has_parent(const std::string& path) const {
    const auto parent = parent_of(path);
    return parent.empty() || seen_.directories.contains(parent);
}

faulty_files::inode_ptr faulty_files::find(const std::string& path) const {
    const auto found = seen_.files.find(path);
    return found == seen_.files.end() ? nullptr : found->second;
}

faulty_files::inode_ptr faulty_files::make_file() {
    std::erase_if(inodes_, [](const auto& weak) { return weak.expired(); });
    auto made = std::make_shared<inode>();
    made->modified_ms = ++clock_ms_;
    inodes_.push_back(made);
    return made;
}

void faulty_files::move_directory(const std::string& from, const std::string& to, tree& in) {
    const auto moved = [&](const std::string& path) { return to + path.substr(from.size()); };
    const auto is_within = [&](const std::string& path) { return path.starts_with(from + "/"); };
    tree out;
    for (auto& [name, node] : in.files)
        out.files[is_within(name) ? moved(name) : name] = node;
    for (const auto& name : in.directories)
        out.directories.insert(name == from || is_within(name) ? moved(name) : name);
    in = std::move(out);
}

void faulty_files::apply(const entry_change& what, tree& to) {
    if (what.file == nullptr && !what.name.empty()) {
        if (to.directories.contains(what.gone)) move_directory(what.gone, what.name, to);
        return;
    }
    if (!what.gone.empty() && to.files.erase(what.gone) == 0) to.directories.erase(what.gone);
    if (!what.name.empty()) to.files[what.name] = what.file;
}

void faulty_files::change_entry(entry_change what) {
    what.directory = parent_of(what.name.empty() ? what.gone : what.name);
    apply(what, seen_);
    unsynced_entries_.push_back(std::move(what));
}

std::string faulty_files::content(const std::string& path) const {
    const std::lock_guard guard(mutex_);
    const auto node = find(path);
    return node ? node->data : std::string{};
}

bool faulty_files::exists(const std::string& path) const {
    const std::lock_guard guard(mutex_);
    return find(path) != nullptr;
}

void faulty_files::put(const std::string& path, std::string bytes) {
    const std::lock_guard guard(mutex_);
    for (auto parent = parent_of(path); !parent.empty(); parent = parent_of(parent)) {
        seen_.directories.insert(parent);
        on_disk_.directories.insert(parent);
    }
    auto node = make_file();
    node->data = node->disk = std::move(bytes);
    seen_.files[path] = on_disk_.files[path] = std::move(node);
}

std::vector<std::string> faulty_files::files() const {
    const std::lock_guard guard(mutex_);
    std::vector<std::string> result;
    for (const auto& [name, node] : seen_.files)
        result.push_back(name);
    return result;
}

std::error_code faulty_files::open(const std::string& path, create how,
                                   std::unique_ptr<kvstore::open_file>& out) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    if (const auto error = begin(operation::open, part)) return error;
    if (seen_.directories.contains(path)) return failure(std::errc::is_a_directory);
    if (!has_parent(path)) return failure(std::errc::no_such_file_or_directory);
    auto node = find(path);
    if (node && how == create::fresh) return failure(std::errc::file_exists);
    if (!node) {
        node = make_file();
        change_entry({{}, {}, path, node});
    }
    out = std::make_unique<file>(*this, std::move(node));
    return {};
}

std::error_code faulty_files::read(const std::string& path, std::string& out) {
    {
        const std::lock_guard guard(mutex_);
        bool part = false;
        out.clear();
        if (const auto error = begin(operation::read, part)) return error;
        const auto node = find(path);
        if (!node) return failure(std::errc::no_such_file_or_directory);
        out = node->data;
    }
    if (after_read) after_read(path);
    return {};
}

std::error_code faulty_files::status(const std::string& path, kvstore::file_status& out) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    out = {};
    if (const auto error = begin(operation::status, part)) return error;
    if (seen_.directories.contains(path)) {
        out.exists = true;
    } else if (const auto node = find(path)) {
        out = {true, node->data.size(), node->modified_ms};
    }
    return {};
}

std::error_code faulty_files::rename(const std::string& from, const std::string& to) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    const auto error = begin(operation::rename, part);
    // Nobody knows of a rename that failed whether it was done.
    if (error && !(part && coin())) return error;
    auto node = find(from);
    if (seen_.directories.contains(from) && has_parent(to)) {
        if (find(to) || seen_.directories.contains(to)) return failure(std::errc::file_exists);
        change_entry({{}, from, to, nullptr});
        return error;
    }
    if (!node || !has_parent(to)) return failure(std::errc::no_such_file_or_directory);
    if (from != to) change_entry({{}, from, to, std::move(node)});
    return error;
}

std::error_code faulty_files::link_or_copy(const std::string& from, const std::string& to) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    if (const auto error = begin(operation::link, part)) return error;
    auto node = find(from);
    if (!node || !has_parent(to)) return failure(std::errc::no_such_file_or_directory);
    if (find(to)) return failure(std::errc::file_exists);
    change_entry({{}, {}, to, std::move(node)});
    return {};
}

std::error_code faulty_files::remove(const std::string& path) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    if (const auto error = begin(operation::remove, part)) return error;
    if (!find(path)) return failure(std::errc::no_such_file_or_directory);
    change_entry({{}, path, {}, nullptr});
    return {};
}

std::error_code faulty_files::make_directory(const std::string& path) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    if (const auto error = begin(operation::make_directory, part)) return error;
    if (find(path)) return failure(std::errc::not_a_directory);
    for (auto name = path; !name.empty(); name = parent_of(name)) {
        seen_.directories.insert(name);
        on_disk_.directories.insert(name);
    }
    return {};
}

std::error_code faulty_files::remove_directory(const std::string& path) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    if (const auto error = begin(operation::remove_directory, part)) return error;
    if (!seen_.directories.contains(path)) return failure(std::errc::no_such_file_or_directory);
    const auto is_within = [&](const std::string& name) { return parent_of(name) == path; };
    if (std::any_of(seen_.files.begin(), seen_.files.end(),
                    [&](const auto& one) { return is_within(one.first); }) ||
        std::any_of(seen_.directories.begin(), seen_.directories.end(), is_within)) {
        return failure(std::errc::directory_not_empty);
    }
    change_entry({{}, path, {}, nullptr});
    return {};
}

std::error_code faulty_files::list(const std::string& path, std::vector<std::string>& names) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    names.clear();
    if (const auto error = begin(operation::list, part)) return error;
    if (!seen_.directories.contains(path)) return failure(std::errc::no_such_file_or_directory);
    for (const auto& [name, node] : seen_.files) {
        if (parent_of(name) == path) names.push_back(name.substr(path.size() + 1));
    }
    for (const auto& name : seen_.directories) {
        if (parent_of(name) == path) names.push_back(name.substr(path.size() + 1));
    }
    std::shuffle(names.begin(), names.end(), random_);
    return {};
}

std::error_code faulty_files::sync_directory(const std::string& path) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    if (const auto error = begin(operation::sync_directory, part)) return error;
    if (!seen_.directories.contains(path)) return failure(std::errc::no_such_file_or_directory);
    std::erase_if(unsynced_entries_, [&](const entry_change& what) {
        if (what.directory != path) return false;
        apply(what, on_disk_);
        return true;
    });
    return {};
}

std::error_code faulty_files::lock(const std::string& path,
                                   std::unique_ptr<kvstore::held_lock>& out, std::string& holder) {
    const std::lock_guard guard(mutex_);
    bool part = false;
    holder.clear();
    if (const auto error = begin(operation::lock, part)) return error;
    if (!has_parent(path)) return failure(std::errc::no_such_file_or_directory);
    if (!locks_.insert(path).second) {
        holder = "4711";
        return failure(std::errc::device_or_resource_busy);
    }
    if (!find(path)) change_entry({{}, {}, path, make_file()});
    out = std::make_unique<lock_of_test>(*this, path);
    return {};
}

}  // namespace sluice::test
