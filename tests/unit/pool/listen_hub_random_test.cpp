// The shared listening connection against a model of a server and of what each listener must get:
// listeners come, change and go, transactions notify, the connection breaks, bytes come in pieces.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "pool/listen_hub.hpp"
#include "support/pg_messages.hpp"

namespace sluice::pool {
namespace {

using clock_time = listen_hub::clock_time;
using name_set = std::set<std::string>;

// A channel of a listener.
struct expectation {
    std::deque<std::size_t> must;  // committed, and still to be delivered
    std::size_t next = 0;          // nothing before this one may come any more
    std::string marker;            // withheld until this one has been committed
    std::size_t after_marker = 0;  // which was here in the log
    bool counts = false;           // what is committed now must be delivered
    bool lost = false;             // what is committed need not be until the listener is told
};

struct model_listener {
    std::map<std::string, expectation> channels;
    name_set completed;  // of earlier requests
    std::set<std::uint64_t> requests;
};

struct notification {
    std::string channel;
    std::string payload;
};

// A backend as PostgreSQL's: reads the queue of notifications before it says that it is ready.
struct model_server {
    const std::vector<notification>& log;
    std::size_t read = 0;
    name_set listens = {};
    std::string queries = {};  // not carried out yet
    std::string sent = {};     // not read by the hub yet
    bool read_only = false;

    void notify() {
        for (; read < log.size(); ++read) {
            if (!listens.contains(log[read].channel)) continue;
            protocol::frame_writer(sent, 'A')
                .u32(static_cast<std::uint32_t>(read))
                .text(log[read].channel)
                .text(log[read].payload)
                .finish();
        }
    }
    void run_one() {
        if (queries.empty()) return;
        const auto length = protocol::load_u32(protocol::as_bytes(queries).data() + 1);
        const auto sql = queries.substr(5, length - 5);
        queries.erase(0, length + 1);
        auto after = listens;
        bool refused = false;
        std::size_t statements = 0;
        for (std::size_t at = 0; at < sql.size(); ++statements) {
            const auto end = sql.find(';', at);
            if (end == std::string::npos) break;
            const auto quote = sql.find('"', at);
            const auto name = sql.substr(quote + 1, end - quote - 2);
            if (sql[at] == 'U') {
                after.erase(name);
            } else if (read_only || name.find("bad") != std::string::npos) {
                refused = true;
            } else {
                after.insert(name);
            }
            at = end + 1;
        }
        if (refused) {
            protocol::append_error(sent, {"ERROR", read_only ? "25006" : "22021", "no", "", ""});
        } else {
            if (statements == 0) protocol::append_empty(sent, 'I');
            for (std::size_t i = 0; i < statements; ++i)
                sent += test::frame('C', {"LISTEN\0", 7});
            if (listens.empty()) read = log.size();
            listens = after;
        }
        notify();
        protocol::append_ready(sent, 'I');
    }
};

class world {
  public:
    explicit world(std::uint32_t seed) : random_(seed) {}

    void run() {
        for (int i = 0; i < 400; ++i) {
            step();
            take();
            if (testing::Test::HasFailure()) return;
        }
        settle();
    }

  private:
    std::size_t below(std::size_t n) {
        return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_);
    }

    void step() {
        switch (below(12)) {
            case 0:
            case 1:
                return set_channels();
            case 2:
                return below(4) == 0 ? forget() : catch_up();
            case 3:
            case 4:
            case 5:
                return commit("c" + std::to_string(below(5)), "");
            case 6:
                return below(6) == 0 ? lose() : connect();
            case 7:
                if (below(10) == 0) hub_.expire(clock_time() + std::chrono::seconds(now_), late_);
                return;
            case 8:
                if (server_ && server_->queries.empty()) server_->notify();
                return;
            case 9:
                if (server_) server_->read_only = below(8) == 0;
                return;
            default:
                if (server_ && below(2) == 0) server_->run_one();
                return feed();
        }
    }

