// What a configuration file that is read again asks for, and which files are refused. Putting it in
// force needs servers: tests/integration/test_reload.py.
#include "daemon/reload.hpp"

#include <gtest/gtest.h>

#include <unistd.h>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "pool/upstream_login.hpp"
#include "unit/config/support.hpp"

namespace sluice::daemon {
namespace {

using keys = std::vector<std::string>;

constexpr auto first_file = R"(
postgres:
  databases:
    app: {url: "postgresql://app:one@db/app"}
  users:
    alice: {password: secret}
kv:
  users:
    bob: {password: secret, projects: all}
)";

config::fake_world world_of(const std::string& text) {
    return {.variables = {}, .files = {{"sluice.yaml", text}}};
}

reload_plan plan_of(const std::string& text, const directory& now) {
    const auto world = world_of(text);
    return prepare_reload("sluice.yaml", world.env(), now);
}

directory running(const std::string& text = first_file) {
    const auto world = world_of(text);
    return directory(config::load_file("sluice.yaml", world.env(), pool::is_address).settings);
}

std::string replaced(const std::string& what, const std::string& by) {
    std::string out = first_file;
    out.replace(out.find(what), what.size(), by);
    return out;
}

std::string refusal_of(const std::string& text) {
    const auto now = running();
    try {
        (void)plan_of(text, now);
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

TEST(prepare_reload, same_file_changes_nothing) {
    const auto now = running();
    const auto plan = plan_of(first_file, now);
    EXPECT_TRUE(plan.changed.empty());
    EXPECT_NE(plan.postgres, nullptr);
    EXPECT_EQ(plan.kv_tls, nullptr);
}

TEST(prepare_reload, url_database_and_user_are_changed_live) {
    const auto now = running();
    const auto plan =
        plan_of(replaced("app: {url: \"postgresql://app:one@db/app\"}",
                         "app: {url: \"host=other\"}\n    more: {url: \"host=third\"}"),
                now);
    EXPECT_EQ(plan.changed.live, (keys{"postgres.databases.app.url", "postgres.databases.more"}));
    EXPECT_TRUE(plan.changed.restart.empty());
    ASSERT_NE(plan.postgres->find_database("more"), nullptr);
    EXPECT_EQ(plan.postgres->find_database("app")->settings.url, "host=other");
}

TEST(prepare_reload, what_waits_for_a_restart_is_named_and_stays) {
    const auto now = running();
    const auto plan =
        plan_of("workers: 3\n" + replaced("  databases:", "  listen: []\n  databases:"), now);
    EXPECT_EQ(plan.changed.restart, (keys{"workers", "postgres.listen"}));
    EXPECT_EQ(plan.settings.workers, now.settings().workers);
    EXPECT_EQ(plan.postgres->postgres().listen, now.postgres().listen);
    const auto again = plan_of("workers: 3\n" + std::string(first_file), *plan.postgres);
    EXPECT_EQ(again.changed.restart, keys{"workers"}) << "named as long as it waits";
}

TEST(prepare_reload, unchanged_password_keeps_its_verifier) {
    const auto now = running();
    const auto plan = plan_of(first_file, now);
    EXPECT_EQ(plan.postgres->find_user("alice")->verifier->salt,
              now.find_user("alice")->verifier->salt);
    const auto changed =
        plan_of(replaced("alice: {password: secret}", "alice: {password: other}"), now);
    EXPECT_NE(changed.postgres->find_user("alice")->verifier->salt,
              now.find_user("alice")->verifier->salt);
}

struct bad_file {
    const char* what;
    std::string text;
    const char* refusal;
};

TEST(prepare_reload, bad_file_is_refused_with_line_and_key) {
    const bad_file cases[] = {
        {"a wrong value", replaced("kv:", "  pool_size: x\nkv:"),
         "sluice.yaml:7: postgres.pool_size: "},
        {"a bad URL", replaced("postgresql://app:one@db/app", "postgresql://app:one@[db/app"),
         "sluice.yaml:4: postgres.databases.app.url: "},
        {"a variable that is not set",
         replaced("password: secret}\nkv", "password: \"${NO}\"}\nkv"),
         "sluice.yaml:6: postgres.users.alice.password: "},
        {"a file that cannot be read",
         replaced("password: secret}\nkv", "password: \"${file:/no/such}\"}\nkv"),
         "sluice.yaml:6: postgres.users.alice.password: "},
        {"a certificate that is not there",
         replaced("kv:",
                  "  tls:\n    mode: allow\n    certificate: /no/such.pem\n"
                  "    key: /no/such.key\nkv:"),
         "sluice.yaml:9: postgres.tls.certificate: "},
        {"a certificate of the store that is not there",
         std::string(first_file) +
             "  tls: {mode: allow, certificate: /no/such.pem, key: /no/such.key}\n",
         "sluice.yaml:10: kv.tls.certificate: "},
        {"an empty file", "", "sluice.yaml: postgres.databases: found no database"},
        {"a file that ends too early",
         std::string(first_file).substr(0, std::string(first_file).find("  users:")),
         "sluice.yaml:2: postgres.users: found no user"},
        {"no database", replaced("app: {url: \"postgresql://app:one@db/app\"}", ""),
         "sluice.yaml:3: postgres.databases: "},
        {"nobody", replaced("    alice: {password: secret}\n", "    {}\n"),
         "sluice.yaml:5: postgres.users: found no user"},
        {"an open key-value port",
         replaced("    bob: {password: secret, projects: all}\n", "    {}\n"),
         "sluice.yaml:8: kv.users: found no user"},
    };
    for (const auto& one : cases)
        EXPECT_TRUE(refusal_of(one.text).starts_with(one.refusal))
            << one.what << ": " << refusal_of(one.text);
}

TEST(prepare_reload, file_that_is_gone_is_refused) {
    const auto now = running();
    const config::fake_world empty;
    EXPECT_THROW((void)prepare_reload("sluice.yaml", empty.env(), now), config::config_error);
}

// ---- one after the other ----

struct reloader_test : testing::Test {
    std::string path = testing::TempDir() + "reload_test_" + std::to_string(::getpid()) + ".yaml";
    boost::asio::io_context main{1};
    logger log{{.level = config::log_level::error, .format = config::log_format::text}};
    std::vector<std::uint32_t> applied;  // pool_size of each
    reloader reloads{
        main, log, path, std::make_shared<const directory>(config::settings{}),
        [this](const reload_plan& plan) { applied.push_back(plan.settings.postgres.pool_size); }};

    void write(const std::string& text) { std::ofstream(path) << text; }
    void run_until(const std::function<bool()>& done) {
        main.restart();
        const auto work = boost::asio::make_work_guard(main);
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!done() && std::chrono::steady_clock::now() < deadline)
            main.run_one_for(std::chrono::seconds(1));
        ASSERT_TRUE(done());
    }
    ~reloader_test() override { std::remove(path.c_str()); }
};

TEST_F(reloader_test, each_caller_hears_once_and_the_latest_file_wins) {
    std::vector<std::string> heard;
    const auto note = [&](const reload_result& result) { heard.push_back(result.error); };
    write("postgres: {pool_size: 1}\n");
    reloads.start(note);
    write("postgres: {pool_size: 2}\n");
    for (int i = 0; i < 50; ++i)
        reloads.start(note);
    run_until([&] { return heard.size() >= 51; });
    main.poll();
    EXPECT_EQ(heard, std::vector<std::string>(51));
    ASSERT_EQ(applied.size(), 2U) << "those that came while one ran are one more";
    EXPECT_EQ(applied.back(), 2U);
}

TEST_F(reloader_test, failure_is_told_and_the_next_one_works) {
    reload_result result;
    int heard = 0;
    const auto note = [&](const reload_result& now) {
        result = now;
        ++heard;
    };
    write("postgres: {pool_size: x}\n");
    reloads.start(note);
    run_until([&] { return heard == 1; });
    EXPECT_NE(result.error.find(path + ":1: postgres.pool_size"), std::string::npos);
    EXPECT_TRUE(applied.empty());
    write("workers: 2\npostgres: {pool_size: 4}\n");
    reloads.start(note);
    run_until([&] { return heard == 2; });
    EXPECT_EQ(result.error, "");
    EXPECT_EQ(result.changed, keys{"postgres.pool_size"});
    EXPECT_EQ(result.needs_restart, keys{"workers"});
    EXPECT_EQ(applied, std::vector<std::uint32_t>{4});
}

TEST_F(reloader_test, without_a_file_there_is_nothing_to_reload) {
    reloader none{main, log, "", nullptr, [](const reload_plan&) { FAIL(); }};
    std::string heard;
    none.start([&](const reload_result& result) { heard = result.error; });
    EXPECT_EQ(heard, "there is no configuration file");
}

TEST_F(reloader_test, nothing_is_reloaded_when_the_daemon_ends) {
    std::vector<std::string> heard;
    const auto note = [&](const reload_result& result) { heard.push_back(result.error); };
    write("postgres: {pool_size: 1}\n");
    reloads.start(note);
    reloads.start(note);
    reloads.stop();
    reloads.start(note);
    run_until([&] { return heard.size() == 3; });
    EXPECT_TRUE(applied.empty());
    for (const auto& error : heard)
        EXPECT_FALSE(error.empty());
}

}  // namespace
}  // namespace sluice::daemon
