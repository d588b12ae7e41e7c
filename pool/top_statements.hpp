// What statements have cost, by database, upstream user and normalised text: the totals of all
// workers, in a fixed number of entries. A new text is read once, by whoever calls read_texts() on
// a thread that may be slow. When all entries are taken, the one that cost least of late makes
// room; what has no entry is counted as <other>, one line for each database and user. Thread-safe;
// the workers come with what they have counted (statement_counts) once a tick, and never wait.
#pragma once

#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pool/statement_total.hpp"

namespace sluice::pool {

struct statement_sums {
    std::uint64_t total_ns = 0;
    std::uint64_t slowest_ns = 0;
    std::uint64_t calls = 0;
    std::uint64_t errors = 0;

    void add(const statement_sums& more) noexcept {
        total_ns += more.total_ns;
        if (more.slowest_ns > slowest_ns) slowest_ns = more.slowest_ns;
        calls += more.calls;
        errors += more.errors;
    }
};

struct statement_text {
    std::string text;
    bool is_shown = false;  // as it is, rather than normalised
};

class top_statements {
  public:
    static constexpr std::string_view other_text = "<other>";
    static constexpr std::size_t longest_shown = 2048;
    static constexpr std::size_t most_waiting = 256;  // texts to be read

    explicit top_statements(std::uint32_t entries) { set_limit(entries); }

    // 0 is off, and forgets everything.
    void set_limit(std::uint32_t entries);
    [[nodiscard]] bool on() const noexcept { return limit_.load(std::memory_order_relaxed) != 0; }
    // A number that stands for a database and an upstream user, for good.
    [[nodiscard]] std::uint32_t scope_of(const std::string& database, const std::string& user);

    // The `most` that took the most time, the most expensive first.
    [[nodiscard]] std::vector<statement_total> top(std::size_t most) const;
    void reset();

    // There are texts to be read, and nobody was told so since the last read_texts().
    [[nodiscard]] bool wants_reader();
    void read_texts();

    // For statement_counts, which holds what try_merge() gives while it calls the others.
    using time = std::chrono::steady_clock::time_point;
    using turn = std::unique_lock<std::mutex>;
    [[nodiscard]] std::optional<turn> try_merge(time now);
    // False: there is no room for the text now.
    [[nodiscard]] bool introduce(std::uint64_t shape, std::uint32_t scope, statement_text text);
    // False: the shape is not known, or not any more.
    [[nodiscard]] bool merge(std::uint64_t shape, const statement_sums& sums);
    void merge_other(std::uint32_t scope, const statement_sums& sums);

  private:
    struct entry {
        std::uint32_t scope = 0;
        std::shared_ptr<const std::string> text;
        statement_sums sums;
        double recent = 0;  // time, of which half is forgotten every ten minutes, as of ...
        time since;
        time born;
    };
    static constexpr std::uint32_t unread = ~std::uint32_t{0};
    struct shape_entry {
        std::uint32_t entry = unread;
        std::uint32_t generation = 0;  // of the entry
        std::uint64_t used = 0;        // by the turn of that number
        statement_sums sums;           // until the text has been read
    };
    struct waiting_text {
        std::uint64_t shape;
        std::uint32_t scope;
        std::uint64_t edition;
        statement_text text;
    };
    struct scope_entry {
        std::string database;
        std::string user;
        statement_sums other;
    };

    [[nodiscard]] static std::size_t key_of(std::uint32_t scope, const std::string& text) noexcept;
    void forget();
    void add_to(entry& to, const statement_sums& sums) noexcept;
    [[nodiscard]] double recent_of(const entry& one) const noexcept;
    [[nodiscard]] std::uint32_t entry_for(std::uint32_t scope, std::string text);
    [[nodiscard]] std::uint32_t take_place();
    void take_in(const waiting_text& from, std::string text);
    void drop_shapes();

    std::atomic<std::uint32_t> limit_{0};
    mutable std::mutex mutex_;  // all that follows
    std::map<std::pair<std::string, std::string>, std::uint32_t> scope_numbers_;
    std::deque<scope_entry> scopes_;
    std::vector<entry> entries_;
    std::vector<std::uint32_t> generations_;  // of each entry
    boost::unordered_flat_map<std::size_t, std::uint32_t> by_text_;
    boost::unordered_flat_map<std::uint64_t, shape_entry> shapes_;
    std::deque<waiting_text> waiting_;
    std::uint64_t turns_ = 0;
    std::uint64_t edition_ = 0;  // of what is known, up to the next forget()
    time now_{};
    bool reader_called_ = false;
};

}  // namespace sluice::pool
