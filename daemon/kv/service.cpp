#include "daemon/kv/service.hpp"

#include <unistd.h>

#include <algorithm>

#include "daemon/kv/session.hpp"
#include "daemon/version.hpp"
#include "metrics/process.hpp"

namespace sluice::daemon {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto expiry_interval = milliseconds(100);
constexpr auto maintenance_interval = milliseconds(1000);
// Between two slices of a copy: commands of that project get their turn.
constexpr auto slice_pause = std::chrono::microseconds(100);
constexpr auto failed_backup_pause = milliseconds(60'000);

std::uint64_t clock_ns() {
    return static_cast<std::uint64_t>(steady_clock::now().time_since_epoch().count());
}

void pause_between_slices() {
    std::this_thread::sleep_for(slice_pause);
}

std::int64_t slow_after_us(const config::kv_settings& settings) {
    const auto limit = settings.slowlog_log_slower_than.count();
    return limit == 0 ? -1 : limit * 1000;
}

kvstore::store::notice notices_to(logger& log) {
    return [&log](std::string_view level, const std::string& text) {
        if (level == "error") {
            log.error("store", {{"what", text}});
        } else if (level == "warning") {
            log.warning("store", {{"what", text}});
        } else {
            log.info("store", {{"what", text}});
        }
    };
}

}  // namespace

kvstore::time_ms wall_clock_ms() {
    return std::chrono::duration_cast<milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::shared_ptr<const net::tls_context> kv_service::load_tls(const config::kv_settings& settings) {
    if (settings.tls.mode == config::tls_mode::disable) return nullptr;
    return std::make_shared<const net::tls_context>(settings.tls);
}

kv_service::kv_service(const config::kv_settings& settings, std::string config_file,
                       std::vector<net::worker*> workers, logger& to_log)
    : log(to_log),
      store(kvstore::posix_files(), settings, notices_to(to_log)),
      config_file_(std::move(config_file)),
      workers_(std::move(workers)),
      started_ms_(wall_clock_ms()),
      clients_on_(workers_.size()),
      port_(settings.listen.empty() ? std::uint16_t{0} : settings.listen[0].port),
      settings_(settings),
      tls_(load_tls(settings)) {
    store.clock = &steady_clock::now;
    store.log().clock = &steady_clock::now;
    store.log().on_progress = [this] { log_progress(); };
    const auto shared = std::make_shared<const config::kv_settings>(settings);
    const auto access = std::make_shared<const kvstore::access_list>(settings.users);
    for (std::size_t i = 0; i < workers_.size(); ++i) {
        auto& room = *rooms_.emplace_back(std::make_unique<kv_room>(store));
        room.settings = shared;
        room.access = access;
        room.tls = tls_;
    }
    slow.configure(slow_after_us(settings), settings.slowlog_max_len);
    store.open(started_ms_);
}

kv_service::~kv_service() {
    stop_threads();
}

void kv_service::start_threads() {
    log_thread_ = std::thread([this] { write_log(); });
    maintenance_thread_ = std::thread([this] { maintain(); });
    expiry_thread_ = std::thread([this] { expire(); });
}

void kv_service::accept(net::accepted_socket socket) {
    const auto& room = *rooms_[0];
    const auto refuse = [&](std::string_view text) {
        rooms_[0]->counts.clients_refused.add();
        (void)!::write(socket.descriptor, text.data(), text.size());
        ::close(socket.descriptor);
    };
    if (clients_.load() >= room.settings->maxclients) {
        return refuse("-ERR max number of clients reached\r\n");
    }
    if (room.settings->protected_mode && room.settings->users.empty() && !socket.is_loopback) {
        return refuse(
            "-DENIED sluice is running in protected mode: there are no kv.users, and so only "
            "clients of this machine (127.0.0.1) are served. Give kv.users, each with a password, "
            "or, if everybody who reaches this port may read and write everything, set "
            "kv.protected_mode to no.\r\n");
    }
    begin(std::move(socket), false);
}

void kv_service::accept_control(net::accepted_socket socket) {
    begin(std::move(socket), true);
}

net::worker& kv_service::choose_worker() {
    const auto least =
        std::min_element(clients_on_.begin(), clients_on_.end(),
                         [](const auto& a, const auto& b) { return a.load() < b.load(); });
    least->fetch_add(1);
    clients_.fetch_add(1);
    return *workers_[static_cast<std::size_t>(least - clients_on_.begin())];
}

void kv_service::begin(net::accepted_socket socket, bool is_control) {
    auto& on = choose_worker();
    if (on.is_current()) return kv_session::start(*this, on, socket, is_control);
    on.post([this, &on, is_control, socket = std::move(socket)] {
        kv_session::start(*this, on, socket, is_control);
    });
}

kvstore::turn kv_service::turn_on(net::worker& on) {
    auto& room = room_of(on);
    return {store,       *this,           cards,       slow,
            room.reply,  room.changes,    room.counts, room.settings,
            room.access, wall_clock_ms(), &clock_ns};
}

void kv_service::configure(const config::kv_settings& settings,
                           const std::shared_ptr<const net::tls_context>& tls) {
    const std::lock_guard lock(settings_mutex_);
    settings_ = settings;
    tls_ = tls;
    store.configure(settings);
    slow.configure(slow_after_us(settings), settings.slowlog_max_len);
    const auto shared = std::make_shared<const config::kv_settings>(settings);
    const auto access = std::make_shared<const kvstore::access_list>(settings.users);
    for (auto* const worker : workers_) {
        // It may be given up before the worker comes to it.
        worker->post([this, hold = shared_from_this(), worker, shared, access, tls] {
            auto& room = room_of(*worker);
            room.settings = shared;
            room.access = access;
            room.tls = tls;
            for (auto at = room.sessions.begin(); at != room.sessions.end();) {
                auto& session = *at++;
                session.reconfigure();
            }
        });
    }
}

// --- the log's thread ---

void kv_service::write_log() {
    while (!log_ending_.load()) {
        const auto until = store.log().step(steady_clock::now());
        store.log().wait(until);
    }
}

void kv_service::log_progress() {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
        auto& room = *rooms_[i];
        if (!room.anyone_waits.exchange(false)) continue;
        workers_[i]->post([&room] { tell_waiting(room); });
    }
}

void kv_service::tell_waiting(kv_room& room) {
    std::vector<std::weak_ptr<kv_session>> waiting;
    waiting.swap(room.waiting);
    for (auto& one : waiting) {
        const auto session = one.lock();
        if (session == nullptr || !session->log_moved()) continue;
        room.waiting.push_back(std::move(one));
        room.anyone_waits = true;
    }
}

// The log may have moved on before the flag was set: then nobody else would come back to it.
void kv_service::wait_for_log(net::worker& on, std::weak_ptr<kv_session> who,
                              kvstore::log_number until) {
    auto& room = room_of(on);
    room.waiting.push_back(std::move(who));
    room.anyone_waits = true;
    if (until != 0 && (store.log().safe() >= until || store.log().failing())) {
        on.post([&room] { tell_waiting(room); });
    }
}

// Room in the log comes back without a word when it is given back: those who wait for it look.
void kv_service::tick(net::worker& on) {
    auto& room = room_of(on);
    if (!room.waiting.empty()) tell_waiting(room);
}

void kv_service::end_turn(net::worker& on) {
    auto& room = room_of(on);
    room.changes.hurry();
    if (!room.replies.empty()) kv_session::send_all_put_off(room);
}

// --- maintenance ---

bool kv_service::rest(milliseconds time) {
    std::unique_lock lock(tasks_mutex_);
    tasks_wake_.wait_for(lock, time, [&] { return ending_; });
    return !ending_;
}

void kv_service::expire() {
    while (rest(expiry_interval))
        store.expire(wall_clock_ms());
}

void kv_service::maintain() {
    auto next_round = steady_clock::now() + maintenance_interval;
    std::unique_lock lock(tasks_mutex_);
    while (!ending_) {
        tasks_wake_.wait_until(lock, next_round, [&] { return ending_ || !tasks_.empty(); });
        if (ending_) break;
        if (!tasks_.empty()) {
            const auto task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
            lock.lock();
            continue;
        }
        lock.unlock();
        store.maintain(wall_clock_ms(), pause_between_slices);
        run_backup_if_due(wall_clock_ms());
        next_round = steady_clock::now() + maintenance_interval;
        lock.lock();
    }
}

std::shared_ptr<kvstore::job> kv_service::add_task(std::function<void(kvstore::job&)> work,
                                                   std::function<void()> wake) {
    if (saving_.exchange(true)) return nullptr;
    auto job = std::make_shared<kvstore::job>();
    const std::lock_guard lock(tasks_mutex_);
    tasks_.emplace_back([this, job, work = std::move(work), wake = std::move(wake)] {
        work(*job);
        saving_ = false;
        job->done.store(true, std::memory_order_release);
        wake();
    });
    tasks_wake_.notify_all();
    return job;
}

std::shared_ptr<kvstore::job> kv_service::start_saving(std::function<void()> wake) {
    return add_task(
        [this](kvstore::job& job) {
            job.error = store.save_all(wall_clock_ms(), pause_between_slices);
        },
        std::move(wake));
}

std::shared_ptr<kvstore::job> kv_service::start_backup(std::string into,
                                                       std::function<void()> wake) {
    return add_task(
        [this, into = std::move(into)](kvstore::job& job) {
            const auto made = back_up(into);
            job.error = made.error;
            job.text = made.path;
            backups_.reset();  // it may be in the directory of the scheduled ones
        },
        std::move(wake));
}

// On the maintenance thread. A stop of the daemon does not wait for it.
kvstore::backup_result kv_service::back_up(const std::string& into) {
    auto made = kvstore::make_backup(store, into, wall_clock_ms(), pause_between_slices,
                                     [this](auto, auto) { return rest(milliseconds(0)); });
    if (!made.error.empty()) {
        log.error("backup failed", {{"why", made.error}});
    } else {
        log.info("backup made",
                 {{"path", made.path}, {"projects", made.projects}, {"bytes", made.bytes}});
    }
    return made;
}

void kv_service::look_for_backups(const config::kv_backup_settings& settings) {
    backups_ = settings;
    retry_backup_ms_ = 0;
    const auto latest = kvstore::find_latest_backup(store.files(), settings.directory);
    last_backup_ms_ = latest.created_ms;
    if (latest.created_ms <= store.counts.last_backup_ms.load()) return;
    store.counts.last_backup_ms.store(latest.created_ms);  // of an earlier run
    store.counts.last_backup_bytes.store(latest.bytes);
}

void kv_service::run_backup_if_due(kvstore::time_ms now) {
    config::kv_backup_settings settings;
    {
        const std::lock_guard lock(settings_mutex_);
        settings = settings_.backup;
    }
    if (settings.directory.empty()) return;
    if (backups_ != settings) look_for_backups(settings);
    if (last_backup_ms_ > now) last_backup_ms_ = now;  // the clock was set back
    const auto due = last_backup_ms_ == 0 ? now : last_backup_ms_ + settings.every.count();
    if (now < due || now < retry_backup_ms_) return;
    const auto made = back_up(settings.directory);
    if (!made.error.empty()) {
        retry_backup_ms_ = now + failed_backup_pause.count();
        return;
    }
    last_backup_ms_ = now;
    retry_backup_ms_ = 0;
    if (const auto error =
            kvstore::prune_backups(store.files(), settings.directory, settings.keep)) {
        log.warning("old backups were not removed", {{"why", error.message()}});
    }
}

void kv_service::start_loading(std::shared_ptr<kvstore::project> which) {
    threads_.run([this, which = std::move(which)] { store.load(*which, wall_clock_ms()); });
}

std::shared_ptr<kvstore::job> kv_service::start_check(std::string verifier, std::string password,
                                                      std::function<void()> wake) {
    auto job = std::make_shared<kvstore::job>();
    job->text = verifier;
    threads_.run([job, verifier = std::move(verifier), password = std::move(password),
                  wake = std::move(wake)] {
        if (!kvstore::access_list::matches_verifier(verifier, password)) job->error = "wrong";
        job->done.store(true, std::memory_order_release);
        wake();
    });
    return job;
}

void kv_service::close_clients() {
    for (auto* const worker : workers_) {
        worker->post([this, worker] {
            auto& sessions = room_of(*worker).sessions;
            for (auto at = sessions.begin(); at != sessions.end();) {
                auto& session = *at++;
                session.end_now();
            }
        });
    }
}

// The log's writer last: what the others do may wait for it.
void kv_service::stop_threads() {
    threads_.stop();
    {
        const std::lock_guard lock(tasks_mutex_);
        ending_ = true;
    }
    tasks_wake_.notify_all();
    if (maintenance_thread_.joinable()) maintenance_thread_.join();
    if (expiry_thread_.joinable()) expiry_thread_.join();
    log_ending_ = true;
    store.log().stop_waiting();
    if (log_thread_.joinable()) log_thread_.join();
}

bool kv_service::finish() {
    stop_threads();
    return store.close(wall_clock_ms());
}

}  // namespace sluice::daemon
