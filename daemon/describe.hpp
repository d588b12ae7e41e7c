// The command line and the configuration as a table, from which the manual pages and the shell
// completions are made (packaging/pages.py), so that neither can go stale. One line a thing, its
// cells between tabs:
//   command     path  text
//   option      path  names (by comma)  type  text
//   positional  path  name  required|optional  type  text
//   key         key  type  default  unit  live|restart  text
#pragma once

#include <CLI/CLI.hpp>
#include <iosfwd>

namespace sluice::daemon {

void describe(const CLI::App& app, std::ostream& out);

}  // namespace sluice::daemon
