// SQL-level prepared statements: what is sent in front of a client's message on a connection whose
// statements are others', and what the server's answer means.
#include <gtest/gtest.h>

#include "support/pg_messages.hpp"
#include "unit/pool/script_check.hpp"

namespace sluice::test {
namespace {

std::string row(const std::vector<std::optional<std::string>>& values) {
    std::string out;
    frame_writer writer(out, 'D');
    writer.bytes({"\0\3", 2});
    for (const auto& value : values) {
        writer.u32(value ? static_cast<std::uint32_t>(value->size()) : 0xFFFFFFFFU);
        if (value) writer.bytes(*value);
    }
    writer.finish();
    return out;
}

using statements = std::vector<std::pair<std::string, std::string>>;

// One server connection and clients that take turns on it.
struct sql_world {
    sql_world() : server(table, {}) {}

    pool::client_link& add_client() {
        clients.push_back(std::make_unique<pool::client_link>(table, known, clients.size() + 1));
        clients.back()->set_max_statements(200);
        return *clients.back();
    }
    void lease(pool::client_link& client) {
        server.lease_to(client);
        now = &client;
    }
    // What the server is sent for these bytes of the client's; `rest` is what was not taken.
    std::string asks(std::string bytes) {
        protocol::outgoing to_client;
        protocol::outgoing to_server;
        const auto taken = now->receive(protocol::as_bytes(bytes), &server, to_server, to_client);
        rest = bytes.substr(taken);
        return flat(to_server);
    }
    std::string says(const std::string& bytes) {
        protocol::outgoing to_client;
        protocol::outgoing to_server;
        EXPECT_EQ(server.receive(protocol::as_bytes(bytes), now, to_client, to_server),
                  bytes.size());
        EXPECT_EQ(flat(to_server), "");
        return flat(to_client);
    }
    // The end of a transaction in which the server lists these statements.
    void ends_with(const statements& listed) {
        protocol::outgoing out;
        if (server.end_transaction(*now, out) != pool::next_step::wait) return;
        const auto sent = flat(out);
        std::string answer;
        if (sent.find("sluice_ask_settings") != std::string::npos) {
            answer += prepared(sent, "pg_catalog.pg_settings") + frame('2') +
                      row({"a", "session_authorization", "app"}) + complete("SELECT 1");
        }
        if (sent.find("sluice_ask_pins") != std::string::npos) {
            answer += prepared(sent, "pg_my_temp_schema") + frame('2');
            for (const auto& [name, text] : listed)
                answer += row({"q", name, text});
            answer += complete("SELECT 0");
        }
        says(answer + ready());
        EXPECT_NE(server.end_transaction(*now, out), pool::next_step::wait);
    }
    // A client has prepared this in a transaction of its own.
    void prepares(pool::client_link& client, const std::string& name, const std::string& sql,
                  const statements& listed) {
        lease(client);
        EXPECT_EQ(asks(query(sql)), query(sql)) << name;
        says(complete("PREPARE") + ready());
        ends_with(listed);
    }

    // The answers to Close and Parse, if the question was prepared.
    static std::string prepared(const std::string& sent, std::string_view text) {
        return sent.find(text) == sent.npos ? "" : frame('3') + frame('1');
    }

    pool::parameter_table table;
    pool::statement_table known;
    pool::server_link server;
    std::vector<std::unique_ptr<pool::client_link>> clients;
    pool::client_link* now = nullptr;
    std::string rest;
};

const std::string one = "PREPARE p AS SELECT 1";
const std::string two = "PREPARE p AS SELECT 2";

TEST(link_sql_prepared, the_clients_own_statement_is_there_already) {
    sql_world world;
    auto& client = world.add_client();
    world.prepares(client, "p", one, {{"p", one}});
    EXPECT_EQ(world.server.pins, 0U);
    EXPECT_EQ(client.own.at("p").what->query, one);
    world.lease(client);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query("EXECUTE p"));
}

TEST(link_sql_prepared, another_clients_is_taken_away_and_ones_own_comes_back) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query("DEALLOCATE \"p\""));
    EXPECT_EQ(world.rest, query("EXECUTE p"));
    EXPECT_EQ(b.want(), pool::client_want::patience);
    EXPECT_TRUE(world.server.bringing());
    EXPECT_FALSE(world.server.idle());
    EXPECT_EQ(world.says(complete("DEALLOCATE") + ready()), "");
    EXPECT_EQ(world.asks(world.rest), query("EXECUTE p"));
    world.says(error("26000", "prepared statement \"p\" does not exist") + ready());
    world.ends_with({});
    world.lease(a);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query(one));
    world.says(complete("PREPARE") + ready());
    EXPECT_EQ(world.asks(world.rest), query("EXECUTE p"));
}

