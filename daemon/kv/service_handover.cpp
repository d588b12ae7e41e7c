// kv_service where its store and its clients go to another process, and come from one.

#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <mutex>

#include "daemon/kv/service.hpp"
#include "daemon/kv/session.hpp"
#include "daemon/net/on_all.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// For clients that are within a transaction, or slow to take their answers.
constexpr auto leaving_patience = milliseconds(500);
constexpr auto closing_patience = milliseconds(2000);

// Until `done` says so; looked at again each time that `wake` is called, and now and then.
class bell {
  public:
    void ring() {
        const std::lock_guard lock(mutex_);
        rung_ = true;
        wake_.notify_all();
    }
    void wait(milliseconds most) {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, most, [&] { return rung_; });
        rung_ = false;
    }

  private:
    std::mutex mutex_;
    std::condition_variable wake_;
    bool rung_ = false;
};

}  // namespace

void kv_service::let_clients_leave(leaving how) {
    for (auto* const worker : workers_) {
        worker->post([this, worker, how] {
            auto& sessions = room_of(*worker).sessions;
            for (auto at = sessions.begin(); at != sessions.end();) {
                auto& session = *at++;
                session.leave(how);
            }
        });
    }
}

std::string kv_service::save_before_release() {
    const auto rings = std::make_shared<bell>();
    const auto job = start_saving([rings] { rings->ring(); });
    if (job == nullptr) return "a save or a backup of the key-value store is running";
    while (!job->done.load(std::memory_order_acquire))
        rings->wait(milliseconds(100));
    return job->error;
}

std::vector<handed_client> kv_service::take_clients() {
    bell never;
    const auto wait_until_gone = [&](milliseconds patience, auto again) {
        const auto until = steady_clock::now() + patience;
        while (true) {
            again();
            net::on_all(workers_, [](net::worker&) {});  // what they have buried has ended
            if (clients_.load() == 0 || steady_clock::now() >= until) return;
            never.wait(milliseconds(1));
        }
    };
    // Again and again: some may have been accepted and be on their way to their worker.
    wait_until_gone(leaving_patience, [&] { let_clients_leave(leaving::handed_over); });
    if (clients_.load() > 0) {
        log.warning("key-value clients closed: they could not be handed over",
                    {{"clients", clients_.load()}});
        wait_until_gone(closing_patience, [&] { close_clients(); });
    }
    std::vector<handed_client> out;
    std::mutex mutex;
    net::on_all(workers_, [&](net::worker& on) {
        const std::lock_guard lock(mutex);
        auto& handed = room_of(on).handed;
        std::move(handed.begin(), handed.end(), std::back_inserter(out));
        handed.clear();
    });
    return out;
}

bool kv_service::release() {
    stop_threads();
    return store.release();
}

void kv_service::go_on(handed_client client) {
    auto& on = choose_worker();
    on.post([this, &on, client = std::move(client)] { kv_session::go_on(*this, on, client); });
}

}  // namespace sluice::daemon
