#include "daemon/net/stream.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>

namespace sluice::net {

namespace {

constexpr std::size_t record = 16384;  // plaintext of one TLS record

}  // namespace

struct stream::read_handler {
    stream* self;
    void operator()(const boost::system::error_code& ec, std::size_t n) const {
        self->on_read(ec, n);
    }
};

struct stream::write_handler {
    stream* self;
    void operator()(const boost::system::error_code& ec) const { self->on_written(ec); }
};

stream::~stream() = default;

void stream::open(asio::io_context& io, int descriptor, bool is_unix, ownership whose,
                  stream_owner& owner, std::shared_ptr<void> keep) {
    owner_ = &owner;
    whose_ = whose;
    keep_ = std::move(keep);
    socket_ = std::make_unique<socket_type>(io.get_executor());
    const asio::generic::stream_protocol protocol(is_unix ? AF_UNIX : AF_INET, 0);
    boost::system::error_code ec;
    socket_->assign(protocol, descriptor, ec);
    if (!ec) socket_->non_blocking(true, ec);
    paused_ = finishing_ = false;
    arm_read();
    arm_write();
}

void stream::arm_read() {
    if (reading_ || paused_ || socket_ == nullptr || in_callback_) return;
    auto& into = tls_ != nullptr ? *cipher_ : rx;
    const auto size = std::max(next_read_, tls_ != nullptr ? std::size_t{0} : wanted_);
    auto room = into.prepare(std::max(size, into.size() + 1));
    if (room.size() > most_read_ && wanted_ <= most_read_) room = room.first(most_read_);
    armed_ = room.size();
    reading_ = true;
    socket_->async_read_some(asio::buffer(room.data(), room.size()), read_handler{this});
}

void stream::on_read(const boost::system::error_code& ec, std::size_t n) {
    reading_ = false;
    if (socket_ == nullptr) return after_operation();
    if (detached_ != nullptr && ec == asio::error::operation_aborted) return after_operation();
    if (ec) return fail(ec);
    bytes_in_ += n;
    if (n == armed_) next_read_ = std::min(most_read_, next_read_ * 8);
    if (finishing_) {  // to nowhere
        rx.release(0);
        return arm_read();
    }
    in_callback_ = true;
    if (tls_ == nullptr) {
        rx.commit(n);
        if (n == armed_) read_more();
        owner_->on_bytes();
    } else {
        cipher_->commit(n);
        std::string reply;
        const auto got = tls_->receive(cipher_->readable(), rx, reply);
        cipher_->consume(cipher_->size());
        if (!reply.empty()) send_raw(reply);
        if (socket_ != nullptr && tls_->established() && got == tls_filter::status::fine) {
            owner_->on_bytes();
        } else if (socket_ != nullptr && got != tls_filter::status::fine) {
            if (!rx.empty() && tls_->established()) owner_->on_bytes();
            in_callback_ = false;
            if (socket_ != nullptr) {
                return fail(got == tls_filter::status::closed
                                ? boost::system::error_code(asio::error::eof)
                                : boost::system::error_code(asio::error::connection_aborted));
            }
            return after_operation();
        }
    }
    in_callback_ = false;
    if (socket_ == nullptr || detached_ != nullptr) return after_operation();
    arm_read();
}

// A read that filled its room was too small: takes the rest of what is there, so that the owner
// sees it in one piece.
void stream::read_more() {
    const auto room = rx.prepare(rx.size() + next_read_);
    const auto n = recv(descriptor(), room.data(), std::min(room.size(), most_read_), MSG_DONTWAIT);
    if (n <= 0) return;  // nothing more, or an end: the next read will tell
    rx.commit(static_cast<std::size_t>(n));
    bytes_in_ += static_cast<std::uint64_t>(n);
}

void stream::start_tls(SSL_CTX* context, protocol::byte_span early) {
    tls_ = std::make_unique<tls_filter>(context);
    cipher_ = std::make_unique<protocol::rx_buffer>();
    next_read_ = std::max<std::size_t>(first_read_, 2048);
    if (early.empty()) return;
    const std::string copy(protocol::as_text(early));
    rx.consume(rx.size());
    std::string reply;
    const auto got = tls_->receive(protocol::as_bytes(copy), rx, reply);
    if (!reply.empty()) send_raw(reply);
    if (got == tls_filter::status::failed) fail(asio::error::connection_aborted);
}

void stream::adopt_tls(SSL* established) {
    tls_ = std::make_unique<tls_filter>(established);
    cipher_ = std::make_unique<protocol::rx_buffer>();
}

void stream::announce_pending() {
    if (tls_ == nullptr || socket_ == nullptr) return;
    std::string reply;
    static_cast<void>(tls_->receive({}, rx, reply));
    if (!rx.empty()) owner_->on_bytes();
}

std::size_t stream::send_pieces(const protocol::outgoing& out) {
    std::array<iovec, 64> parts;
    std::size_t sent = 0;
    std::size_t next = 0;
    while (next < out.pieces()) {
        std::size_t wanted = 0;
        std::size_t count = 0;
        for (; next < out.pieces() && count < parts.size(); ++next, ++count) {
            const auto bytes = out.piece(next);
            parts[count] = {const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
            wanted += bytes.size();
        }
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = count;
        const auto n = sendmsg(descriptor(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) break;  // would block, or broken: the asynchronous write will tell
        sent += static_cast<std::size_t>(n);
        if (static_cast<std::size_t>(n) < wanted) break;
    }
    return sent;
}

void stream::send(protocol::outgoing& out) {
    if (out.empty()) return;
    if (socket_ == nullptr || finishing_) return out.clear();
    bytes_out_ += out.size();
    if (tls_ != nullptr) {
        std::string cipher;
        std::string gathered;
        bool fine = true;
        if (out.pieces() > 1 && out.size() <= record) {  // one record rather than one a piece
            out.save_rest(0, gathered);
            fine = tls_->encrypt(protocol::as_bytes(gathered), cipher);
        } else {
            for (std::size_t i = 0; i < out.pieces() && fine; ++i) {
                fine = tls_->encrypt(out.piece(i), cipher);
            }
        }
        out.clear();
        if (fine) send_raw(cipher);
        return;
    }
    if (backlog() > 0) {
        out.save_rest(0, unsent_);
    } else {
        const auto sent = send_pieces(out);
        if (sent < out.size()) {
            unsent_.clear();
            unsent_from_ = 0;
            out.save_rest(sent, unsent_);
            arm_write();
        }
    }
    out.clear();
}

void stream::send_raw(std::string_view bytes) {
    if (bytes.empty() || socket_ == nullptr) return;
    std::size_t sent = 0;
    if (backlog() == 0) {
        unsent_.clear();
        unsent_from_ = 0;
        const auto n = ::send(descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) sent = static_cast<std::size_t>(n);
    }
    if (sent == bytes.size()) return;
    unsent_.append(bytes.substr(sent));
    arm_write();
}

void stream::arm_write() {
    if (writing_ || backlog() == 0) return;
    writing_ = true;
    // A wait and not a write: unsent_ grows meanwhile, which may move it.
    socket_->async_wait(socket_type::wait_write, write_handler{this});
}

void stream::on_written(const boost::system::error_code& ec) {
    writing_ = false;
    if (socket_ == nullptr) return after_operation();
    if (ec) return detached_ != nullptr ? after_operation() : fail(ec);
    const auto n = ::send(descriptor(), unsent_.data() + unsent_from_, backlog(),
                          MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        return fail(boost::system::error_code(errno, boost::system::system_category()));
    }
    if (n > 0) unsent_from_ += static_cast<std::size_t>(n);
    if (backlog() > 0) {
        if (unsent_from_ > unsent_.size() / 2) {
            unsent_.erase(0, unsent_from_);
            unsent_from_ = 0;
        }
        return arm_write();
    }
    std::string().swap(unsent_);
    unsent_from_ = 0;
    if (finishing_) {
        shutdown(descriptor(), SHUT_WR);
        return;
    }
    in_callback_ = true;
    owner_->on_drained();
    in_callback_ = false;
    if (socket_ == nullptr || detached_ != nullptr) return after_operation();
    arm_read();
}

void stream::resume() {
    paused_ = false;
    arm_read();
}

void stream::trim(std::size_t keep) {
    next_read_ = first_read_;
    wanted_ = 0;
    if (!reading_) rx.release(keep);
}

void stream::detach(void (*detached)(stream_owner&)) {
    detached_ = detached;
    boost::system::error_code ec;
    if (busy()) {
        socket_->cancel(ec);
    } else if (!in_callback_) {
        after_operation();
    }
}

int stream::give_descriptor() {
    boost::system::error_code ec;
    const int out = socket_->release(ec);
    socket_.reset();
    owner_ = nullptr;
    return out;
}

void stream::finish() {
    if (socket_ == nullptr || finishing_) return;
    if (tls_ != nullptr) {
        std::string cipher;
        tls_->say_goodbye(cipher);
        send_raw(cipher);
        tls_.reset();
    }
    finishing_ = true;
    paused_ = false;
    if (backlog() == 0) shutdown(descriptor(), SHUT_WR);
    rx.consume(rx.size());
    arm_read();
}

void stream::fail(const boost::system::error_code& why) {
    if (finishing_) return close();
    const bool nested = in_callback_;
    in_callback_ = true;
    owner_->on_end(why);
    in_callback_ = nested;
    if (socket_ == nullptr) after_operation();
}

void stream::close() {
    if (socket_ == nullptr) return;
    boost::system::error_code ec;
    ending_ = std::move(socket_);
    if (whose_ == ownership::borrowed) {
        ending_->release(ec);
    } else {
        ending_->close(ec);
    }
    detached_ = nullptr;
    if (busy() || in_callback_) return;
    // The owner may be the caller: it must not be destroyed under its own feet.
    asio::post(ending_->get_executor(), [keep = std::move(keep_)] {});
    ending_.reset();
}

// The last operation has ended: lets go of the owner, which may destroy this.
void stream::after_operation() {
    if (busy() || in_callback_) return;
    if (detached_ != nullptr && socket_ != nullptr) {
        const auto call = detached_;
        detached_ = nullptr;
        const auto hold = std::move(keep_);
        call(*owner_);
        return;
    }
    if (socket_ == nullptr) {
        ending_.reset();
        const auto hold = std::move(keep_);
    }
}

stream::unread stream::peek(char& first) const noexcept {
    const auto n = recv(descriptor(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) return unread::bytes;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? unread::nothing : unread::end;
}

int stream::descriptor() const noexcept { return socket_->native_handle(); }

}  // namespace sluice::net
