// One connection's bytes: TCP or unix socket, with or without TLS. The seam behind which the event
// loop lives: sessions know this class and nothing of what drives it.
// Reads arrive in rx and are announced; writes are sent at once where the socket takes them and the
// rest is kept until it does. Worker-confined. While the stream is open, or an operation of it is
// under way, it holds its owner.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <memory>
#include <string>

#include "daemon/net/tls_filter.hpp"
#include "protocol/outgoing.hpp"
#include "protocol/rx_buffer.hpp"

namespace sluice::net {

namespace asio = boost::asio;

class stream_owner {
  public:
    // Bytes were added to rx. At the first call after start_tls() the handshake is over.
    virtual void on_bytes() = 0;
    // What could not be sent at once has been sent.
    virtual void on_drained() = 0;
    // The peer closed, or the connection broke. Not called after close().
    virtual void on_end(const boost::system::error_code& why) = 0;

  protected:
    ~stream_owner() = default;
};

class stream {
  public:
    // `first_read` bytes are read at a time until a read fills that; then up to `most_read`.
    stream(std::size_t first_read, std::size_t most_read)
        : first_read_(first_read), most_read_(most_read), next_read_(first_read) {}
    ~stream();
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    // Takes a descriptor over and starts reading. A borrowed one is let go of by close(), not closed.
    enum class ownership { ours, borrowed };
    void open(asio::io_context& io, int descriptor, bool is_unix, ownership whose,
              stream_owner& owner, std::shared_ptr<void> keep);
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

    // Makes the next read at least this large (a message that must be whole is on its way).
    void expect(std::size_t bytes) noexcept { wanted_ = bytes; }
    void trim(std::size_t keep);  // gives back memory while idle

    // Stops reading and gives the descriptor up; `detached(owner)` is called when nothing of the
    // stream is under way any more. open() it again on another worker.
    void detach(void (*detached)(stream_owner&));
    [[nodiscard]] int give_descriptor();

    // Sends what is kept, then closes the sending side and reads on to nowhere until the peer
    // closes too (so that it gets to read our last words), or close() is called.
    void finish();
    void close();
    [[nodiscard]] bool is_finishing() const noexcept { return socket_ != nullptr && finishing_; }
    [[nodiscard]] bool is_open() const noexcept { return socket_ != nullptr; }
    // What the loop has not told of yet (one system call); `first` is set for unread bytes.
    enum class unread { nothing, bytes, end };
    [[nodiscard]] unread peek(char& first) const noexcept;
    [[nodiscard]] int descriptor() const noexcept;
    [[nodiscard]] tls_filter* tls() const noexcept { return tls_.get(); }
    [[nodiscard]] std::uint64_t bytes_in() const noexcept { return bytes_in_; }
    [[nodiscard]] std::uint64_t bytes_out() const noexcept { return bytes_out_; }

    protocol::rx_buffer rx;

  private:
    using socket_type =
        asio::basic_stream_socket<asio::generic::stream_protocol, asio::io_context::executor_type>;
    struct read_handler;
    struct write_handler;

    void arm_read();
    void read_more();
    void on_read(const boost::system::error_code& ec, std::size_t n);
    void on_written(const boost::system::error_code& ec);
    [[nodiscard]] std::size_t send_pieces(const protocol::outgoing& out);
    void send_raw(std::string_view bytes);
    void arm_write();
    void after_operation();
    void fail(const boost::system::error_code& why);
    [[nodiscard]] bool busy() const noexcept { return reading_ || writing_; }

    std::unique_ptr<socket_type> socket_;
    std::unique_ptr<socket_type> ending_;  // closed, with operations still to be told
    std::unique_ptr<tls_filter> tls_;
    std::unique_ptr<protocol::rx_buffer> cipher_;  // raw reads while TLS is on
    stream_owner* owner_ = nullptr;
    std::shared_ptr<void> keep_;
    void (*detached_)(stream_owner&) = nullptr;
    std::string unsent_;
    std::size_t unsent_from_ = 0;
    std::size_t first_read_;
    std::size_t most_read_;
    std::size_t next_read_;
    std::size_t wanted_ = 0;
    std::size_t armed_ = 0;
    std::uint64_t bytes_in_ = 0;
    std::uint64_t bytes_out_ = 0;
    bool reading_ = false;
    bool writing_ = false;
    bool paused_ = false;
    bool finishing_ = false;
    bool in_callback_ = false;
    ownership whose_ = ownership::ours;
};

}  // namespace sluice::net
