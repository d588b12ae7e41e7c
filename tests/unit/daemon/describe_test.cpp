#include "daemon/describe.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

namespace sluice::daemon {
namespace {

std::string described(CLI::App& app) {
    std::ostringstream out;
    describe(app, out);
    return out.str();
}

TEST(describe, commands_options_and_positionals_have_a_line_each) {
    CLI::App app("all of it", "sluice");
    std::string file;
    bool loud = false;
    auto* const run = app.add_subcommand("run", "run\tit\nnow");
    run->add_option("--config,-c", file, "the file")->type_name("FILE");
    run->add_flag("--loud", loud, "say more");
    run->add_option("what", file, "what to run")->type_name("NAME")->required();
    const auto text = described(app);
    EXPECT_EQ(text.rfind("command\tsluice\tall of it\n", 0), 0U);
    for (const auto* line : {"\ncommand\tsluice run\trun it now\n",
                             "\noption\tsluice run\t-c,--config\tFILE\tthe file\n",
                             "\noption\tsluice run\t--loud\t\tsay more\n",
                             "\npositional\tsluice run\twhat\trequired\tNAME\twhat to run\n"}) {
        EXPECT_NE(text.find(line), std::string::npos) << line << text;
    }
}

TEST(describe, hidden_commands_are_left_out) {
    CLI::App app("all of it", "sluice");
    app.add_subcommand("inner", "for us")->group("");
    EXPECT_EQ(described(app).find("inner"), std::string::npos);
}

TEST(describe, keys_have_six_cells_and_no_line_is_torn) {
    CLI::App app("all of it", "sluice");
    std::istringstream lines(described(app));
    std::string line;
    int keys = 0;
    while (std::getline(lines, line)) {
        if (!line.starts_with("key\t")) continue;
        ++keys;
        EXPECT_EQ(std::count(line.begin(), line.end(), '\t'), 6) << line;
    }
    EXPECT_GT(keys, 50);
}

}  // namespace
}  // namespace sluice::daemon
