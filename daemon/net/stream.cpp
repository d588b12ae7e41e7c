#include "daemon/net/stream.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace sluice::net {

namespace {

constexpr std::size_t record = 16384;     // plaintext of one TLS record
constexpr std::size_t kept_read = 16384;  // room behind bytes that were left in rx
constexpr int reads_a_turn = 8;           // then others have their turn

}  // namespace

// GCC sees the address of a local leave and not that the destructor takes it back.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdangling-pointer"
#endif
class stream::guard {
  public:
    explicit guard(stream& of) : of_(of), outer_(of.guard_) { of.guard_ = this; }
    ~guard() {
        if (!gone_) of_.guard_ = outer_;
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
    void tell() noexcept {
        for (auto* at = this; at != nullptr; at = at->outer_)
            at->gone_ = true;
    }
    // From here on nothing of the stream may be touched: it may live on another thread.
    [[nodiscard]] bool gone() const noexcept { return gone_; }

  private:
    stream& of_;
    guard* outer_;
    bool gone_ = false;
};
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

stream::~stream() {
    if (is_open()) close();
}

void stream::open(event_loop& loop, int descriptor, ownership whose, stream_owner& owner,
                  std::shared_ptr<void> keep) {
    loop_ = &loop;
    descriptor_ = descriptor;
    whose_ = whose;
    owner_ = &owner;
    keep_ = std::move(keep);
    paused_ = finishing_ = readable_ = ended_ = false;
    loop.add(descriptor, *this);
}

void stream::on_ready(readiness what) {
    readable_ = readable_ || what.readable;
    ended_ = ended_ || what.ended;
    if (what.writable && backlog() > 0) {
        guard here(*this);
        flush();
        if (here.gone()) return;
    }
    read_on();
}

void stream::on_again() {
    read_on();
}

// Reads what is there and tells the owner, until less came than there was room for.
void stream::read_on() {
    guard here(*this);
    for (int i = 0; readable_ && !paused_; ++i) {
        if (i == reads_a_turn) return loop_->again(*this);
        std::size_t room = 0;
        if (!receive_once(room)) return;
        if (here.gone()) return;
    }
}

// One receive. False: nothing more to be had, or the stream has ended.
bool stream::receive_once(std::size_t& room) {
    const bool direct = rx.empty() || tls_ != nullptr || finishing_;
    auto into = loop_->scratch();
    if (direct) {
        if (most_kept_ != 0) into = into.first(std::min(most_kept_, into.size()));
    } else {
        into = most_kept_ == 0 ? rx.prepare(std::max(wanted_, rx.size() + kept_read))
                               : rx.prepare_within(most_kept_);
        wanted_ = 0;
        if (into.empty()) {  // until the owner has made use of what is there
            pause();
            return false;
        }
    }
    room = into.size();
    const auto n = recv(descriptor_, into.data(), room, MSG_DONTWAIT);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
            readable_ = errno == EINTR;
            return readable_;
        }
        fail(stream_owner::end::broken);
        return false;
    }
    if (n == 0) {
        fail(stream_owner::end::in_order);
        return false;
    }
    const auto got = static_cast<std::size_t>(n);
    readable_ = got == room || ended_;
    bytes_in_ += got;
    if (finishing_) return true;  // to nowhere
    if (tls_ != nullptr) {
        take_cipher(protocol::byte_span(into.data(), got));
    } else {
        take_plain(got, direct);
    }
    return true;
}

void stream::take_plain(std::size_t n, bool lent) {
    guard here(*this);
    if (lent) {
        rx.lend(protocol::byte_span(loop_->scratch().data(), n));
    } else {
        rx.commit(n);
    }
    owner_->on_bytes();
    if (!here.gone()) rx.keep();
}

void stream::take_cipher(protocol::byte_span bytes) {
    guard here(*this);
    std::string reply;
    const auto got = tls_->receive(bytes, rx, reply);
    if (!reply.empty()) send_raw(reply);
    if (here.gone()) return;
    if (tls_->established() && (got == tls_filter::status::fine || !rx.empty())) {
        owner_->on_bytes();
        if (here.gone()) return;
    }
    if (got == tls_filter::status::fine || tls_ == nullptr) return;
    fail(got == tls_filter::status::closed ? stream_owner::end::in_order
                                           : stream_owner::end::broken);
}

