#include "unit/pool/script_check.hpp"

#include <gtest/gtest.h>

namespace sluice::test {

namespace {

// A world with one server connection and one client, whose script is not sent yet.
struct bench {
    explicit bench(const script& messages, const script_options& options)
        : world(1, options.max_statements) {
        if (!options.before.empty()) {
            auto& other = world.add_client();
            other.unsent = joined(options.before);
            world.settle();
            EXPECT_TRUE(world.all_idle()) << "after the client before";
            world.database->committed.clear();
        }
        client = &world.add_client(options.startup);
        client->unsent = joined(messages);
    }

    pooled_world world;
    pooled_world::client_end* client;
};

std::string seen(const std::string& got, const script_options& options) {
    return options.same_parameters ? got : without_parameters(got);
}

bool compare(const script_result& expected, const bench& now, const script_options& options,
             const std::string& where) {
    EXPECT_EQ(readable(seen(expected.got, options)), readable(seen(now.client->got, options)))
        << where;
    EXPECT_EQ(seen(expected.got, options), seen(now.client->got, options)) << where;
    EXPECT_EQ(expected.committed, now.world.database->committed) << where;
    EXPECT_EQ(now.world.desyncs(), 0U) << where;
    EXPECT_TRUE(now.client->rx.empty() || now.client->closed) << where << ": bytes were not taken";
    return !testing::Test::HasFailure();
}

// Whoever has the server connection next is served as if nothing had been.
bool check_next_client(pooled_world& world, const std::string& where) {
    const script probe{query("show application_name"),
                       query("show work_mem"),
                       parse("probe", "select 2"),
                       bind_to("", "probe"),
                       describe('P', ""),
                       execute(),
                       sync(),
                       query("begin;effect probe;commit")};
    const auto committed = world.database->committed;
    auto& next = world.add_client();
    next.unsent = joined(probe);
    world.settle();
    EXPECT_EQ(readable(run_directly(joined(probe)).got), readable(next.got)) << where;
    EXPECT_TRUE(world.all_idle()) << where;
    EXPECT_EQ(world.database->committed.size(), committed.size() + 1) << where;
    return !testing::Test::HasFailure();
}

}  // namespace

std::string joined(const script& messages) {
    std::string out;
    for (const auto& one : messages)
        out += one;
    return out;
}

std::string without_parameters(const std::string& got) {
    std::string out;
    for (const auto& one : frames(got)) {
        if (one[0] != 'S') out += one;
    }
    return out;
}

script_result run_directly(const std::string& bytes, const script_options& options) {
    auto database = std::make_shared<mini_database>();
    mini_postgres backend(database, options.startup);
    auto got = backend.feed(bytes);
    backend.hang_up();
    return {got, database->committed};
}

script_result run_pooled(const script& messages, const script_options& options) {
    bench now(messages, options);
    now.world.settle();
    return {now.client->got, now.world.database->committed};
}

void check_cut_client(const script& messages, const script_options& options) {
    const auto bytes = joined(messages);
    const auto expected = run_directly(bytes, options);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        bench now(messages, options);
        now.world.move_client(*now.client, cut);
        now.world.settle_servers();
        now.world.settle();
        if (!compare(expected, now, options, "client cut at " + std::to_string(cut))) return;
    }
    bench now(messages, options);
    while (!now.client->unsent.empty()) {
        now.world.move_client(*now.client, 1);
        now.world.settle_servers();
    }
    now.world.settle();
    compare(expected, now, options, "client byte by byte");
}

