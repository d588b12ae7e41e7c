// Random clients on few server connections, compared with the same clients alone on a server each.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

class generator {
  public:
    generator(std::mt19937& random, std::string client)
        : random_(random), client_(std::move(client)) {}

    std::string next() {
        switch (pick(8)) {
            case 0:
                return simple();
            case 1:
                return simple() + simple();
            case 2:
                return copy();
            default:
                return batch();
        }
    }
    std::string end() const { return sync() + query("rollback"); }

  private:
    std::size_t pick(std::size_t n) { return random_() % n; }
    std::string name() { return std::string(1, static_cast<char>('a' + pick(4))); }
    std::string text() {
        switch (pick(12)) {
            case 0:
                return "begin";
            case 1:
                return "commit";
            case 2:
                return "rollback";
            case 3:
                return "fail 23505";
            case 4:
                return "syntax";
            case 5:
                return "effect " + client_ + std::to_string(count_++);
            case 6:
                return "note";
            case 7:
                return "copy out 2";
            case 8:
                return "set application_name " + client_ + std::to_string(pick(3));
            case 9:
                return "show application_name";
            case 10:
                return "select 2 " + client_;  // another text for every client
            default:
                return "select " + std::to_string(pick(3));
        }
    }
    std::string simple() {
        switch (pick(12)) {
            case 0:
                return query(text() + ";" + text());
            case 1:
                return query("");
            case 2:
                return function_call();
            case 3:
                return copy_data("stray") + copy_done();
            case 4:
                return query("deallocate all");
            default:
                return query(text());
        }
    }
    std::string copy() {
        const std::string data =
            copy_data(pick(4) == 0 ? "bad" : client_) + (pick(4) == 0 ? copy_fail() : copy_done());
        if (pick(2) == 0) return query("copy in") + data;
        return parse("", "copy in") + bind_to("", "") + execute() + (pick(2) == 0 ? sync() : "") +
               data + sync();
    }
    // No Describe of a statement: in a failed transaction one that was evicted cannot be brought
    // back. A named Parse of something that is wrong in two ways may be told the other one: a name
    // that is taken and a syntax error, or a failed transaction.
    std::string batch() {
        std::string out;
        if (pick(2) == 0) {
            out += query("rollback");
            for (auto left = 1 + pick(3); left > 0; --left) {
                auto sql = text();
                out += parse(name(), sql == "syntax" ? "note" : sql);
            }
        }
        for (auto left = pick(9); left > 0; --left) {
            switch (pick(8)) {
                case 0:
                case 1:
                    out += close('S', name());
                    break;
                case 3:
                    out += flush();
                    break;
                case 4:
                    out += bind_to("p", name()) + execute("p", 1) + close('P', "p");
                    break;
                case 5:
                    out += parse("", text()) + bind_to("", "") + execute();
                    break;
                default:
                    out += bind_to("", name(), client_) + describe('P', "") + execute();
            }
        }
        return out + (pick(20) == 0 ? query(text()) : "") + sync();
    }

    std::mt19937& random_;
    std::string client_;
    int count_ = 0;
};

std::vector<std::string> effects_of(const std::vector<std::string>& all, const std::string& who) {
    std::vector<std::string> out;
    for (const auto& one : all) {
        if (one.find(who) != one.npos) out.push_back(one);
    }
    return out;
}

void run(unsigned seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    const auto servers = 1 + random() % 3;
    pooled_world world(servers, static_cast<std::uint32_t>(1 + random() % 6));
    std::vector<std::string> scripts;
    std::vector<mini_postgres::setting_list> startups;
    for (std::size_t i = 0; i < 5; ++i) {
        const auto who = "client" + std::to_string(i) + "_";
        startups.push_back({{"application_name", who}});
        generator from(random, who);
        scripts.emplace_back();
        for (auto batches = 1 + random() % 12; batches > 0; --batches)
            scripts[i] += from.next();
        scripts[i] += from.end();
        world.add_client(startups[i]).unsent = scripts[i];
    }
    for (int step = 0; step < 400; ++step) {
        const auto n = random() % 4 == 0 ? 1 + random() % 5 : random() % 300;
        if (random() % 2 == 0) {
            world.move_client(*world.clients[random() % world.clients.size()], n);
        } else {
            world.move_server(world.server(random() % servers), n);
        }
    }
    world.settle();
    EXPECT_EQ(world.desyncs(), 0U);
    EXPECT_TRUE(world.all_idle());
    for (std::size_t i = 0; i < scripts.size(); ++i) {
        const auto who = "client" + std::to_string(i) + "_";
        const auto alone = run_directly(scripts[i], {.startup = startups[i]});
        EXPECT_EQ(readable(without_parameters(alone.got)),
                  readable(without_parameters(world.clients[i]->got)))
            << who << "\n"
            << readable(scripts[i]);
        EXPECT_EQ(effects_of(alone.committed, who), effects_of(world.database->committed, who));
        if (testing::Test::HasFailure()) return;
    }
}

TEST(link_random, many_clients_on_few_servers_are_as_alone) {
    const auto* given = std::getenv("SLUICE_TEST_SEED");
    const auto first =
        given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
    for (unsigned i = 0; i < 200 && !HasFailure(); ++i)
        run(first + i);
}

}  // namespace
}  // namespace sluice::test
