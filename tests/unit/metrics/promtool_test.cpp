// The rendered page against Prometheus' own linter. Debian's package "prometheus" has promtool;
// without it this test fails, since nothing else here knows the naming rules.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <string>

#include "metrics/exposition.hpp"
#include "unit/metrics/exposition_support.hpp"

namespace sluice::metrics::test {
namespace {

struct lint_result {
    int exit_code = -1;
    std::string output;
};

lint_result promtool(const std::string& page) {
    // The name is this process's own: ctest runs tests side by side.
    const auto path =
        ::testing::TempDir() + "sluice_promtool_" + std::to_string(::getpid()) + ".txt";
    std::ofstream(path, std::ios::binary) << page;
    lint_result result;
    const auto command = "promtool check metrics < '" + path + "' 2>&1";
    if (FILE* pipe = ::popen(command.c_str(), "r")) {
        std::array<char, 4096> chunk{};
        while (const auto n = std::fread(chunk.data(), 1, chunk.size(), pipe)) {
            result.output.append(chunk.data(), n);
        }
        const int status = ::pclose(pipe);
        if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    }
    std::remove(path.c_str());
    return result;
}

TEST(promtool, rendered_page_has_no_findings) {
    sample_daemon daemon;
    daemon.state.pools.push_back(daemon.state.pools[0]);
    daemon.state.pools[1].database = "other \"\xFF\" \xC3\xA9\n";
    const auto result = promtool(render(daemon.state));
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.output, "");
}

TEST(promtool, page_without_pools_has_no_findings) {
    const auto result = promtool(render({}));
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.output, "");
}

TEST(promtool, page_of_an_idle_store_has_no_findings) {
    snapshot state;
    state.kv.emplace();
    const auto result = promtool(render(state));
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.output, "");
}

TEST(promtool, badly_named_counter_is_found) {
    const auto result = promtool("# HELP a_count x\n# TYPE a_count counter\na_count 1\n");
    EXPECT_NE(result.exit_code, 0);
    EXPECT_NE(result.output, "");
}

}  // namespace
}  // namespace sluice::metrics::test