void check_cut_server(const script& messages, const script_options& options) {
    const auto expected = run_directly(joined(messages), options);
    for (std::size_t cut = 0;; ++cut) {
        bench now(messages, options);
        now.world.move_client(*now.client);
        auto& server = now.world.server(0);
        std::size_t moved = 0;
        while (moved < cut && !server.unsent.empty()) {
            const auto n = std::min(cut - moved, server.unsent.size());
            now.world.move_server(server, n);
            moved += n;
        }
        const bool last = moved < cut;
        now.world.settle();
        if (!compare(expected, now, options, "server cut at " + std::to_string(cut))) return;
        if (last) break;
    }
    bench now(messages, options);
    for (const auto& one : messages) {  // a message, its answer byte by byte, the next one ...
        now.world.move_client(*now.client, one.size());
        while (!now.world.server(0).unsent.empty())
            now.world.move_server(now.world.server(0), 1);
    }
    now.world.settle();
    if (!compare(expected, now, options, "server byte by byte")) return;
    for (std::size_t lag = 1; lag < 12; ++lag) {  // the server is a few bytes behind
        bench late(messages, options);
        for (const auto& one : messages) {
            late.world.move_client(*late.client, one.size());
            late.world.move_server(late.world.server(0), lag);
        }
        late.world.settle();
        if (!compare(expected, late, options, "server lags, " + std::to_string(lag))) return;
    }
}

void check_client_leaves(const script& messages, const script_options& options) {
    const auto bytes = joined(messages);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        for (const bool answered : {false, true}) {
            const auto where = "client leaves at " + std::to_string(cut) +
                               (answered ? ", answered" : ", not answered");
            bench now(messages, options);
            now.world.move_client(*now.client, cut);
            if (answered) now.world.settle_servers();
            now.world.vanish(*now.client);
            now.world.settle_servers();
            EXPECT_EQ(now.world.desyncs(), 0U) << where;
            EXPECT_EQ(run_directly(bytes.substr(0, cut), options).committed,
                      now.world.database->committed)
                << where;
            auto& server = now.world.server(0);
            if (server.closed) {
                EXPECT_TRUE(server.why == "not to be saved" || server.backend.ended())
                    << where << ": " << server.why;
            } else {
                check_next_client(now.world, where);
            }
            if (testing::Test::HasFailure()) return;
        }
    }
}

void check_server_ends(const script& messages, const script_options& options) {
    const auto expected = run_directly(joined(messages), options);
    for (std::size_t cut = 0;; ++cut) {
        const auto where = "server ends at " + std::to_string(cut);
        bench now(messages, options);
        auto& server = now.world.server(0);
        std::size_t moved = 0;
        now.world.move_client(*now.client);
        while (moved < cut && !server.unsent.empty()) {
            const auto n = std::min(cut - moved, server.unsent.size());
            now.world.move_server(server, n);
            moved += n;
        }
        server.unsent.clear();
        now.world.end_server(server);
        const auto got = seen(now.client->got, options);
        EXPECT_EQ(readable(seen(expected.got, options).substr(0, got.size())), readable(got))
            << where;
        EXPECT_EQ(now.world.desyncs(), 0U) << where;
        if (moved < cut || testing::Test::HasFailure()) return;
    }
}

// An error of the server's in front of every message.
void check_errors(const script& messages, const script_options& options) {
    for (std::size_t at = 0; at <= messages.size(); ++at) {
        for (const auto& failing :
             {execute("no such portal"), parse("", "syntax"), bind_to("", "no such statement"),
              query("fail"), parse("twice", "select 1") + parse("twice", "select 1")}) {
            auto broken = messages;
            broken.insert(broken.begin() + static_cast<std::ptrdiff_t>(at), failing);
            broken.push_back(sync());
            const auto where =
                "error in front of message " + std::to_string(at) + " (" + failing[0] + ")";
            const auto expected = run_directly(joined(broken), options);
            if (options.errors_pipelined) {
                bench whole(broken, options);
                whole.world.settle();
                if (!compare(expected, whole, options, where)) return;
            }
            bench stepped(broken, options);
            for (const auto& one : broken) {
                stepped.world.move_client(*stepped.client, one.size());
                stepped.world.settle_servers();
            }
            stepped.world.settle();
            if (!compare(expected, stepped, options, where + ", answered one by one")) return;
        }
    }
}

void check_script(const script& messages, const script_options& options) {
    check_cut_client(messages, options);
    if (testing::Test::HasFailure()) return;
    check_cut_server(messages, options);
    if (testing::Test::HasFailure()) return;
    check_client_leaves(messages, options);
    if (testing::Test::HasFailure()) return;
    check_server_ends(messages, options);
    if (testing::Test::HasFailure() || !options.errors_anywhere) return;
    check_errors(messages, options);
}

}  // namespace sluice::test
