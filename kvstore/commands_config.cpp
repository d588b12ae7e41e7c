// CONFIG: what is set, under Redis's names, and the few settings that can be changed while it runs.
// A change lasts until the next reload or start: the file is the operator's and is never written.

#include "kvstore/client.hpp"
#include "kvstore/command_help.hpp"
#include "kvstore/glob.hpp"

namespace sluice::kvstore {

namespace {

using namespace flag;

constexpr std::uint32_t usual = admin | noscript | loading | stale;

using settings_list = std::vector<std::pair<std::string, std::string>>;

std::string in_lower_case(std::string_view text) {
    std::string out(text);
    for (auto& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

void get(call& c) {
    const auto all = c.in.outside.configuration();
    std::vector<const settings_list::value_type*> found;
    for (const auto& one : all) {
        for (const auto pattern : c.args.subspan(2)) {
            if (!glob_matches(in_lower_case(pattern), one.first)) continue;
            found.push_back(&one);
            break;
        }
    }
    c.out.map(found.size());
    for (const auto* const one : found) {
        c.out.bulk(one->first);
        c.out.bulk(one->second);
    }
}

const std::string* value_of(const settings_list& all, std::string_view name) {
    for (const auto& one : all) {
        if (one.first == name) return &one.second;
    }
    return nullptr;
}

void failed(call& c, const std::string& name, const std::string& why) {
    c.out.error("ERR CONFIG SET failed (possibly related to argument '" + name + "') - " + why);
}

// All or none: what was changed before one is refused is set back.
void set(call& c) {
    if (!c.may_administer()) return;
    const auto before = c.in.outside.configuration();
    std::vector<std::string> names;
    for (std::size_t i = 2; i < c.args.size(); i += 2) {
        auto name = in_lower_case(c.arg(i));
        if (i + 1 == c.args.size() || value_of(before, name) == nullptr) {
            return c.out.error("ERR Unknown option or number of arguments for CONFIG SET - '" +
                               std::string(c.arg(i).substr(0, 128)) + "'");
        }
        if (std::find(names.begin(), names.end(), name) != names.end()) {
            return failed(c, name, "duplicate parameter");
        }
        names.push_back(std::move(name));
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto why = c.in.outside.set_configuration(names[i], c.arg(2 * i + 3));
        if (why.empty()) continue;
        for (std::size_t j = 0; j < i; ++j)
            (void)c.in.outside.set_configuration(names[j], *value_of(before, names[j]));
        return failed(c, names[i], why);
    }
    c.out.simple("OK");
}

void resetstat(call& c) {
    if (!c.may_administer()) return;
    c.in.outside.statistics_since.set(
        sum_up(c.in.outside.facts().workers, c.in.db.counts.expired_keys.load()));
    c.out.simple("OK");
}

void rewrite(call& c) {
    c.out.error(
        "ERR Rewriting config file: sluice does not write its configuration file; change it there "
        "and reload (systemctl reload sluice)");
}

constexpr command parts[] = {
    {"config|get", -3, usual, 0, 0, 0, get, "server", "2.0.0",
     "Answers the settings whose names match.", "O(N), the patterns"},
    {"config|help", 2, loading | stale, 0, 0, 0, show_help, "server", "5.0.0", "Prints this help.",
     "O(1)"},
    {"config|resetstat", 2, usual, 0, 0, 0, resetstat, "server", "2.0.0",
     "Lets the statistics of INFO begin at zero.", "O(1)"},
    {"config|rewrite", 2, usual, 0, 0, 0, rewrite, "server", "2.8.0",
     "Refused: the configuration file is the operator's.", "O(1)"},
    {"config|set", -4, usual, 0, 0, 0, set, "server", "2.0.0",
     "Changes settings until the next reload or start.", "O(N), the settings"},
};

std::span<const command> all_parts() {
    return parts;
}

constexpr command rows[] = {
    {"config", -2, 0, 0, 0, 0, nullptr, "server", "2.0.0", "Commands about the server's settings.",
     "Depends on subcommand.", 0, all_parts},
};

}  // namespace

std::span<const command> config_commands() {
    return rows;
}

}  // namespace sluice::kvstore
