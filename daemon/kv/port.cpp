#include "daemon/kv/port.hpp"

#include <unistd.h>

#include "daemon/net/on_all.hpp"

namespace sluice::daemon {

kv_port::kv_port(std::vector<net::worker*> workers, logger& log)
    : workers_(std::move(workers)), log_(log), on_(workers_.size()) {
    for (auto* const worker : workers_) {
        auto& here = on_[worker->number()];
        worker->on_tick([worker, &here](net::clock_time) {
            if (here != nullptr) here->tick(*worker);
        });
        worker->on_turn_end([worker, &here] {
            if (here != nullptr) here->end_turn(*worker);
        });
    }
}

kv_port::~kv_port() = default;

void kv_port::add(net::bound_socket on, void (kv_service::*accept)(net::accepted_socket)) {
    listeners_.push_back(std::make_unique<net::listener>(
        workers_[0]->loop(), std::move(on), [this, accept](net::accepted_socket socket) {
            if (on_[0] == nullptr) {
                ::close(socket.descriptor);
            } else {
                (on_[0]->*accept)(std::move(socket));
            }
        }));
}

void kv_port::listen(net::bound_socket on) {
    add(std::move(on), &kv_service::accept);
}

void kv_port::listen_for_control(net::bound_socket on) {
    add(std::move(on), &kv_service::accept_control);
}

std::shared_ptr<kv_service> kv_port::service() const {
    const std::lock_guard lock(mutex_);
    return service_;
}

void kv_port::set(std::shared_ptr<kv_service> service) {
    const std::lock_guard lock(mutex_);
    service_ = std::move(service);
}

void kv_port::open(const config::kv_settings& settings, const std::string& config_file) {
    auto service = std::make_shared<kv_service>(settings, config_file, workers_, log_);
    for (auto& one : on_)
        one = service.get();
    set(std::move(service));
}

void kv_port::start() {
    service()->start_threads();
    for (auto& listener : listeners_)
        listener->start();
}

void kv_port::stop() {
    for (auto& listener : listeners_)
        listener->stop();
}

std::optional<std::vector<handed_client>> kv_port::suspend(std::string& why) {
    const auto service = this->service();
    if (service == nullptr) {
        why = "the key-value store is not open";
        return std::nullopt;
    }
    why = service->save_before_release();
    if (!why.empty()) return std::nullopt;
    net::on_all(workers_, [this](net::worker& on) {
        if (on.number() != 0) return;
        for (auto& listener : listeners_)
            listener->pause();
    });
    suspended_at_ = std::chrono::steady_clock::now();
    auto clients = service->take_clients();
    net::on_all(workers_, [this](net::worker& on) { on_[on.number()] = nullptr; });
    if (!service->release()) why = "the log of the key-value store could not be synced";
    set(nullptr);
    // What it has posted to the workers is done before it ends.
    net::on_all(workers_, [](net::worker&) {});
    return clients;
}

void kv_port::resume(const config::kv_settings& settings, const std::string& config_file,
                     const std::vector<handed_client>& clients) {
    auto service = std::make_shared<kv_service>(settings, config_file, workers_, log_);
    service->start_threads();
    net::on_all(workers_, [&](net::worker& on) { on_[on.number()] = service.get(); });
    set(service);
    for (const auto& client : clients)
        service->go_on(client);
    net::on_all(workers_, [this](net::worker& on) {
        if (on.number() != 0) return;
        for (auto& listener : listeners_)
            listener->start();
    });
}

}  // namespace sluice::daemon
