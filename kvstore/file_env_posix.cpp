// Files as Linux has them; the only file of the store with system calls.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "kvstore/file_env.hpp"

namespace sluice::kvstore {

namespace {

constexpr mode_t file_mode = 0600;
constexpr mode_t directory_mode = 0700;
// Linux moves at most 2 GiB less a page at once.
constexpr std::size_t most_at_once = std::size_t{1} << 30;

std::error_code last_error() {
    return {errno, std::generic_category()};
}

template <typename Call>
auto uninterrupted(Call call) {
    for (;;) {
        const auto result = call();
        if (result >= 0 || errno != EINTR) return result;
    }
}

class descriptor {
  public:
    explicit descriptor(int fd) noexcept : fd_(fd) {}
    ~descriptor() {
        if (fd_ >= 0) ::close(fd_);  // not again after EINTR: it is closed then
    }
    descriptor(descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    descriptor& operator=(descriptor&&) = delete;
    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }

  private:
    int fd_;
};

descriptor open_path(const std::string& path, int flags) {
    return descriptor{
        uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, file_mode); })};
}

class posix_file final : public open_file {
  public:
    posix_file(descriptor fd, std::uint64_t size) noexcept : fd_(std::move(fd)), size_(size) {}

    std::error_code append(std::string_view bytes, std::size_t& written) override {
        written = 0;
        while (written < bytes.size()) {
            const auto length = std::min(bytes.size() - written, most_at_once);
            const auto moved = uninterrupted([&] {
                return ::pwrite(fd_.get(), bytes.data() + written, length,
                                static_cast<off_t>(size_));
            });
            if (moved < 0) return last_error();
            if (moved == 0) return std::make_error_code(std::errc::io_error);
            written += static_cast<std::size_t>(moved);
            size_ += static_cast<std::uint64_t>(moved);
        }
        return {};
    }

    std::error_code sync() override {
        // Not again after EINTR: the first call may have lost pages already.
        return ::fdatasync(fd_.get()) == 0 ? std::error_code{} : last_error();
    }

    std::error_code reserve(std::uint64_t beyond_end, std::uint64_t bytes) override {
        if (bytes == 0) return {};
        const auto done = uninterrupted([&] {
            return ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE,
                               static_cast<off_t>(size_ + beyond_end), static_cast<off_t>(bytes));
        });
        if (done == 0) return {};
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            return std::make_error_code(std::errc::not_supported);
        }
        return last_error();
    }

    std::error_code truncate(std::uint64_t length) override {
        const auto done =
            uninterrupted([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(length)); });
        if (done != 0) return last_error();
        size_ = length;
        return {};
    }

  private:
    descriptor fd_;
    std::uint64_t size_;
};

class posix_lock final : public held_lock {
  public:
    explicit posix_lock(descriptor fd) noexcept : fd_(std::move(fd)) {}

  private:
    descriptor fd_;  // the lock goes with it; the file stays, removing it would be a race
};

std::error_code read_all(int fd, std::string& out) {
    struct stat about {};
    if (::fstat(fd, &about) != 0) return last_error();
    if (S_ISDIR(about.st_mode)) return std::make_error_code(std::errc::is_a_directory);
    out.resize(static_cast<std::size_t>(std::max<off_t>(about.st_size, 0)));
    std::size_t filled = 0;
    for (;;) {
        if (filled == out.size()) {
            // One look beyond the end that it had: it may have grown.
            char more[4096];
            const auto got = uninterrupted([&] { return ::read(fd, more, sizeof more); });
            if (got < 0) return last_error();
            if (got == 0) return {};
            out.append(more, static_cast<std::size_t>(got));
            filled = out.size();
            continue;
        }
        const auto length = std::min(out.size() - filled, most_at_once);
        const auto got = uninterrupted([&] { return ::read(fd, out.data() + filled, length); });
        if (got < 0) return last_error();
        if (got == 0) {
            out.resize(filled);
            return {};
        }
        filled += static_cast<std::size_t>(got);
    }
}

std::error_code copy_file(file_env& files, const std::string& from, const std::string& to) {
    std::string bytes;
    if (const auto error = files.read(from, bytes)) return error;
    std::unique_ptr<open_file> copy;
    if (const auto error = files.open(to, file_env::create::fresh, copy)) return error;
    std::size_t written = 0;
    auto error = copy->append(bytes, written);
    if (!error) error = copy->sync();
    if (error) (void)files.remove(to);
    return error;
}

std::string parent_of(const std::string& path) {
    const auto end = path.find_last_not_of('/');
    if (end == std::string::npos) return "/";
    const auto slash = path.rfind('/', end);
    if (slash == std::string::npos) return ".";
    const auto parent = path.find_last_not_of('/', slash);
    return parent == std::string::npos ? "/" : path.substr(0, parent + 1);
}