TEST(link_sql_prepared, statements_without_a_hint_bring_nothing) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    for (const auto* sql : {"SELECT 1", "INSERT INTO t VALUES (1)", "EXECUTE q", "BEGIN"})
        EXPECT_EQ(world.asks(query(sql)), query(sql));
}

TEST(link_sql_prepared, equal_statements_are_one) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    EXPECT_EQ(world.asks(query(one)), query("DEALLOCATE \"p\""));
    world.says(complete("DEALLOCATE") + ready());
    EXPECT_EQ(world.asks(world.rest), query(one));
    world.says(complete("PREPARE") + ready());
    world.ends_with({{"p", one}});
    EXPECT_EQ(a.own.at("p").what, b.own.at("p").what);
    world.lease(a);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query("EXECUTE p"));
}

TEST(link_sql_prepared, a_name_that_only_has_to_be_there_is_stood_in_for) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    world.asks(query("EXECUTE p"));
    world.says(complete("DEALLOCATE") + ready());
    world.lease(a);
    EXPECT_EQ(world.asks(query(two)), query(pool::stand_in_sql("p")));
    world.says(complete("PREPARE") + ready());
    EXPECT_EQ(world.asks(world.rest), query(two));
    world.says(error("42P05", "already exists") + ready());
    world.ends_with({{"p", pool::stand_in_sql("p")}});
    EXPECT_EQ(a.own.at("p").what->query, one);
    world.lease(a);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query("DEALLOCATE \"p\"") + query(one));
}

TEST(link_sql_prepared, a_failed_replay_is_the_clients_error) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    world.asks(query("DEALLOCATE p"));
    world.says(complete("DEALLOCATE") + ready());
    world.lease(a);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query(one));
    EXPECT_EQ(world.says(error("42P01", "no table") + ready()), "");
    EXPECT_EQ(world.asks(world.rest), query("DEALLOCATE sluice_missing"));
    EXPECT_EQ(world.rest, "");
    EXPECT_EQ(world.says(error("26000", "none") + ready()), error("42P01", "no table") + ready());
    EXPECT_FALSE(world.server.held.contains("p"));
    EXPECT_EQ(world.asks(query("EXECUTE p")), query(one));  // tried again
}

TEST(link_sql_prepared, what_cannot_be_deallocated_is_not_run) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.prepares(b, "q", "PREPARE q AS SELECT 1", {{"p", one}, {"q", "PREPARE q AS SELECT 1"}});
    EXPECT_FALSE(b.own.contains("p"));
    world.lease(b);
    world.asks(query("EXECUTE p"));
    world.says(error("57014", "canceled") + ready());
    EXPECT_TRUE(world.server.held.contains("p"));
    EXPECT_EQ(world.asks(world.rest), query("DEALLOCATE sluice_missing"));
}

TEST(link_sql_prepared, within_a_transaction_it_is_saved_from_errors) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    world.asks(query("BEGIN"));
    world.says(complete("BEGIN") + ready('T'));
    EXPECT_EQ(world.asks(query("EXECUTE p")),
              query("SAVEPOINT sluice_before") + query("DEALLOCATE \"p\"") +
                  query("ROLLBACK TO SAVEPOINT sluice_before;RELEASE SAVEPOINT sluice_before"));
}

TEST(link_sql_prepared, a_failed_transaction_brings_nothing) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    world.asks(query("BEGIN; SELECT 1/0"));
    world.says(complete("BEGIN") + error("22012", "division by zero") + ready('E'));
    EXPECT_EQ(world.asks(query("EXECUTE p")), query("EXECUTE p"));
    EXPECT_TRUE(world.server.held.contains("p"));
    world.says(error("25P02", "aborted") + ready('E'));
    EXPECT_EQ(world.asks(query("ROLLBACK; EXECUTE p")), query("DEALLOCATE sluice_missing"));
    const auto told = world.says(error("25P02", "aborted") + ready('E'));
    EXPECT_EQ(outline(told).substr(0, 9), "E(0A000)Z");
}