    void set_channels() {
        const auto id = below(6);
        name_set names;
        for (std::size_t i = below(4); i > 0; --i)
            names.insert("c" + std::to_string(below(5)));
        if (below(10) == 0) names.insert("bad" + std::to_string(below(3)));
        const auto request = ++requests_;
        const auto marker = below(2) == 0 ? "m" + std::to_string(request) : "";
        auto& who = listeners_[id];
        std::map<std::string, expectation> after;
        for (const auto& name : names) {
            const auto had = who.channels.find(name);
            auto& one = after[name];
            if (had == who.channels.end()) {
                one.marker = marker;
            } else {
                one = had->second;
                if (marker.empty()) {
                    one.marker.clear();
                    one.after_marker = 0;
                }
                // Withheld up to now, and its request was done: it counts from here on.
                if (marker.empty() && who.completed.contains(name) && !one.lost) one.counts = true;
            }
        }
        std::erase_if(who.completed, [&](const auto& name) { return !names.contains(name); });
        who.channels = std::move(after);
        who.requests.insert(request);
        open_.insert(request);
        owner_[request] = id;
        hub_.set_channels(id, {names.begin(), names.end()}, marker, request, deadline());
    }

    void forget() {
        const auto id = below(6);
        forgotten_ = id;
        hub_.forget(id);
        take();
        forgotten_ = std::nullopt;
        listeners_.erase(id);
    }

    void catch_up() {
        const auto request = ++requests_;
        open_.insert(request);
        catch_ups_[request] = {log_.size(), losses_};
        hub_.catch_up(request, deadline());
    }

    clock_time deadline() { return clock_time() + std::chrono::seconds(++now_ + below(50)); }

    void commit(const std::string& channel, const std::string& payload) {
        const auto index = log_.size();
        log_.push_back({channel, payload});
        for (auto& [id, who] : listeners_) {
            const auto at = who.channels.find(channel);
            if (at != who.channels.end() && at->second.counts) at->second.must.push_back(index);
        }
    }

    void connect() {
        if (server_) return;
        server_.emplace(model_server{log_});
        server_->read = log_.size();
        rest_.clear();
        hub_.connected();
    }

    void lose() {
        if (!server_) return;
        server_.reset();
        ++losses_;
        for (auto& [id, who] : listeners_) {
            for (auto& [name, one] : who.channels) {
                one.must.clear();
                if (who.completed.contains(name)) {
                    one.lost = true;
                    one.counts = false;
                    one.marker.clear();
                    one.after_marker = 0;
                }
            }
        }
        hub_.lost();
    }

    void feed() {
        if (!server_) return;
        const auto n = std::min(server_->sent.size(), below(60));
        rest_ += server_->sent.substr(0, n);
        server_->sent.erase(0, n);
        rest_.erase(0, hub_.receive(protocol::as_bytes(rest_)));
    }

    void take() {
        for (auto events = hub_.take_events(); !events.empty(); events = hub_.take_events()) {
            for (const auto& event : events)
                on_event(event);
        }
        if (server_) server_->queries += hub_.take_output();
        EXPECT_FALSE(hub_.desynced());
        if (!hub_.close_wanted().empty()) lose();
    }

    void on_event(const listen_event& event) {
        switch (event.what) {
            case listen_event::kind::notification:
                return on_notification(event);
            case listen_event::kind::missed:
                for (const auto id : event.to) {
                    for (auto& [name, one] : listeners_.at(id).channels) {
                        if (std::exchange(one.lost, false)) one.counts = one.marker.empty();
                    }
                }
                return;
            case listen_event::kind::done:
                return on_done(event);
        }
    }

    void on_notification(const listen_event& event) {
        protocol::reader in(protocol::as_bytes(*event.frame).subspan(5));
        const auto index = in.u32();
        ASSERT_LT(index, log_.size());
        ASSERT_EQ(in.text(), log_[index].channel);
        for (const auto id : event.to) {
            ASSERT_TRUE(listeners_.contains(id));
            ASSERT_TRUE(listeners_[id].channels.contains(log_[index].channel));
            auto& one = listeners_[id].channels.at(log_[index].channel);
            ASSERT_TRUE(one.marker.empty()) << "withheld";
            ASSERT_GE(index, one.next) << "twice, or out of order";
            ASSERT_GE(index, one.after_marker) << "before the marker";
            one.next = index + 1;
            if (one.must.empty() || index < one.must.front()) continue;
            ASSERT_EQ(one.must.front(), index) << "one was left out";
            one.must.pop_front();
        }
    }