class posix_file_env final : public file_env {
  public:
    std::error_code open(const std::string& path, create how,
                         std::unique_ptr<open_file>& out) override {
        auto fd = open_path(path, O_WRONLY | O_CREAT | (how == create::fresh ? O_EXCL : 0));
        if (!fd.valid()) return last_error();
        struct stat about {};
        if (::fstat(fd.get(), &about) != 0) return last_error();
        const auto size = static_cast<std::uint64_t>(about.st_size);
        out = std::make_unique<posix_file>(std::move(fd), size);
        return {};
    }

    std::error_code read(const std::string& path, std::string& out) override {
        out.clear();
        const auto fd = open_path(path, O_RDONLY);
        if (!fd.valid()) return last_error();
        return read_all(fd.get(), out);
    }

    std::error_code status(const std::string& path, file_status& out) override {
        out = {};
        struct stat about {};
        if (::stat(path.c_str(), &about) != 0) {
            return errno == ENOENT || errno == ENOTDIR ? std::error_code{} : last_error();
        }
        out.exists = true;
        out.size = static_cast<std::uint64_t>(about.st_size);
        out.modified_ms =
            std::int64_t{about.st_mtim.tv_sec} * 1000 + about.st_mtim.tv_nsec / 1'000'000;
        out.inode = about.st_ino;
        return {};
    }

    std::error_code rename(const std::string& from, const std::string& to) override {
        return ::rename(from.c_str(), to.c_str()) == 0 ? std::error_code{} : last_error();
    }

    std::error_code link_or_copy(const std::string& from, const std::string& to) override {
        if (::link(from.c_str(), to.c_str()) == 0) return {};
        switch (errno) {
            case EPERM:  // no links there, or not of others' files
            case EXDEV:
            case EMLINK:
            case EOPNOTSUPP:
            case ENOSYS:
                return copy_file(*this, from, to);
            default:
                return last_error();
        }
    }

    std::error_code remove(const std::string& path) override {
        return ::unlink(path.c_str()) == 0 ? std::error_code{} : last_error();
    }

    std::error_code make_directory(const std::string& path) override {
        if (::mkdir(path.c_str(), directory_mode) == 0) return sync_directory(parent_of(path));
        if (errno == EEXIST) return check_directory(path);
        if (errno != ENOENT) return last_error();
        const auto parent = parent_of(path);
        if (parent == path) return last_error();
        if (const auto error = make_directory(parent)) return error;
        if (::mkdir(path.c_str(), directory_mode) == 0) return sync_directory(parent);
        return errno == EEXIST ? check_directory(path) : last_error();
    }

    std::error_code remove_directory(const std::string& path) override {
        return ::rmdir(path.c_str()) == 0 ? std::error_code{} : last_error();
    }

    std::error_code list(const std::string& path, std::vector<std::string>& names) override {
        names.clear();
        const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(path.c_str()), &::closedir};
        if (!directory) return last_error();
        for (;;) {
            errno = 0;
            const auto* const entry = ::readdir(directory.get());
            if (entry == nullptr) return errno == 0 ? std::error_code{} : last_error();
            const std::string_view name = entry->d_name;
            if (name != "." && name != "..") names.emplace_back(name);
        }
    }

    std::error_code sync_directory(const std::string& path) override {
        const auto fd = open_path(path, O_RDONLY | O_DIRECTORY);
        if (!fd.valid()) return last_error();
        return ::fsync(fd.get()) == 0 ? std::error_code{} : last_error();
    }

    std::error_code lock(const std::string& path, std::unique_ptr<held_lock>& out,
                         std::string& holder) override {
        holder.clear();
        auto fd = open_path(path, O_RDWR | O_CREAT);
        if (!fd.valid()) return last_error();
        if (uninterrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
            if (errno != EWOULDBLOCK) return last_error();
            if (!read_all(fd.get(), holder)) {
                holder.erase(std::min(holder.find_first_not_of("0123456789"), holder.size()));
            }
            return std::make_error_code(std::errc::device_or_resource_busy);
        }
        const auto text = std::to_string(::getpid()) + "\n";
        // The lock holds without it: a full disk must not stop a start.
        if (::ftruncate(fd.get(), 0) == 0) {
            (void)!::pwrite(fd.get(), text.data(), text.size(), 0);
        }
        out = std::make_unique<posix_lock>(std::move(fd));
        return {};
    }

  private:
    static std::error_code check_directory(const std::string& path) {
        struct stat about {};
        if (::stat(path.c_str(), &about) != 0) return last_error();
        return S_ISDIR(about.st_mode) ? std::error_code{}
                                      : std::make_error_code(std::errc::not_a_directory);
    }
};

}  // namespace

file_env& posix_files() {
    static posix_file_env files;
    return files;
}

}  // namespace sluice::kvstore
