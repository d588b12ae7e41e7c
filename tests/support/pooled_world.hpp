// Clients on a few server connections without sockets or threads: client_links and server_links
// joined as the daemon joins them in transaction mode, with model backends behind. Bytes move only
// when a test says so, in pieces of any size, which is how every interleaving can be tried.
// Buffers that the links see are exact copies on the heap, so that a sanitizer finds a read behind.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pool/client_link.hpp"
#include "pool/server_link.hpp"
#include "support/mini_postgres.hpp"

namespace sluice::test {

class pooled_world {
  public:
    struct server_end;

    struct client_end {
        client_end(pool::parameter_table& parameters, pool::statement_table& statements,
                   std::uint64_t serial)
            : link(parameters, statements, serial) {}

        pool::client_link link;
        std::string unsent;  // what the client will send
        std::string rx;      // sent, not yet taken by the link
        std::string got;     // what it received
        server_end* server = nullptr;
        bool waiting = false;
        bool settings_wait = false;
        bool goodbye = false;
        bool closed = false;
        std::string why;  // it was closed
    };

    struct server_end {
        server_end(std::shared_ptr<mini_database> database, pool::parameter_table& parameters)
            : backend(std::move(database)), link(parameters, backend.reported()) {}

        mini_postgres backend;
        pool::server_link link;
        std::string unsent;  // the backend's words on their way
        std::string rx;
        client_end* client = nullptr;
        bool sent_to = false;
        bool cleaning = false;
        bool closed = false;
        std::string why;
    };

    explicit pooled_world(std::size_t servers, std::uint32_t max_statements = 200);

    client_end& add_client(const mini_postgres::setting_list& startup = {});
    server_end& server(std::size_t i) { return *servers_[i]; }

    // Moves up to `n` bytes of what the client, or the backend, has sent.
    void move_client(client_end& client, std::size_t n = std::string::npos);
    void move_server(server_end& server, std::size_t n = std::string::npos);
    // Moves everything until nothing is left to move.
    void settle();
    // Everything the servers have to say, and nothing more of the clients.
    void settle_servers();

    // The client is gone. `end_server` closes what the backend has behind it.
    void vanish(client_end& client);
    // The backend is gone, once what it said has been read.
    void end_server(server_end& server);

    [[nodiscard]] bool all_idle() const;
    [[nodiscard]] std::size_t desyncs() const noexcept { return desyncs_; }

    std::shared_ptr<mini_database> database = std::make_shared<mini_database>();
    pool::parameter_table parameters;
    pool::statement_table statements;
    std::vector<std::unique_ptr<client_end>> clients;

  private:
    void pump(client_end& client);
    void server_bytes(server_end& server);
    bool server_failed(client_end& client);
    void after_server_bytes(client_end& client);
    void ask(client_end& client);
    void grant(server_end& server, client_end& client);
    void release(server_end& server);
    void keep_cleaning(server_end& server);
    void send(server_end& server, const protocol::outgoing& what);
    void close(client_end& client, const std::string& why);

    std::vector<std::unique_ptr<server_end>> servers_;
    std::deque<client_end*> queue_;
    std::uint64_t next_serial_ = 1;
    std::uint32_t max_statements_;
    std::size_t desyncs_ = 0;
};

}  // namespace sluice::test
