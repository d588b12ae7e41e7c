#include "pool/stats_history.hpp"

#include <array>
#include <utility>

namespace sluice::pool {

namespace {

using member = std::uint64_t database_totals::*;

constexpr std::array<member, 12> members{
    &database_totals::assignments,   &database_totals::transactions,
    &database_totals::queries,       &database_totals::received,
    &database_totals::sent,          &database_totals::transaction_us,
    &database_totals::query_us,      &database_totals::wait_us,
    &database_totals::client_parses, &database_totals::server_parses,
    &database_totals::binds,         &database_totals::logins};

std::uint64_t since(std::uint64_t before, std::uint64_t after) {
    return after > before ? after - before : 0;
}

// Of one: a time and what it was spent on.
constexpr std::array<std::pair<member, member>, 3> times{
    std::pair{&database_totals::transaction_us, &database_totals::transactions},
    std::pair{&database_totals::query_us, &database_totals::queries},
    std::pair{&database_totals::wait_us, &database_totals::assignments}};

}  // namespace

database_totals& database_totals::operator+=(const database_totals& other) noexcept {
    for (const auto one : members)
        this->*one += other.*one;
    return *this;
}

database_totals averages_of(const database_totals& before, const database_totals& after,
                            duration between) {
    database_totals out;
    const auto us =
        static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(between).count());
    if (us <= 0) return out;
    for (const auto one : members) {
        const auto change = static_cast<double>(since(before.*one, after.*one));
        out.*one = static_cast<std::uint64_t>(change * 1e6 / us);
    }
    for (const auto& [time, of] : times) {
        const auto count = since(before.*of, after.*of);
        out.*time = count == 0 ? 0 : since(before.*time, after.*time) / count;
    }
    return out;
}

bool stats_history::is_due(clock_time now) const {
    const std::lock_guard lock(mutex_);
    return newer_.at == clock_time{} || now - newer_.at >= period;
}

void stats_history::end_period(totals_by_database now_are, clock_time now) {
    const std::lock_guard lock(mutex_);
    older_ = std::exchange(newer_, {std::move(now_are), now});
}

stats_report stats_history::report(const totals_by_database& now_are) const {
    const std::lock_guard lock(mutex_);
    stats_report out;
    const bool known = older_.at != clock_time{};
    const auto between = known ? newer_.at - older_.at : duration{};
    const auto of = [](const mark& from, const std::string& name) {
        const auto at = from.totals.find(name);
        return at == from.totals.end() ? database_totals{} : at->second;
    };
    database_totals before;
    database_totals after;
    for (const auto& [name, totals] : now_are) {
        const auto was = of(older_, name);
        const auto then = of(newer_, name);
        out.databases[name] = {totals, averages_of(was, then, between)};
        out.all.totals += totals;
        before += was;
        after += then;
    }
    out.all.averages = averages_of(before, after, between);
    return out;
}

}  // namespace sluice::pool
