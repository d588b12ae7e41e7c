#include "kvstore/whole_file.hpp"

#include <vector>

namespace sluice::kvstore {

std::error_code write_new_file(file_env& files, const std::string& path, std::string_view bytes) {
    std::unique_ptr<open_file> file;
    if (const auto error = files.open(path, file_env::create::fresh, file)) return error;
    std::size_t written = 0;
    if (const auto error = file->append(bytes, written)) return error;
    return file->sync();
}

std::error_code replace_file(file_env& files, const std::string& path, std::string_view bytes) {
    const auto draft = path + ".new";
    (void)files.remove(draft);
    auto error = write_new_file(files, draft, bytes);
    if (!error) error = files.rename(draft, path);
    if (!error) return files.sync_directory(directory_of(path));
    (void)files.remove(draft);
    return error;
}

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::error_code remove_with_files(file_env& files, const std::string& directory) {
    std::vector<std::string> names;
    if (const auto error = files.list(directory, names)) return error;
    for (const auto& name : names) {
        if (const auto error = files.remove(directory + "/" + name)) return error;
    }
    return files.remove_directory(directory);
}

}  // namespace sluice::kvstore