void stream::start_tls(SSL_CTX* context, protocol::byte_span early) {
    tls_ = std::make_unique<tls_filter>(context);
    if (early.empty()) return;
    const std::string copy(protocol::as_text(early));
    rx.consume(rx.size());
    rx.keep();
    std::string reply;
    const auto got = tls_->receive(protocol::as_bytes(copy), rx, reply);
    if (!reply.empty()) send_raw(reply);
    if (got == tls_filter::status::failed && is_open()) fail(stream_owner::end::broken);
}

void stream::adopt_tls(SSL* established) {
    tls_ = std::make_unique<tls_filter>(established);
}

void stream::announce_pending() {
    if (tls_ != nullptr && is_open()) take_cipher({});
}

std::size_t stream::send_pieces(const protocol::outgoing& out) const {
    if (out.pieces() == 1) {
        const auto bytes = out.piece(0);
        const auto n = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        return n > 0 ? static_cast<std::size_t>(n) : 0;
    }
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
        const auto n = sendmsg(descriptor_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) break;  // would block, or broken: the loop will tell
        sent += static_cast<std::size_t>(n);
        if (static_cast<std::size_t>(n) < wanted) break;
    }
    return sent;
}

void stream::send(protocol::outgoing& out) {
    if (out.empty()) return;
    if (!is_open() || finishing_) return out.clear();
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
        if (sent < out.size()) out.save_rest(sent, unsent_);
    }
    out.clear();
}

void stream::send_raw(std::string_view bytes) {
    if (bytes.empty() || !is_open()) return;
    std::size_t sent = 0;
    if (backlog() == 0) {
        const auto n = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) sent = static_cast<std::size_t>(n);
    }
    unsent_.append(bytes.substr(sent));
}

// Sends what was kept, as far as the socket takes it.
void stream::flush() {
    const auto n =
        ::send(descriptor_, unsent_.data() + unsent_from_, backlog(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        return fail(stream_owner::end::broken);
    }
    if (n > 0) unsent_from_ += static_cast<std::size_t>(n);
    if (backlog() > 0) {
        if (unsent_from_ > unsent_.size() / 2) {
            unsent_.erase(0, unsent_from_);
            unsent_from_ = 0;
        }
        return;
    }
    std::string().swap(unsent_);
    unsent_from_ = 0;
    if (finishing_) {
        shutdown(descriptor_, SHUT_WR);
        return;
    }
    owner_->on_drained();
}

void stream::resume() {
    paused_ = false;
    if (is_open() && readable_) loop_->again(*this);
}

void stream::trim() {
    wanted_ = 0;
    rx.release();
}

int stream::let_go() {
    if (guard_ != nullptr) guard_->tell();
    guard_ = nullptr;
    loop_->remove(descriptor_, *this);
    loop_->bury(std::move(keep_));
    const int out = descriptor_;
    descriptor_ = -1;
    return out;
}

int stream::detach() {
    rx.keep();
    return let_go();
}

void stream::finish() {
    if (!is_open() || finishing_) return;
    if (tls_ != nullptr) {
        std::string cipher;
        tls_->say_goodbye(cipher);
        send_raw(cipher);
    }
    finishing_ = true;
    if (backlog() == 0) shutdown(descriptor_, SHUT_WR);
    resume();
}

void stream::fail(stream_owner::end how) {
    readable_ = false;
    if (finishing_) return close();
    owner_->on_end(how);
}

void stream::close() {
    if (!is_open()) return;
    rx.keep();
    const auto whose = whose_;
    const int descriptor = let_go();
    if (whose == ownership::ours) ::close(descriptor);
}

stream::unread stream::peek(char& first) const noexcept {
    const auto n = recv(descriptor_, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) return unread::bytes;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? unread::nothing : unread::end;
}

}  // namespace sluice::net
