#include "support/kv_world.hpp"

#include <algorithm>

#include "protocol/outgoing.hpp"

namespace sluice::test {

namespace {

std::uint64_t no_time() {
    return 0;
}

}  // namespace

// --- one connection ---

kv_peer::kv_peer(kv_world& world, std::uint64_t number) : world_(world) {
    auto card = std::make_shared<kvstore::client_card>();
    card->address = "test:" + std::to_string(number);
    world.cards_.add(card);
    client_ = std::make_unique<kvstore::client>(std::move(card));
    client_->access = world.access_;
    client_->who = world.access_->initial();
    wake_ = [this] { woken = true; };
}

void kv_peer::work() {
    while (waits_ == waiting::none) {
        auto in = world_.turn_now();
        const auto done = client_->run(protocol::as_bytes(input_), in, wake_);
        input_.erase(0, done.consumed);
        closes_ = done.next == kvstore::client::wants::close;
        protocol::outgoing out;
        in.reply.pass_to(out);
        most_in_turn = std::max(most_in_turn, out.size());
        if (done.waits_for == 0) {
            out.save_rest(0, output_);
        } else {
            held_.clear();
            out.save_rest(0, held_);
            held_writes_ = in.reply.writes();
            held_for_ = done.waits_for;
            waits_ = waiting::log;
        }
        in.reply.clear();
        if (waits_ == waiting::log) return;
        switch (done.next) {
            case kvstore::client::wants::bytes:
                return;
            case kvstore::client::wants::turn_over:
                ++turns;
                break;
            case kvstore::client::wants::wake:
                waits_ = waiting::wake;
                break;
            case kvstore::client::wants::room:
                waits_ = waiting::room;
                break;
            case kvstore::client::wants::close:
                waits_ = waiting::over;
                break;
        }
    }
}

// As kv_session::log_moved().
void kv_peer::log_moved() {
    if (waits_ == waiting::room) {
        waits_ = waiting::none;
        return work();
    }
    if (waits_ != waiting::log) return;
    const auto& log = world_.db->log();
    const bool is_safe = log.safe() >= held_for_;
    if (!is_safe && !log.failing()) return;
    std::size_t from = 0;
    if (!is_safe) {
        for (const auto& write : held_writes_) {
            output_.append(held_, from, write.from - from);
            if (write.to > write.from) output_ += "-MISCONF not safe\r\n";
            from = write.to;
        }
    }
    output_.append(held_, from);
    held_.clear();
    held_writes_.clear();
    waits_ = closes_ ? waiting::over : waiting::none;
    work();
}

// --- the daemon ---

kv_world::kv_world(std::uint64_t seed) : files(seed) {
    settings.directory = "db";
    settings.fsync = config::fsync_policy::always;
}

kv_world::~kv_world() {
    forget_run();
}

bool kv_world::start() {
    shared_settings_ = std::make_shared<const config::kv_settings>(settings);
    access_ = std::make_shared<const kvstore::access_list>(settings.users);
    slow_.configure(-1, 1);
    db = std::make_unique<kvstore::store>(
        files, settings,
        [this](std::string_view level, const std::string& text) {
            notices.push_back(std::string(level) + ": " + text);
        },
        segment_bytes);
    db->log().on_progress = [this] { log_progressed_ = true; };
    changes_ = std::make_unique<kvstore::batch>(*db);
    problem.clear();
    try {
        db->open(now);
    } catch (const kvstore::cannot_open& error) {
        problem = error.what();
        forget_run();
        return false;
    }
    log_due_ = mono;
    return true;
}

void kv_world::forget_run() {
    for (auto& one : peers_)
        cards_.remove(*one->client_->card);
    peers_.clear();
    loads_.clear();
    jobs_.clear();
    changes_.reset();
    db.reset();
}

bool kv_world::close() {
    for (auto& one : peers_)
        cards_.remove(*one->client_->card);
    peers_.clear();
    const bool went_well = db->close(now);
    forget_run();
    return went_well;
}

void kv_world::kill() {
    forget_run();
    files.process_crash();
}

void kv_world::power_failure() {
    forget_run();
    files.power_failure();
}

kvstore::turn kv_world::turn_now() {
    return {*db,     *this, cards_,  slow_, reply_, *changes_, counts_, shared_settings_,
            access_, now,   &no_time};
}

kv_peer& kv_world::connect() {
    return *peers_.emplace_back(std::make_unique<kv_peer>(*this, peers_.size() + 1));
}

kv_peer& kv_world::first() {
    return peers_.empty() ? connect() : *peers_.front();
}

std::string kv_world::resp(const std::vector<std::string>& words) {
    std::string out = "*" + std::to_string(words.size()) + "\r\n";
    for (const auto& word : words)
        out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    return out;
}

std::string kv_world::resp(std::string_view command) {
    std::vector<std::string> words;
    while (!command.empty()) {
        const auto end = std::min(command.find(' '), command.size());
        words.emplace_back(command.substr(0, end));
        command.remove_prefix(std::min(end + 1, command.size()));
    }
    return resp(words);
}

std::string kv_world::shown(std::string_view raw) {
    std::string out;
    for (std::size_t at = 0; at < raw.size(); ++at) {
        if (raw.substr(at, 2) == "\r\n") {
            if (at + 2 < raw.size()) out += '|';
            ++at;
        } else {
            out += raw[at];
        }
    }
    return out;
}

std::string kv_world::send(kv_peer& by, std::string_view command) {
    by.feed(resp(command));
    by.work();
    settle();
    return shown(by.take());
}

void kv_world::settle() {
    while (something_happened()) {
    }
}

bool kv_world::something_happened() {
    if (automatic.loading && load_next()) return true;
    if (automatic.jobs && do_next_job()) return true;
    if (automatic.log && log_due_ <= mono) {
        step_log();
        return true;
    }
    const auto waits = [](const auto& one) {
        return one->waits() == kv_peer::waiting::room || one->waits() == kv_peer::waiting::log;
    };
    if (automatic.log && std::any_of(peers_.begin(), peers_.end(), waits)) {
        const auto seen = [this] {
            std::string all = std::to_string(db->log().last());
            for (const auto& one : peers_)
                all += ',' + std::to_string(static_cast<int>(one->waits()));
            return all + ',' + std::to_string(db->log().safe());
        };
        const auto before = seen();
        step_log();
        tell_peers();
        return seen() != before || log_due_ <= mono;
    }
    for (auto& one : peers_) {
        if (!std::exchange(one->woken, false)) continue;
        if (one->waits_ == kv_peer::waiting::wake) one->waits_ = kv_peer::waiting::none;
        one->work();
        return true;
    }
    return false;
}

void kv_world::step_log() {
    log_due_ = db->log().step(mono);
    if (std::exchange(log_progressed_, false)) tell_peers();
}

void kv_world::tell_peers() {
    for (auto& one : peers_)
        one->log_moved();
}

void kv_world::pass(std::chrono::milliseconds time) {
    const auto end = mono + time;
    const auto end_ms = now + time.count();
    // The writer is woken when something was appended; the first look is free.
    if (automatic.log) {
        step_log();
        while (log_due_ <= end) {
            const auto due = std::max(log_due_, mono);
            now += std::chrono::duration_cast<std::chrono::milliseconds>(due - mono).count();
            mono = due;
            step_log();
            settle();
        }
    }
    mono = end;
    now = end_ms;
    settle();
}

bool kv_world::load_next() {
    if (loads_.empty()) return false;
    const auto which = std::move(loads_.front());
    loads_.pop_front();
    db->load(*which, now);
    return true;
}

bool kv_world::do_next_job() {
    if (jobs_.empty()) return false;
    const auto work = std::move(jobs_.front());
    jobs_.pop_front();
    work();
    return true;
}

// --- maintenance ---

kvstore::store::pause_call kv_world::pause() {
    return [this] {
        if (on_pause) on_pause();
        mono += std::chrono::milliseconds{1};
        step_log();
    };
}

std::string kv_world::save_all() {
    return db->save_all(now, pause());
}

std::string kv_world::save(kvstore::project_id id) {
    return db->save(*db->find(id), now, pause());
}

void kv_world::maintain() {
    db->maintain(now, pause());
}

// --- what is there ---

std::optional<kv_world::content> kv_world::resident(kvstore::project_id id) {
    const auto one = db->find(id);
    const std::lock_guard lock(one->mutex);
    if (one->state != kvstore::project::residence::resident) return std::nullopt;
    content out;
    std::uint64_t bytes = 0;
    one->keys_table().for_each([&](const kvstore::entry& e) {
        bytes += e.key_size() + e.value_size();
        if (e.is_expired(now)) return;
        out[std::string(e.key())] = {std::string(e.value()), e.expiry()};
    });
    if (bytes != one->bytes()) out["the bytes are counted wrong"] = {};
    return out;
}

kv_world::content kv_world::loaded(kvstore::project_id id) {
    const auto one = db->find(id);
    {
        const std::lock_guard lock(one->mutex);
        if (one->state == kvstore::project::residence::absent) {
            one->state = kvstore::project::residence::loading;
        }
    }
    if (one->state == kvstore::project::residence::loading) db->load(*one, now);
    return resident(id).value_or(content{});
}

bool kv_world::has_notice(std::string_view part) const {
    return std::any_of(notices.begin(), notices.end(),
                       [&](const std::string& one) { return one.find(part) != std::string::npos; });
}

std::string kv_world::path_of(kvstore::project_id id) {
    return "db/project-" + std::to_string(id) + ".json";
}

std::size_t kv_world::segments() const {
    std::size_t count = 0;
    for (const auto& path : files.files())
        count += path.starts_with("db/log/") && path.ends_with(".log") ? 1U : 0U;
    return count;
}

// --- kvstore::host ---

void kv_world::start_loading(std::shared_ptr<kvstore::project> which) {
    loads_.push_back(std::move(which));
}

std::shared_ptr<kvstore::job> kv_world::start_saving(std::function<void()> wake) {
    if (!jobs_.empty()) return nullptr;
    auto job = std::make_shared<kvstore::job>();
    jobs_.emplace_back([this, job, wake = std::move(wake)] {
        job->error = save_all();
        job->done = true;
        wake();
    });
    return job;
}

std::shared_ptr<kvstore::job> kv_world::start_backup(std::string, std::function<void()>) {
    return nullptr;
}

std::shared_ptr<kvstore::job> kv_world::start_check(std::string verifier, std::string password,
                                                    std::function<void()> wake) {
    ++checks;
    auto job = std::make_shared<kvstore::job>();
    job->text = verifier;
    jobs_.emplace_back([job, verifier = std::move(verifier), password = std::move(password),
                        wake = std::move(wake)] {
        if (!kvstore::access_list::matches_verifier(verifier, password)) job->error = "wrong";
        job->done = true;
        wake();
    });
    return job;
}

std::vector<std::pair<std::string, std::string>> kv_world::configuration() const {
    return {};
}

std::string kv_world::set_configuration(std::string_view, std::string_view) {
    return "not here";
}

}  // namespace sluice::test
