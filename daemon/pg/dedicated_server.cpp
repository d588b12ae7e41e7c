#include "daemon/pg/dedicated_server.hpp"

#include "daemon/pg/client_session.hpp"

namespace sluice::daemon {

dedicated_server::dedicated_server(client_session& client, pool::upstream_connection upstream)
    : client_(client), upstream_(std::move(upstream)) {}

void dedicated_server::open(net::worker& home, std::shared_ptr<void> keep) {
    if (upstream_.ssl != nullptr) stream.adopt_tls(static_cast<SSL*>(upstream_.ssl));
    stream.open(home.loop(), upstream_.descriptor, net::stream::ownership::borrowed, *this,
                std::move(keep));
    stream.announce_pending();
}

void dedicated_server::on_bytes() {
    const auto n = stream.rx.size();
    client_.dedicated_bytes(stream.rx.readable());
    stream.rx.consume(n);
}

void dedicated_server::on_drained() {
    client_.server_drained();
}

void dedicated_server::on_end(end) {
    client_.dedicated_ended();
}

}  // namespace sluice::daemon
