#include "daemon/describe.hpp"

#include <algorithm>
#include <initializer_list>
#include <ostream>
#include <string>
#include <vector>

#include "config/reference.hpp"

namespace sluice::daemon {

namespace {

void print_row(std::ostream& out, std::initializer_list<std::string> cells) {
    const char* before = "";
    for (auto cell : cells) {
        std::replace_if(
            cell.begin(), cell.end(), [](char c) { return c == '\t' || c == '\n'; }, ' ');
        out << before << cell;
        before = "\t";
    }
    out << '\n';
}

std::string names_of(const CLI::Option& option) {
    std::string out;
    for (const auto& name : option.get_snames())
        out += (out.empty() ? "-" : ",-") + name;
    for (const auto& name : option.get_lnames())
        out += (out.empty() ? "--" : ",--") + name;
    return out;
}

void describe_command(const CLI::App& app, const std::string& path, std::ostream& out) {
    print_row(out, {"command", path, app.get_description()});
    for (const auto* const option : app.get_options({})) {
        // What the parser calls hidden has no group.
        if (option->get_group().empty()) continue;
        const auto& text = option->get_description();
        // A flag takes nothing, though the parser names the type of what it fills.
        const bool takes_value = option->get_type_size() != 0;
        const auto type = takes_value ? option->get_type_name() : std::string();
        if (option->get_positional()) {
            print_row(out, {"positional", path, option->get_name(true),
                            option->get_required() ? "required" : "optional", type, text});
        } else {
            print_row(out, {"option", path, names_of(*option), type, text});
        }
    }
    const auto shown = [](const CLI::App* command) { return !command->get_group().empty(); };
    for (const auto* const command : app.get_subcommands(shown)) {
        describe_command(*command, path + " " + command->get_name(), out);
    }
}

}  // namespace

void describe(const CLI::App& app, std::ostream& out) {
    describe_command(app, app.get_name(), out);
    for (const auto& row : config::reference()) {
        print_row(
            out, {"key", row.key, std::string(row.type), row.default_value, std::string(row.unit),
                  row.change == config::applies::live ? "live" : "restart", std::string(row.text)});
    }
}

}  // namespace sluice::daemon
