#include "daemon/log.hpp"

#include <poll.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/sink.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/log_limit.hpp"

namespace sluice::daemon {
namespace {

using steady = std::chrono::steady_clock;

// Writes lines to a descriptor that may get stuck, on the logger's thread. It waits with poll(),
// not in write(), so that a shutdown can end the wait; stderr itself stays blocking, since other
// processes may share it.
class descriptor_sink final : public spdlog::sinks::sink {
  public:
    explicit descriptor_sink(int descriptor) noexcept : descriptor_(descriptor) {}

    void log(const spdlog::details::log_msg& message) override {
        if (!write_all({message.payload.data(), message.payload.size()})) {
            lost_.fetch_add(1, std::memory_order_relaxed);
        }
    }
    void flush() override {}
    void set_pattern(const std::string&) override {}
    void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

    void give_up_at(steady::time_point deadline) noexcept {
        deadline_.store(deadline.time_since_epoch().count(), std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t lost() const noexcept {
        return lost_.load(std::memory_order_relaxed);
    }

  private:
    bool write_all(std::string_view text) noexcept {
        // A pipe that polls writable has room for PIPE_BUF bytes, so such a write does not block.
        constexpr std::size_t chunk = 4096;
        while (!text.empty()) {
            const bool too_late = steady::now().time_since_epoch().count() >=
                                  deadline_.load(std::memory_order_relaxed);
            pollfd waiting{descriptor_, POLLOUT, 0};
            const int ready = ::poll(&waiting, 1, too_late ? 0 : poll_milliseconds);
            if (ready < 0 && errno != EINTR) return false;
            if (ready <= 0) {
                if (too_late) return false;
                continue;
            }
            const auto n = ::write(descriptor_, text.data(), std::min(text.size(), chunk));
            if (n > 0) {
                text.remove_prefix(static_cast<std::size_t>(n));
            } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
                return false;
            }
        }
        return true;
    }

    static constexpr int poll_milliseconds = 50;

    int descriptor_;
    std::atomic<steady::rep> deadline_{steady::time_point::max().time_since_epoch().count()};
    std::atomic<std::uint64_t> lost_{0};
};

// Signals are for the daemon's own threads; SIGPIPE blocked here makes write() fail instead.
void block_signals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace

struct logger::due_report {
    std::vector<log_limiter::suppressed_lines> suppressed;
    std::uint64_t lost = 0;
};

class logger::backend {
  public:
    explicit backend(const log_options& options)
        : patience_(options.shutdown_patience),
          sink_(std::make_shared<descriptor_sink>(options.descriptor)),
          threads_(std::make_shared<spdlog::details::thread_pool>(options.queue_lines, 1,
                                                                  &block_signals)),
          queue_(std::make_shared<spdlog::async_logger>(
              "sluice", sink_, threads_, spdlog::async_overflow_policy::overrun_oldest)),
          limiter_(options.lines_per_second, std::chrono::seconds(1)) {
        queue_->set_level(spdlog::level::trace);  // the level test is logger::enabled()
        // spdlog would print its own failures to stderr from the calling thread.
        queue_->set_error_handler([](const std::string&) {});
    }

    ~backend() {
        sink_->give_up_at(steady::now() + patience_);
        threads_.reset();  // writes what is queued, then joins
    }
    backend(const backend&) = delete;
    backend& operator=(const backend&) = delete;

    void enqueue(std::string_view line) {
        queue_->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
    }

    // Whether the line may be written, and what is to be reported before it.
    bool admit(std::string_view kind, config::log_level level, steady::time_point now,
               due_report& due) {
        const std::lock_guard lock(mutex_);
        if (limiter_.report_due(now)) take_report(due);
        return limiter_.admit(kind, level, now);
    }

    enum class when { if_due, now };
    due_report report_at(steady::time_point now, when wanted) {
        const std::lock_guard lock(mutex_);
        due_report due;
        if (wanted == when::now || limiter_.report_due(now)) take_report(due);
        return due;
    }

    [[nodiscard]] std::uint64_t dropped() const {
        const std::lock_guard lock(mutex_);
        return limiter_.suppressed_total() + threads_->overrun_counter() + sink_->lost();
    }

  private:
    void take_report(due_report& due) {
        const auto overrun = threads_->overrun_counter();
        due.suppressed = limiter_.take_suppressed();
        due.lost = overrun - reported_overrun_;
        reported_overrun_ = overrun;
    }

    std::chrono::milliseconds patience_;
    std::shared_ptr<descriptor_sink> sink_;
    std::shared_ptr<spdlog::details::thread_pool> threads_;
    std::shared_ptr<spdlog::async_logger> queue_;
    mutable std::mutex mutex_;  // held for a table look-up, never while writing
    log_limiter limiter_;
    std::size_t reported_overrun_ = 0;
};

logger::logger(const config::log_settings& settings, const log_options& options)
    : level_(settings.level),
      format_(settings.format),
      clock_(options.clock),
      backend_(std::make_unique<backend>(options)) {}

logger::~logger() {
    report(backend_->report_at(clock_.steady(), backend::when::now));
}

void logger::configure(const config::log_settings& settings) noexcept {
    level_.store(settings.level, std::memory_order_relaxed);
    format_.store(settings.format, std::memory_order_relaxed);
}

void logger::tick() {
    report(backend_->report_at(clock_.steady(), backend::when::if_due));
}

std::uint64_t logger::dropped() const {
    return backend_->dropped();
}

void logger::write(config::log_level level, log_message message, log_fields fields) {
    const auto now = clock_.steady();
    due_report due;
    const bool admitted = backend_->admit(message.text(), level, now, due);
    report(due);
    if (admitted) put(level, message, fields);
}

void logger::put(config::log_level level, log_message message, log_fields fields) {
    backend_->enqueue(format_log_line(format_.load(std::memory_order_relaxed), clock_.wall(), level,
                                      message.text(), fields));
}

void logger::report(const due_report& due) {
    for (const auto& lines : due.suppressed) {
        put(lines.level, "suppressed lines", {{"lines", lines.count}, {"like", lines.kind}});
    }
    if (due.lost != 0) {
        put(config::log_level::warning, "log lines lost, the log was not read fast enough",
            {{"lines", due.lost}});
    }
}

}  // namespace sluice::daemon
