// A server connection that belongs to one client for good and is relayed byte for byte:
// replication connections. Confined to the client's worker, owned by its session.
#pragma once

#include <memory>

#include "daemon/net/stream.hpp"
#include "daemon/net/worker.hpp"
#include "pool/upstream_login.hpp"

namespace sluice::daemon {

class client_session;

class dedicated_server final : public net::stream_owner {
  public:
    dedicated_server(client_session& client, pool::upstream_connection upstream);

    // `keep` is the session, which must live as long as the stream does.
    void open(net::worker& home, std::shared_ptr<void> keep);
    void close() { stream.close(); }
    [[nodiscard]] const pool::upstream_connection& upstream() const noexcept { return upstream_; }

  private:
    void on_bytes() override;
    void on_drained() override;
    void on_end(end how) override;

    client_session& client_;
    pool::upstream_connection upstream_;

  public:
    net::stream stream;  // destroyed before the connection that it reads from
};

}  // namespace sluice::daemon