    void on_done(const listen_event& event) {
        ASSERT_EQ(open_.erase(event.request), 1U) << "answered twice";
        if (const auto at = catch_ups_.find(event.request); at != catch_ups_.end()) {
            if (!event.error && at->second.second == losses_) caught_up(at->second.first);
            catch_ups_.erase(at);
            return;
        }
        const auto id = owner_.at(event.request);
        auto& who = listeners_.at(id);
        who.requests.erase(event.request);
        if (forgotten_ == id) return;
        if (event.error) {
            std::erase_if(who.channels,
                          [&](const auto& one) { return !who.completed.contains(one.first); });
            return;
        }
        if (!who.requests.empty()) return;  // the same answer for all
        name_set markers;
        for (auto& [name, one] : who.channels) {
            if (!who.completed.insert(name).second) continue;
            if (one.marker.empty()) {
                one.counts = true;
            } else {
                markers.insert(one.marker);
            }
        }
        for (const auto& marker : markers)
            marked(who, marker);
    }

    // The client's own connection notifies with the marker.
    void marked(model_listener& who, const std::string& marker) {
        if (below(3) == 0) commit("c" + std::to_string(below(5)), "");
        log_.push_back({std::string(listen_hub::marker_channel), marker});
        for (auto& [name, one] : who.channels) {
            if (one.marker != marker) continue;
            one.marker.clear();
            one.after_marker = log_.size();
            one.counts = true;
        }
    }

    void caught_up(std::size_t to) {
        for (const auto& [id, who] : listeners_) {
            for (const auto& [name, one] : who.channels) {
                ASSERT_TRUE(one.must.empty() || one.must.front() >= to) << "not delivered yet";
            }
        }
    }

    void settle() {
        const auto work = [this] {
            for (int i = 0; i < 3000; ++i) {
                connect();
                server_->read_only = false;
                server_->run_one();
                feed();
                take();
            }
        };
        work();
        ASSERT_TRUE(open_.empty()) << "not answered";
        for (int i = 0; i < 5; ++i)
            commit("c" + std::to_string(i), "");
        catch_up();
        take();
        work();
        ASSERT_TRUE(open_.empty());
        for (const auto& [id, who] : listeners_) {
            for (const auto& [name, one] : who.channels) {
                ASSERT_FALSE(one.lost) << "not told";
                ASSERT_TRUE(one.counts && one.must.empty()) << "not delivered";
            }
        }
        name_set wanted{std::string(listen_hub::marker_channel)};
        for (const auto& [id, who] : listeners_) {
            for (const auto& [name, one] : who.channels)
                wanted.insert(name);
        }
        ASSERT_EQ(server_->listens, wanted);
    }

    std::mt19937 random_;
    listen_hub hub_;
    std::vector<notification> log_;
    std::optional<model_server> server_;
    std::string rest_;
    std::map<std::uint64_t, model_listener> listeners_;
    std::map<std::uint64_t, std::uint64_t> owner_;  // of requests
    std::map<std::uint64_t, std::pair<std::size_t, int>> catch_ups_;
    std::set<std::uint64_t> open_;
    std::optional<std::uint64_t> forgotten_;
    std::uint64_t requests_ = 0;
    int losses_ = 0;
    int now_ = 0;
    const login_failure late_{"08006", "too late", "", "", false};
};

TEST(listen_hub_random, every_listener_gets_what_it_must) {
    const auto first = std::random_device{}();
    for (std::uint32_t i = 0; i < 300; ++i) {
        SCOPED_TRACE("seed " + std::to_string(first + i));
        world(first + i).run();
        if (testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace sluice::pool
