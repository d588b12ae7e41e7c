// The columns of each SHOW are PgBouncer's, in its order and with its types; ours follow.
#include "pool/console_shows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace sluice::pool::test {
namespace {

using namespace std::chrono_literals;

// PgBouncer 1.25's columns: names, and a letter for each type (s text, i int4, q int8, n numeric).
struct contract {
    show_kind what;
    const char* types;
    const char* names;
};

constexpr const char* socket_names =
    "type,user,database,replication,state,addr,port,local_addr,local_port,connect_time,"
    "request_time,wait,wait_us,close_needed,ptr,link,remote_pid,tls,application_name,"
    "prepared_statements,id";
constexpr const char* debug_names =
    "type,user,database,replication,state,addr,port,local_addr,local_port,connect_time,"
    "request_time,wait,wait_us,close_needed,ptr,link,remote_pid,tls,application_name,"
    "prepared_statements,id,recv_pos,pkt_pos,pkt_remain,send_pos,send_remain,pkt_avail,"
    "send_avail";

const contract contracts[] = {
    {show_kind::pools, "ssiiiiiiiiiiiiiss",
     "database,user,cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,sv_active,"
     "sv_active_cancel,sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us,"
     "pool_mode,load_balance_hosts"},
    {show_kind::stats, "snnnnnnnnnnnnnnnnnnnnnnnn",
     "database,total_server_assignment_count,total_xact_count,total_query_count,total_received,"
     "total_sent,total_xact_time,total_query_time,total_wait_time,total_client_parse_count,"
     "total_server_parse_count,total_bind_count,total_client_login_count,"
     "avg_server_assignment_count,avg_xact_count,avg_query_count,avg_recv,avg_sent,avg_xact_time,"
     "avg_query_time,avg_wait_time,avg_client_parse_count,avg_server_parse_count,avg_bind_count,"
     "avg_client_login_count"},
    {show_kind::stats_totals, "snnnnnnnnnnnn",
     "database,server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,"
     "query_time,wait_time,client_parse_count,server_parse_count,bind_count,client_login_count"},
    {show_kind::stats_averages, "snnnnnnnnnnnn",
     "database,avg_server_assignment_count,avg_xact_count,avg_query_count,avg_recv,avg_sent,"
     "avg_xact_time,avg_query_time,avg_wait_time,avg_client_parse_count,avg_server_parse_count,"
     "avg_bind_count,avg_client_login_count"},
    {show_kind::totals, "sn", "name,value"},
    {show_kind::clients, "ssssssisissiiississii", socket_names},
    {show_kind::servers, "ssssssisissiiississii", socket_names},
    {show_kind::sockets, "ssssssisissiiississiiiiiiiii", debug_names},
    {show_kind::active_sockets, "ssssssisissiiississiiiiiiiii", debug_names},
    {show_kind::databases, "ssissiiiissiiiiii",
     "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool_size,"
     "server_lifetime,pool_mode,load_balance_hosts,max_connections,current_connections,"
     "max_client_connections,current_client_connections,paused,disabled"},
    {show_kind::users, "ssssiiii",
     "name,pool_size,reserve_pool_size,pool_mode,max_user_connections,current_connections,"
     "max_user_client_connections,current_client_connections"},
    {show_kind::lists, "si", "list,items"},
    {show_kind::config, "ssss", "key,value,default,changeable"},
    {show_kind::version, "s", "version"},
    {show_kind::state, "ss", "key,value"},
    {show_kind::mem, "siiii", "name,size,used,free,memtotal"},
    {show_kind::peers, "isii", "peer_id,host,port,pool_size"},
    {show_kind::peer_pools, "iiiii",
     "peer_id,cl_active_cancel_req,cl_waiting_cancel_req,sv_active_cancel,sv_login"},
    {show_kind::dns_hosts, "sqs", "hostname,ttl,addrs"},
    {show_kind::dns_zones, "sqi", "zonename,serial,count"},
    {show_kind::queries, "ssqqqqqs", "database,user,calls,errors,total_us,mean_us,max_us,query"},
};

char letter(column_type type) {
    switch (type) {
        case column_type::int4:
            return 'i';
        case column_type::int8:
            return 'q';
        case column_type::numeric:
            return 'n';
        case column_type::text:
            break;
    }
    return 's';
}

TEST(console_shows, columns_areTheContractsInFront) {
    for (const auto& one : contracts) {
        const auto columns = columns_of(one.what);
        std::istringstream names(one.names);
        std::size_t at = 0;
        for (std::string name; std::getline(names, name, ','); ++at) {
            ASSERT_LT(at, columns.size()) << name;
            EXPECT_EQ(columns[at].name, name);
            EXPECT_EQ(letter(columns[at].type), one.types[at]) << name;
        }
        EXPECT_EQ(at, std::string_view(one.types).size()) << one.names;
    }
    EXPECT_TRUE(columns_of(show_kind::help).empty());
}

overview world() {
    overview out;
    out.now = clock_time(1000s);
    out.wall = wall_time(1'764'000'000s);
    out.version = "a version";
    pool_view pool;
    pool.database = "app";
    pool.user = "owner";
    pool.mode = "transaction";
    pool.figures.idle = 1;
    pool.figures.leased = 3;
    pool.figures.waiting = 2;
    pool.figures.opening = 1;
    pool.figures.bounds.size = 4;
    pool.figures.oldest_waiter = clock_time(1000s - 2500ms);
    pool.clients = 10;
    pool.cleaning = 1;
    pool.cancels_sent = 1;
    pool.waiters = {{5, clock_time(1000s - 2500ms)}, {6, clock_time(999s)}};
    pool.holders = {{3, clock_time(998s)}, {4, clock_time(990s)}};
    out.pools.push_back(pool);
    for (std::uint64_t id = 3; id <= 6; ++id) {
        socket_view client;
        client.id = id;
        client.user = "user" + std::to_string(id);
        client.database = "app";
        client.address = "127.0.0.1";
        client.connected = clock_time(900s);
        client.state = id >= 5 ? socket_state::waiting : socket_state::active;
        if (id == 4) {
            client.pins = pin(pin_reason::lock);
            client.pinned = clock_time(995s);
            client.server_pid = 4711;
        }
        out.sockets.push_back(client);
    }
    socket_view server;
    server.is_server = true;
    server.id = 9;
    server.link = 3;
    server.user = "owner";
    server.database = "app";
    out.sockets.push_back(server);
    socket_view login;
    login.id = 10;
    login.state = socket_state::login;
    out.sockets.push_back(login);
    return out;
}

std::string cell(const console_table& table, std::size_t row, std::string_view name) {
    for (std::size_t i = 0; i < table.columns().size(); ++i) {
        if (table.columns()[i].name == name) return table.rows().at(row).at(i).value_or("NULL");
    }
    ADD_FAILURE() << "no column " << name;
    return {};
}

TEST(console_shows, everyRow_isAsWideAsItsColumns) {
    auto from = world();
    from.databases.emplace_back();
    from.users.emplace_back();
    from.settings.push_back({"key", "value", "default", true});
    from.memory.push_back({"client_cache", 100, 3});
    from.queries.push_back({"app", "owner", "SELECT $1", 2, 0, 10us, 7us});
    from.stats.databases["app"] = {};
    from.sockets.front().unread = 1;
    from.sockets.back().is_console = true;
    for (int kind = 0; kind <= static_cast<int>(show_kind::waiters); ++kind) {
        const auto table = render(static_cast<show_kind>(kind), from);
        for (const auto& row : table.rows())
            EXPECT_EQ(row.size(), table.columns().size()) << kind;
    }
}

TEST(console_shows, pools_countAsPgbouncer) {
    const auto table = render(show_kind::pools, world());
    ASSERT_EQ(table.rows().size(), 1U);
    EXPECT_EQ(cell(table, 0, "cl_active"), "8");  // idle ones, too
    EXPECT_EQ(cell(table, 0, "cl_waiting"), "2");
    EXPECT_EQ(cell(table, 0, "sv_active"), "2");
    EXPECT_EQ(cell(table, 0, "sv_tested"), "1");
    EXPECT_EQ(cell(table, 0, "sv_idle"), "1");
    EXPECT_EQ(cell(table, 0, "sv_login"), "1");
    EXPECT_EQ(cell(table, 0, "sv_active_cancel"), "1");
    EXPECT_EQ(cell(table, 0, "maxwait"), "2");
    EXPECT_EQ(cell(table, 0, "maxwait_us"), "500000");
    EXPECT_EQ(cell(table, 0, "load_balance_hosts"), "NULL");
}

TEST(console_shows, pools_countCancelsAndIdleOnesAsPgbouncer) {
    auto from = world();
    auto& pool = from.pools[0];
    pool.figures.idle = 5;
    pool.used = 2;
    pool.figures.leased = 6;
    pool.cleaning = 3;
    pool.cancels_waiting = 7;
    pool.cancels_asked = 4;
    pool.cancels_sent = 5;
    auto server = from.sockets[4];
    server.state = socket_state::being_canceled;
    from.sockets.push_back(server);  // its client has its answer
    server.link = 0;
    from.sockets.push_back(server);  // its client has left
    from.sockets.push_back(server);
    server.user = "somebody else";
    from.sockets.push_back(server);
    const auto table = render(show_kind::pools, from);
    EXPECT_EQ(cell(table, 0, "cl_active_cancel_req"), "4");
    EXPECT_EQ(cell(table, 0, "cl_waiting_cancel_req"), "7");
    EXPECT_EQ(cell(table, 0, "sv_active"), "2");
    EXPECT_EQ(cell(table, 0, "sv_active_cancel"), "5");
    EXPECT_EQ(cell(table, 0, "sv_being_canceled"), "3");
    EXPECT_EQ(cell(table, 0, "sv_idle"), "3");
    EXPECT_EQ(cell(table, 0, "sv_used"), "2");
    EXPECT_EQ(cell(table, 0, "sv_tested"), "1");
    // Connections in use; and none of them twice.
    EXPECT_EQ(render(show_kind::lists, from).rows()[9][1], "12");
}

TEST(console_shows, serverThatIdledLong_isUsed) {
    auto from = world();
    from.sockets[4].state = socket_state::used;
    EXPECT_EQ(cell(render(show_kind::servers, from), 0, "state"), "used");
    EXPECT_EQ(cell(render(show_kind::sockets, from), 4, "state"), "sv_used");
}

TEST(console_shows, clientsAndServers_areTold) {
    const auto clients = render(show_kind::clients, world());
    ASSERT_EQ(clients.rows().size(), 4U);  // not who has not logged in
    EXPECT_EQ(cell(clients, 0, "type"), "C");
    EXPECT_EQ(cell(clients, 0, "ptr"), "0x3");
    EXPECT_EQ(cell(clients, 0, "request_time"), "NULL");
    EXPECT_EQ(cell(clients, 0, "connect_time"), "2025-11-24 15:58:20 UTC");
    EXPECT_EQ(cell(clients, 1, "pins"), "lock");
    EXPECT_EQ(cell(clients, 2, "state"), "waiting");
    EXPECT_EQ(cell(clients, 2, "wait_reason"), "pool_size");
    const auto servers = render(show_kind::servers, world());
    ASSERT_EQ(servers.rows().size(), 1U);
    EXPECT_EQ(cell(servers, 0, "type"), "S");
    EXPECT_EQ(cell(servers, 0, "link"), "0x3");
    EXPECT_EQ(render(show_kind::sockets, world()).rows().size(), 6U);
}

TEST(console_shows, waiters_nameWhoHolds) {
    const auto table = render(show_kind::waiters, world());
    ASSERT_EQ(table.rows().size(), 2U);
    EXPECT_EQ(cell(table, 0, "id"), "5");
    EXPECT_EQ(cell(table, 0, "position"), "1");
    EXPECT_EQ(cell(table, 0, "wait_us"), "2500000");
    EXPECT_EQ(cell(table, 1, "position"), "2");
    EXPECT_EQ(cell(table, 0, "holders"),
              "client 4 (user4) pinned: lock for 10.0 s; client 3 (user3) for 2.0 s");
    auto paused = world();
    paused.pools[0].paused = true;
    EXPECT_EQ(cell(render(show_kind::waiters, paused), 0, "reason"), "paused");
}

TEST(console_shows, pins_haveReasonAndAge) {
    const auto table = render(show_kind::pins, world());
    ASSERT_EQ(table.rows().size(), 1U);
    EXPECT_EQ(cell(table, 0, "reasons"), "lock");
    EXPECT_EQ(cell(table, 0, "pinned_us"), "5000000");
    EXPECT_EQ(cell(table, 0, "server_pid"), "4711");
}

TEST(console_shows, queries_comeBySumOfTime) {
    auto from = world();
    from.queries = {{"app", "owner", "SELECT $1", 4, 1, 100us, 70us},
                    {"app", "owner", "SELECT $1, $2", 1, 0, 500us, 500us}};
    const auto table = render(show_kind::queries, from);
    EXPECT_EQ(cell(table, 0, "query"), "SELECT $1, $2");
    EXPECT_EQ(cell(table, 1, "mean_us"), "25");
    EXPECT_EQ(cell(table, 1, "errors"), "1");
}

TEST(console_shows, lists_haveAllTheirRows) {
    const auto table = render(show_kind::lists, world());
    ASSERT_EQ(table.rows().size(), 14U);
    EXPECT_EQ(table.rows()[6][1], "4");  // used_clients
    EXPECT_EQ(table.rows()[9][1], "5");  // used_servers
}

TEST(stats_history, averages_areOfTheLastWholePeriod) {
    stats_history history;
    const clock_time start(100s);
    EXPECT_TRUE(history.is_due(start));
    database_totals first;
    first.queries = 100;
    history.end_period({{"app", first}}, start);
    EXPECT_FALSE(history.is_due(start + 59s));
    EXPECT_TRUE(history.is_due(start + 60s));
    auto second = first;
    second.queries += 600;
    second.query_us += 1200;
    second.assignments += 4;
    second.wait_us += 100;
    second.received += 60000;
    // Before the first period is over there is nothing to say.
    EXPECT_EQ(history.report({{"app", second}}).databases.at("app").averages, database_totals{});
    history.end_period({{"app", second}}, start + 60s);
    auto third = second;
    third.queries += 1'000'000;  // of the period that is not over
    const auto report = history.report({{"app", third}});
    const auto& app = report.databases.at("app");
    EXPECT_EQ(app.totals.queries, 1'000'700U);
    EXPECT_EQ(app.averages.queries, 10U);
    EXPECT_EQ(app.averages.query_us, 2U);
    EXPECT_EQ(app.averages.wait_us, 25U);
    EXPECT_EQ(app.averages.received, 1000U);
    EXPECT_EQ(report.all.averages.queries, 10U);
}

TEST(stats_history, databaseThatCameLater_beginsAtZero) {
    stats_history history;
    history.end_period({}, clock_time(100s));
    database_totals app;
    app.queries = 60;
    history.end_period({{"app", app}}, clock_time(160s));
    EXPECT_EQ(history.report({{"app", app}}).databases.at("app").averages.queries, 1U);
}

}  // namespace
}  // namespace sluice::pool::test
