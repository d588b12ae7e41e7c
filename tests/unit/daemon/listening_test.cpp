// The shared listening connection on two workers, against a small server on a unix socket.
// Nothing sleeps: whoever waits is woken, and gives up after some seconds.
#include "daemon/pg/listening.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "daemon/pg/service.hpp"
#include "protocol/pg_build.hpp"

namespace sluice::daemon {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 15s;

std::string notification(std::string_view channel, std::string_view payload) {
    std::string out;
    protocol::frame_writer(out, 'A').u32(7).text(channel).text(payload).finish();
    return out;
}

// Takes one connection after the other, lets everybody in and understands LISTEN and UNLISTEN.
class small_server {
  public:
    small_server() {
        std::string name = "/tmp/listening-test-XXXXXX";
        directory = mkdtemp(name.data());
        listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const auto path = directory + "/.s.PGSQL.5432";
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(listen(listener_, 8), 0);
        thread_ = std::thread([this] { serve(); });
    }
    ~small_server() {
        shutdown(listener_, SHUT_RDWR);
        drop();
        thread_.join();
        ::close(listener_);
        std::filesystem::remove_all(directory);
    }

    void notify(std::string_view channel, std::string_view payload) {
        const std::lock_guard lock(mutex_);
        if (listens_.contains("\"" + std::string(channel) + "\"")) {
            write(notification(channel, payload));
        }
    }
    void drop() {
        const std::lock_guard lock(mutex_);
        if (client_ >= 0) shutdown(client_, SHUT_RDWR);
    }
    [[nodiscard]] std::size_t listens() {
        const std::lock_guard lock(mutex_);
        return listens_.size();
    }

    std::string directory;
    std::atomic<bool> refuses{false};
    std::atomic<int> logins{0};

  private:
    void serve() {
        for (;;) {
            const int client = accept(listener_, nullptr, nullptr);
            if (client < 0) return;
            {
                const std::lock_guard lock(mutex_);
                client_ = client;
                listens_.clear();
            }
            ++logins;
            talk(client);
            const std::lock_guard lock(mutex_);
            client_ = -1;
            ::close(client);
        }
    }
    static bool read(int from, std::string& into, std::size_t n) {
        into.resize(n);
        return recv(from, into.data(), n, MSG_WAITALL) == static_cast<ssize_t>(n);
    }
    void write(const std::string& bytes) const {
        send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    void talk(int client) {
        std::string bytes;
        if (!read(client, bytes, 4)) return;
        const auto length = protocol::load_u32(protocol::as_bytes(bytes).data());
        if (!read(client, bytes, length - 4)) return;
        std::string out;
        if (refuses) {
            protocol::append_error(out, {"FATAL", "28000", "not you", "", ""});
        } else {
            protocol::frame_writer(out, 'R').u32(0).finish();
            protocol::append_parameter_status(out, "server_version", "15.0");
            protocol::append_parameter_status(out, "client_encoding", "UTF8");
            protocol::append_parameter_status(out, "standard_conforming_strings", "on");
            protocol::append_backend_key(out, 7, "key!");
            protocol::append_ready(out, 'I');
        }
        {
            const std::lock_guard lock(mutex_);
            write(out);
        }
        while (!refuses && read(client, bytes, 5) && bytes[0] == 'Q') {
            std::string sql;
            if (!read(client, sql, protocol::load_u32(protocol::as_bytes(bytes).data() + 1) - 4)) {
                return;
            }
            const std::lock_guard lock(mutex_);
            write(answer(sql));
        }
    }
    std::string answer(const std::string& sql) {
        std::string out;
        std::size_t at = 0;
        for (auto end = sql.find(';'); end != std::string::npos; end = sql.find(';', at)) {
            const auto space = sql.find(' ', at);
            const auto name = sql.substr(space + 1, end - space - 1);
            if (sql[at] == 'L') listens_.insert(name);
            if (sql[at] == 'U') listens_.erase(name);
            protocol::frame_writer(out, 'C').text("LISTEN").finish();
            at = end + 1;
        }
        if (out.empty()) protocol::append_empty(out, 'I');
        protocol::append_ready(out, 'I');
        return out;
    }

    int listener_ = -1;
    std::thread thread_;
    std::mutex mutex_;
    int client_ = -1;
    std::set<std::string> listens_;
};

// What all sessions have seen, in order.
class record {
  public:
    void add(const std::string& what) {
        const std::lock_guard lock(mutex_);
        seen_.push_back(what);
        changed_.notify_all();
    }
    // Waits until so many have come.
    std::vector<std::string> take(std::size_t n) {
        std::unique_lock lock(mutex_);
        EXPECT_TRUE(changed_.wait_for(lock, patience, [&] { return seen_.size() >= n; }));
        return std::exchange(seen_, {});
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> seen_;
};

struct session : listener {
    session(std::string n, net::worker& w, record& r) : name(std::move(n)), on(w), log(r) {}
    void on_notification(const std::shared_ptr<const std::string>& frame) override {
        protocol::reader in(protocol::as_bytes(*frame).subspan(9));
        in.text();
        log.add(name + "<" + std::string(in.text()) + (on.is_current() ? "" : " elsewhere"));
    }
    void on_missed() override { log.add(name + " missed"); }

