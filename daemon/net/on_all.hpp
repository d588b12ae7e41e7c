// Work on every worker, from a thread that is none and may wait until all have done it.
#pragma once

#include <latch>
#include <memory>
#include <vector>

#include "daemon/net/worker.hpp"

namespace sluice::net {

template <class Work>
void on_all(const std::vector<worker*>& workers, const Work& work) {
    // The last worker may still be telling of it when the wait is over.
    const auto left = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(workers.size()));
    for (auto* const one : workers) {
        one->post([left, &work, one] {
            work(*one);
            left->count_down();
        });
    }
    left->wait();
}

}  // namespace sluice::net