TEST(link_sql_prepared, a_pipeline_brings_within_its_batch) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    const auto first = parse("", "SELECT 1") + bind_to("", "") + execute();
    EXPECT_EQ(world.asks(first), first);
    const auto sent = world.asks(parse("", "EXECUTE p"));
    EXPECT_NE(sent.find("DEALLOCATE \"p\""), sent.npos);
    EXPECT_FALSE(world.server.held.contains("p"));
    world.asks(sync());
    world.says(error("42601", "the first one") + ready());  // all of it is skipped
    EXPECT_TRUE(world.server.held.contains("p"));
}

TEST(link_sql_prepared, it_is_parsed_under_the_settings_of_then) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    world.asks(query("EXECUTE p"));
    world.says(complete("DEALLOCATE") + ready());
    a.wanted = world.table.with(a.wanted, {{"DateStyle", "German"}, {"work_mem", "1GB"}});
    world.server.applied = a.wanted;
    world.lease(a);
    EXPECT_EQ(world.asks(query("EXECUTE p")),
              query("BEGIN;SET LOCAL datestyle TO DEFAULT") + query(one) + query("ROLLBACK"));
    EXPECT_EQ(world.says(complete("BEGIN") + complete("SET") + parameter("DateStyle", "ISO, MDY") +
                         ready('T') + complete("PREPARE") + ready('T') + complete("ROLLBACK") +
                         parameter("DateStyle", "German, DMY") + ready()),
              "");
    EXPECT_EQ(world.asks(world.rest), query("EXECUTE p"));
}

TEST(link_sql_prepared, what_is_not_clear_pins) {
    for (const auto* sql : {"SET DateStyle = 'ISO'; PREPARE p AS SELECT 1",
                            "PREPARE p AS SELECT 1; DEALLOCATE p; "
                            "PREPARE p AS SELECT 2",
                            "DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END $$"}) {
        sql_world world;
        auto& client = world.add_client();
        world.prepares(client, "p", sql, {{"p", sql}});
        EXPECT_EQ(world.server.pins, pool::pin(pool::pin_reason::prepared)) << sql;
        world.asks(query("DEALLOCATE p"));
        world.says(complete("DEALLOCATE") + ready());
        world.ends_with({});
        EXPECT_EQ(world.server.pins, 0U) << sql;
        EXPECT_TRUE(client.own.empty());
    }
}

TEST(link_sql_prepared, deallocate_all_is_everybodys_on_the_connection) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    world.lease(b);
    EXPECT_EQ(world.asks(query("DEALLOCATE ALL")), query("DEALLOCATE ALL"));
    world.says(complete("DEALLOCATE ALL") + ready());
    world.ends_with({});
    EXPECT_TRUE(world.server.held.empty());
    world.lease(a);
    EXPECT_EQ(world.asks(query("EXECUTE p")), query(one));
}

TEST(link_sql_prepared, names_of_our_own_are_refused) {
    sql_world world;
    auto& client = world.add_client();
    world.lease(client);
    EXPECT_EQ(world.asks(query("SELECT 1; EXECUTE sluice_1")), query("DEALLOCATE sluice_missing"));
    EXPECT_EQ(outline(world.says(error("26000", "none") + ready())), "E(42939)Z");
    EXPECT_EQ(world.asks(query("PREPARE p AS SELECT sluice_1")),
              query("PREPARE p AS SELECT sluice_1"));
}

TEST(link_sql_prepared, clients_that_keep_nothing_see_nothing) {
    sql_world world;
    auto& a = world.add_client();
    auto& b = world.add_client();
    world.prepares(a, "p", one, {{"p", one}});
    b.set_tracking(config::session_state::off);
    world.lease(b);
    protocol::outgoing to_server;
    protocol::outgoing to_client;
    EXPECT_TRUE(world.server.apply_settings(b, to_server, to_client));
    EXPECT_EQ(flat(to_server), query("DEALLOCATE ALL"));
    EXPECT_TRUE(world.server.held.empty());
}

}  // namespace
}  // namespace sluice::test