    std::string name;
    net::worker& on;
    record& log;
};

struct listening_test : testing::Test {
    listening_test() {
        config::settings settings;
        settings.log.level = config::log_level::error;
        settings.postgres.databases["app"].url =
            "host=" + server.directory + " port=5432 dbname=app user=alice sslmode=disable";
        log = std::make_unique<logger>(settings.log);
        const auto names = std::make_shared<const directory>(settings);
        service =
            std::make_unique<pg_service>(names, std::vector<net::worker*>{&first, &second}, *log);
        pool = service->pool_for("app", "alice", "");
        shared = &service->listening_of(*pool);
        first.start();
        second.start();
    }
    ~listening_test() override {
        service->close_clients();
        for (auto* worker : {&first, &second})
            worker->stop();
        for (auto* worker : {&first, &second})
            worker->join();
        service->close_servers();
        while (first.loop().finish() || second.loop().finish()) {
        }
    }

    std::shared_ptr<session> join(const std::string& name, net::worker& on, std::uint64_t serial,
                                  std::vector<std::string> channels) {
        auto who = std::make_shared<session>(name, on, seen);
        set(who, serial, std::move(channels));
        return who;
    }
    void set(const std::shared_ptr<session>& who, std::uint64_t serial,
             std::vector<std::string> channels) {
        shared->set_channels(
            who, who->on, serial, std::move(channels), "",
            [this, who](const pool::login_failure* error) {
                seen.add(who->name + (error == nullptr ? " done" : " " + error->sqlstate));
            });
    }

    small_server server;
    record seen;
    net::worker first{0};
    net::worker second{1};
    std::unique_ptr<logger> log;
    std::unique_ptr<pg_service> service;
    pool_entry* pool = nullptr;
    listening* shared = nullptr;
};

using lines = std::vector<std::string>;

TEST_F(listening_test, notification_reaches_all_listeners_on_their_workers) {
    const auto one = join("one", first, 1, {"a"});
    EXPECT_EQ(seen.take(1), lines{"one done"});
    const auto two = join("two", second, 2, {"a", "b"});
    EXPECT_EQ(seen.take(1), lines{"two done"});
    EXPECT_EQ(server.listens(), 3U);
    server.notify("a", "x");
    auto got = seen.take(2);
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, (lines{"one<x", "two<x"}));
    EXPECT_EQ(server.logins, 1);
    EXPECT_EQ(pool->listening_clients, 2U);
    EXPECT_EQ(pool->listen_connections, 1U);
}

TEST_F(listening_test, deliveries_come_before_the_end_of_a_catch_up) {
    const auto one = join("one", second, 1, {"a"});
    seen.take(1);
    for (int i = 0; i < 1000; ++i)
        server.notify("a", std::to_string(i));
    shared->catch_up(second, [this] { seen.add("caught up"); });
    const auto got = seen.take(1001);
    ASSERT_EQ(got.size(), 1001U);
    for (int i = 0; i < 1000; ++i)
        EXPECT_EQ(got[static_cast<std::size_t>(i)], "one<" + std::to_string(i));
    EXPECT_EQ(got.back(), "caught up");
}

TEST_F(listening_test, many_deliveries_at_once_all_arrive) {
    std::vector<std::shared_ptr<session>> all;
    for (std::uint64_t i = 0; i < 1000; ++i)
        all.push_back(join("s", i % 2 == 0 ? first : second, i + 1, {"a"}));
    seen.take(1000);
    for (int i = 0; i < 300; ++i)
        server.notify("a", "x");
    EXPECT_EQ(seen.take(300000).size(), 300000U);
}

TEST_F(listening_test, after_a_break_it_listens_again_and_tells) {
    const auto one = join("one", second, 1, {"a"});
    seen.take(1);
    server.drop();
    EXPECT_EQ(seen.take(1), lines{"one missed"});
    server.notify("a", "x");
    EXPECT_EQ(seen.take(1), lines{"one<x"});
    EXPECT_EQ(server.logins, 2);
}

TEST_F(listening_test, login_that_is_refused_fails_the_request) {
    server.refuses = true;
    const auto one = join("one", first, 1, {"a"});
    EXPECT_EQ(seen.take(1), lines{"one 28000"});
    server.refuses = false;
    set(one, 1, {"a"});
    EXPECT_EQ(seen.take(1), lines{"one done"});
}

TEST_F(listening_test, who_is_gone_gets_nothing) {
    const auto one = join("one", first, 1, {"a"});
    auto two = join("two", second, 2, {"a"});
    seen.take(2);
    shared->forget(2);
    two.reset();
    shared->catch_up(first, [this] { seen.add("caught up"); });
    seen.take(1);
    server.notify("a", "x");
    EXPECT_EQ(seen.take(1), lines{"one<x"});
    set(one, 1, {});
    EXPECT_EQ(seen.take(1), lines{"one done"});
    EXPECT_EQ(pool->listening_clients, 0U);
}

}  // namespace
}  // namespace sluice::daemon
