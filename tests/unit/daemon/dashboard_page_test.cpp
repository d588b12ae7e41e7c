// The page as one document.
#include "daemon/http/dashboard/page.hpp"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

TEST(dashboard_page, is_whole_and_asks_nobody_else) {
    const auto& page = dashboard_page::get();
    EXPECT_EQ(page.html.find("/*style*/"), std::string::npos);
    EXPECT_EQ(page.html.find("/*script*/"), std::string::npos);
    EXPECT_TRUE(page.html.starts_with("<!DOCTYPE html>"));
    for (const auto* outside : {"https://", "//cdn", "src=", "@import", "innerHTML", "eval("}) {
        EXPECT_EQ(page.html.find(outside), std::string::npos) << outside;
    }
    EXPECT_EQ(page.policy.find("unsafe"), std::string::npos);
}

}  // namespace
}  // namespace sluice::daemon
