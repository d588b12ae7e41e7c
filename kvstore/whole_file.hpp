// Files that are written in one go and are safe when the call returns. Blocking; any thread.
#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include "kvstore/file_env.hpp"

namespace sluice::kvstore {

// A new file with its content on the disk; its name is safe after a sync of the directory.
[[nodiscard]] std::error_code write_new_file(file_env& files, const std::string& path,
                                             std::string_view bytes);

// The file is the old one or the new one, whatever happens. The draft `path`.new is lost.
[[nodiscard]] std::error_code replace_file(file_env& files, const std::string& path,
                                           std::string_view bytes);

// What is before the last slash; "." where there is none.
[[nodiscard]] std::string directory_of(const std::string& path);

// With the files in it, but no directories.
std::error_code remove_with_files(file_env& files, const std::string& directory);

}  // namespace sluice::kvstore
