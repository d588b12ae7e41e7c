// One connection's bytes: TCP or unix socket, with or without TLS. The seam behind which the event
// loop lives: sessions know this class and nothing of what drives it.
// What was received lies in rx while the owner is told of it; what it leaves there is kept. Writes
// are sent at once where the socket takes them, and the rest is kept until it does.
// Worker-confined. While the stream is open it holds its owner.
#pragma once

#include <boost/system/error_code.hpp>
#include <memory>
#include <string>

#include "daemon/net/event_loop.hpp"
#include "daemon/net/tls_filter.hpp"
#include "protocol/outgoing.hpp"
#include "protocol/rx_buffer.hpp"

namespace sluice::net {

class stream_owner {
  public:
    // Bytes were added to rx. At the first call after start_tls() the handshake is over.
    virtual void on_bytes() = 0;
    // What could not be sent at once has been sent.
    virtual void on_drained() = 0;
    // The peer closed (`in_order`), or the connection broke. Not called after close().
    enum class end { in_order, broken };
    virtual void on_end(end how) = 0;

  protected:
    ~stream_owner() = default;
};

class stream final : private watcher {
  public:
    stream() = default;
    ~stream();
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    // Takes a non-blocking descriptor over and starts reading. A borrowed one is let go of by
    // close(), not closed.
    enum class ownership { ours, borrowed };
    void open(event_loop& loop, int descriptor, ownership whose, stream_owner& owner,
              std::shared_ptr<void> keep);
    // Server side of TLS on what comes from now on; `early` was already received.
    void start_tls(SSL_CTX* context, protocol::byte_span early);
    // TLS that is established already; to be called before open().
    void adopt_tls(SSL* established);
    // Adopted TLS may hold plaintext already; announces it if so.
    void announce_pending();

    // Sends, or keeps, all of `out` and clears it.
    void send(protocol::outgoing& out);
    [[nodiscard]] std::size_t backlog() const noexcept { return unsent_.size() - unsent_from_; }

    void pause() noexcept { paused_ = true; }
    void resume();
    [[nodiscard]] bool paused() const noexcept { return paused_; }

    // At most so many bytes are received at a time, and kept in rx; what is more waits in the
    // kernel. 0: as much as comes. (TLS hands on a record at a time, whatever it has.)
    void keep_at_most(std::size_t bytes) noexcept { most_kept_ = bytes; }
    // A message of this size is on its way and must be whole: make room for it in one go.
    void expect(std::size_t bytes) noexcept { wanted_ = bytes; }
    void trim();  // gives back memory while idle

    // Gives the descriptor up, for open() on another worker. Call with an empty rx.
    [[nodiscard]] int detach();

    // Sends what is kept, then closes the sending side and reads on to nowhere until the peer
    // closes too (so that it gets to read our last words), or close() is called.
    void finish();
    [[nodiscard]] bool is_finishing() const noexcept { return is_open() && finishing_; }
    void close();
    [[nodiscard]] bool is_open() const noexcept { return descriptor_ >= 0; }

    // What the loop has not told of yet (one system call); `first` is set for unread bytes.
    enum class unread { nothing, bytes, end };
    [[nodiscard]] unread peek(char& first) const noexcept;
    [[nodiscard]] tls_filter* tls() const noexcept { return tls_.get(); }
    // For asking the kernel about it; -1 when closed.
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
    [[nodiscard]] std::uint64_t bytes_in() const noexcept { return bytes_in_; }
    [[nodiscard]] std::uint64_t bytes_out() const noexcept { return bytes_out_; }

    protocol::rx_buffer rx;

  private:
    // Tells a caller further up the stack that a callback has closed or moved the stream.
    class guard;

    void on_ready(readiness what) override;
    void on_again() override;
    void read_on();
    [[nodiscard]] bool receive_once(std::size_t& room);
    void take_plain(std::size_t n, bool lent);
    void take_cipher(protocol::byte_span bytes);
    void flush();
    [[nodiscard]] std::size_t send_pieces(const protocol::outgoing& out) const;
    void send_raw(std::string_view bytes);
    void fail(stream_owner::end how);
    int let_go();

    event_loop* loop_ = nullptr;
    stream_owner* owner_ = nullptr;
    std::shared_ptr<void> keep_;
    std::unique_ptr<tls_filter> tls_;
    std::string unsent_;
    std::size_t unsent_from_ = 0;
    std::size_t wanted_ = 0;
    std::size_t most_kept_ = 0;
    std::uint64_t bytes_in_ = 0;
    std::uint64_t bytes_out_ = 0;
    guard* guard_ = nullptr;
    int descriptor_ = -1;
    ownership whose_ = ownership::ours;
    bool readable_ = false;  // there may be more to read
    bool ended_ = false;     // the end was announced: read until it is reached
    bool paused_ = false;
    bool finishing_ = false;
};

}  // namespace sluice::net
