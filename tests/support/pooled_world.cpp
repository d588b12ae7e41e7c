#include "support/pooled_world.hpp"

#include <algorithm>
#include <cstdlib>

#include "support/pg_messages.hpp"

namespace sluice::test {

namespace {

using pool::client_want;
using pool::link_health;

// The bytes at an address of their own, with nothing behind them.
struct exact_copy {
    explicit exact_copy(std::string_view from)
        : bytes(std::make_unique<std::uint8_t[]>(from.size())), size(from.size()) {
        std::copy(from.begin(), from.end(), bytes.get());
    }
    [[nodiscard]] protocol::byte_span span() const { return {bytes.get(), size}; }

    std::unique_ptr<std::uint8_t[]> bytes;
    std::size_t size;
};

std::string move_front(std::string& from, std::size_t n) {
    auto out = from.substr(0, n);
    from.erase(0, n);
    return out;
}

}  // namespace

pooled_world::pooled_world(std::size_t servers, std::uint32_t max_statements)
    : max_statements_(max_statements) {
    for (std::size_t i = 0; i < servers; ++i) {
        servers_.push_back(std::make_unique<server_end>(database, parameters));
    }
}

pooled_world::client_end& pooled_world::add_client(const mini_postgres::setting_list& startup) {
    clients.push_back(std::make_unique<client_end>(parameters, statements, next_serial_++));
    auto& client = *clients.back();
    client.link.set_max_statements(max_statements_);
    client.link.set_tracking(config::session_state::off);  // nobody answers questions here
    client.link.startup = client.link.wanted = parameters.with(parameters.none(), startup);
    // As the welcome told it: the defaults of a server, and its own settings over them.
    client.link.reported = parameters.with(
        parameters.with(parameters.none(), mini_postgres(database).reported()), startup);
    return client;
}

void pooled_world::send(server_end& server, const protocol::outgoing& what) {
    if (what.empty()) return;
    server.unsent += server.backend.feed(flat(what));
}

void pooled_world::move_client(client_end& client, std::size_t n) {
    client.rx += move_front(client.unsent, n);
    if (!client.closed) pump(client);
}

void pooled_world::move_server(server_end& server, std::size_t n) {
    const auto moved = move_front(server.unsent, n);
    if (!server.closed && !moved.empty()) {
        server.rx += moved;
        server_bytes(server);
    }
    if (!server.closed && server.unsent.empty() && server.backend.ended()) end_server(server);
}

void pooled_world::settle_servers() {
    int rounds = 0;
    for (bool moved = true; moved;) {
        moved = false;
        if (++rounds > 100000) std::abort();  // they go round in circles
        for (auto& server : servers_) {
            if (server->closed || (server->unsent.empty() && !server->backend.ended())) continue;
            move_server(*server);
            moved = true;
        }
    }
}

void pooled_world::settle() {
    settle_servers();
    for (bool moved = true; moved;) {
        moved = false;
        for (auto& client : clients) {
            if (client->closed || client->unsent.empty()) continue;
            move_client(*client);
            moved = true;
        }
        settle_servers();
    }
}

void pooled_world::pump(client_end& client) {
    while (!client.closed && !client.goodbye && !client.settings_wait && !client.waiting) {
        if (client.rx.empty()) return;
        auto* server = client.server;
        if (server != nullptr && server->link.idle()) {
            protocol::outgoing to_server;
            protocol::outgoing to_client;
            client.settings_wait = !server->link.apply_settings(client.link, to_server, to_client);
            client.got += flat(to_client);
            send(*server, to_server);
            if (client.settings_wait) return;
        }
        protocol::outgoing to_server;
        protocol::outgoing to_client;
        const exact_copy in(client.rx);
        const auto taken = client.link.receive(
            in.span(), server != nullptr ? &server->link : nullptr, to_server, to_client);
        if (taken > in.size) std::abort();
        if (server != nullptr && !to_server.empty()) server->sent_to = true;
        client.got += flat(to_client);
        if (server != nullptr) send(*server, to_server);
        client.rx.erase(0, taken);
        switch (client.link.want()) {
            case client_want::bytes:
                if (!client.rx.empty() && client.link.needed() <= client.rx.size()) std::abort();
                if (client.server != nullptr) after_server_bytes(client);
                return;
            case client_want::server:
                ask(client);
                break;
            case client_want::patience:
                return;
            case client_want::goodbye:
                client.goodbye = true;
                if (client.server == nullptr || client.server->link.owed.empty()) {
                    close(client, "goodbye");
                }
                return;
            case client_want::rejection:
                client.got += error(client.link.rejection().sqlstate,
                                    client.link.rejection().message, "FATAL");
                return close(client, "rejected");
        }
    }
}

void pooled_world::ask(client_end& client) {
    client.waiting = true;
    for (auto& server : servers_) {
        if (server->closed || server->client != nullptr || server->cleaning) continue;
        return grant(*server, client);
    }
    queue_.push_back(&client);
}

void pooled_world::grant(server_end& server, client_end& client) {
    server.client = &client;
    server.sent_to = false;
    client.server = &server;
    client.waiting = false;
    pump(client);
}

void pooled_world::release(server_end& server) {
    server.client = nullptr;
    server.cleaning = true;
    keep_cleaning(server);
}

void pooled_world::keep_cleaning(server_end& server) {
    if (!server.cleaning || server.closed) return;
    protocol::outgoing to_server;
    const bool clean = server.link.clean_up(to_server);
    send(server, to_server);
    if (!clean) return;
    server.cleaning = false;
    if (queue_.empty()) return;
    auto* next = queue_.front();
    queue_.pop_front();
    grant(server, *next);
}

void pooled_world::server_bytes(server_end& server) {
    auto* client = server.client;
    protocol::outgoing to_client;
    protocol::outgoing to_server;
    const exact_copy in(server.rx);
    const auto taken = server.link.receive(in.span(), client != nullptr ? &client->link : nullptr,
                                           to_client, to_server);
    if (taken > in.size) std::abort();
    if (client != nullptr) client->got += flat(to_client);
    server.rx.erase(0, taken);
    send(server, to_server);
    if (server.link.health() == link_health::desynced) ++desyncs_;
    if (client == nullptr) {
        if (server.link.health() != link_health::fine) {
            server.closed = true;
            server.why = "failed between clients";
            return;
        }
        return keep_cleaning(server);
    }
    if (server.link.health() != link_health::fine && server_failed(*client)) return;
    if (client->settings_wait) {
        if (server.link.awaiting_settings()) return;
        client->settings_wait = false;
        if (server.link.settings_failed()) return close(*client, "settings refused");
        return pump(*client);
    }
    if (server.link.settings_failed() && !server.link.awaiting_settings()) {
        return close(*client, "settings refused");
    }
    after_server_bytes(*client);
}

bool pooled_world::server_failed(client_end& client) {
    auto& server = *client.server;
    server.closed = true;
    server.client = nullptr;
    server.why = "failed";
    client.server = nullptr;
    client.settings_wait = false;
    if (!server.sent_to) {
        ask(client);
    } else {
        close(client, "server failed");
    }
    return true;
}

void pooled_world::after_server_bytes(client_end& client) {
    auto& server = *client.server;
    if (client.goodbye && server.link.owed.empty()) return close(client, "goodbye");
    if (server.link.idle() && !client.link.in_message()) {
        client.server = nullptr;
        release(server);
        return pump(client);
    }
    if (client.link.want() == client_want::patience && server.link.owed.size() < 8192) {
        pump(client);
    }
}

void pooled_world::close(client_end& client, const std::string& why) {
    if (client.closed) return;
    client.closed = true;
    client.why = why;
    std::erase(queue_, &client);
    if (client.server == nullptr) return;
    auto& server = *client.server;
    client.server = nullptr;
    if (server.link.idle() && !client.link.in_message()) return release(server);
    server.client = nullptr;
    protocol::outgoing to_server;
    if (!server.link.abandon(client.link.in_message(), to_server)) {
        server.closed = true;
        server.why = "not to be saved";
        server.backend.hang_up();
        return;
    }
    send(server, to_server);
    server.cleaning = true;
    keep_cleaning(server);
}

void pooled_world::vanish(client_end& client) {
    close(client, "vanished");
}

void pooled_world::end_server(server_end& server) {
    if (server.closed) return;
    server.closed = true;
    server.why = "ended";
    server.backend.hang_up();
    auto* client = server.client;
    server.client = nullptr;
    if (client == nullptr) return;
    client->server = nullptr;
    client->settings_wait = false;
    if (!server.sent_to) {
        ask(*client);
    } else {
        close(*client, "server lost");
    }
}

bool pooled_world::all_idle() const {
    return std::all_of(servers_.begin(), servers_.end(), [](const auto& server) {
        return !server->closed && server->client == nullptr && !server->cleaning &&
               server->link.idle();
    });
}

}  // namespace sluice::test
