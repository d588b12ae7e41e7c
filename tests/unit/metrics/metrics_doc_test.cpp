// docs/metrics.md says what render() prints: the same names, types, labels and meanings.
#include <gtest/gtest.h>

#include <fstream>

#include "metrics/exposition.hpp"
#include "unit/metrics/exposition_support.hpp"

namespace sluice::metrics::test {
namespace {

std::string trimmed(const std::string& cell) {
    const auto begin = cell.find_first_not_of(" `");
    if (begin == std::string::npos) return {};
    return cell.substr(begin, cell.find_last_not_of(" `") - begin + 1);
}

struct row {
    family_text family;
    std::string alert;
};

// Rows of the document's tables: | `name` | type | labels | meaning | what to alert on |
std::map<std::string, row> documented() {
    std::map<std::string, row> rows;
    std::ifstream file(SLUICE_SOURCE_DIR "/docs/metrics.md");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("| `", 0) != 0) continue;
        std::istringstream cells(line.substr(1));
        std::string name, type, labels, meaning, alert;
        for (auto* cell : {&name, &type, &labels, &meaning, &alert})
            std::getline(cells, *cell, '|');
        row entry{{trimmed(type), trimmed(meaning), {}}, trimmed(alert)};
        std::istringstream words(labels);
        for (std::string label; words >> label;) {
            std::erase_if(label, [](char c) { return c == '`' || c == ','; });
            entry.family.labels.insert(label);
        }
        EXPECT_TRUE(rows.emplace(trimmed(name), entry).second) << "twice: " << name;
    }
    return rows;
}

TEST(metrics_document, lists_exactly_what_is_rendered) {
    const sample_daemon daemon;
    const auto rendered = families_of(render(daemon.state));
    const auto rows = documented();
    for (const auto& [name, family] : rendered) {
        const auto found = rows.find(name);
        if (found == rows.end()) {
            ADD_FAILURE() << "not in docs/metrics.md: " << name;
            continue;
        }
        EXPECT_EQ(found->second.family.type, family.type) << name;
        EXPECT_EQ(found->second.family.help, family.help) << name;
        EXPECT_EQ(found->second.family.labels, family.labels) << name;
        EXPECT_FALSE(found->second.alert.empty()) << name;
    }
    for (const auto& [name, entry] : rows) {
        EXPECT_TRUE(rendered.contains(name)) << "documented but not rendered: " << name;
    }
}

}  // namespace
}  // namespace sluice::metrics::test
