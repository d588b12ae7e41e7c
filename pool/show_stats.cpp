// SHOW STATS, STATS_TOTALS, STATS_AVERAGES and TOTALS. Times are microseconds.
#include <array>

#include "pool/console_shows.hpp"

namespace sluice::pool {

namespace {

constexpr auto n = column_type::numeric;

struct figure {
    std::string_view name;
    std::uint64_t database_totals::*member;
};

// As SHOW TOTALS names them; the other commands put a prefix in front.
constexpr std::array figures{
    figure{"server_assignment_count", &database_totals::assignments},
    figure{"xact_count", &database_totals::transactions},
    figure{"query_count", &database_totals::queries},
    figure{"bytes_received", &database_totals::received},
    figure{"bytes_sent", &database_totals::sent},
    figure{"xact_time", &database_totals::transaction_us},
    figure{"query_time", &database_totals::query_us},
    figure{"wait_time", &database_totals::wait_us},
    figure{"client_parse_count", &database_totals::client_parses},
    figure{"server_parse_count", &database_totals::server_parses},
    figure{"bind_count", &database_totals::binds},
    figure{"client_login_count", &database_totals::logins},
};

constexpr std::array total_names{
    console_column{"total_server_assignment_count", n},
    console_column{"total_xact_count", n},
    console_column{"total_query_count", n},
    console_column{"total_received", n},
    console_column{"total_sent", n},
    console_column{"total_xact_time", n},
    console_column{"total_query_time", n},
    console_column{"total_wait_time", n},
    console_column{"total_client_parse_count", n},
    console_column{"total_server_parse_count", n},
    console_column{"total_bind_count", n},
    console_column{"total_client_login_count", n},
};

constexpr std::array average_names{
    console_column{"avg_server_assignment_count", n},
    console_column{"avg_xact_count", n},
    console_column{"avg_query_count", n},
    console_column{"avg_recv", n},
    console_column{"avg_sent", n},
    console_column{"avg_xact_time", n},
    console_column{"avg_query_time", n},
    console_column{"avg_wait_time", n},
    console_column{"avg_client_parse_count", n},
    console_column{"avg_server_parse_count", n},
    console_column{"avg_bind_count", n},
    console_column{"avg_client_login_count", n},
};

constexpr std::array totals_columns{console_column{"name"}, console_column{"value", n}};

constexpr auto stats_table = [] {
    std::array<console_column, 1 + 2 * figures.size()> out;
    out[0] = {"database"};
    for (std::size_t at = 0; at < figures.size(); ++at) {
        out[1 + at] = total_names[at];
        out[1 + figures.size() + at] = average_names[at];
    }
    return out;
}();

constexpr auto plain_table = [] {
    std::array<console_column, 1 + figures.size()> out;
    out[0] = {"database"};
    for (std::size_t at = 0; at < figures.size(); ++at)
        out[1 + at] = {figures[at].name, n};
    return out;
}();

constexpr auto averages_table = [] {
    std::array<console_column, 1 + figures.size()> out;
    out[0] = {"database"};
    for (std::size_t at = 0; at < figures.size(); ++at)
        out[1 + at] = average_names[at];
    return out;
}();

void append(const database_totals& of, console_table& out) {
    for (const auto& one : figures)
        out.number(of.*one.member);
}

}  // namespace

console_columns stats_columns(show_kind what) {
    switch (what) {
        case show_kind::totals:
            return totals_columns;
        case show_kind::stats_totals:
            return plain_table;
        case show_kind::stats_averages:
            return averages_table;
        default:
            return stats_table;
    }
}

void render_stats(show_kind what, const overview& from, console_table& out) {
    if (what == show_kind::totals) {
        for (std::size_t at = 0; at < figures.size(); ++at)
            out.row().text(total_names[at].name).number(from.stats.all.totals.*figures[at].member);
        for (std::size_t at = 0; at < figures.size(); ++at) {
            out.row().text(average_names[at].name);
            out.number(from.stats.all.averages.*figures[at].member);
        }
        return;
    }
    for (const auto& [name, line] : from.stats.databases) {
        out.row().text(name);
        if (what != show_kind::stats_averages) append(line.totals, out);
        if (what != show_kind::stats_totals) append(line.averages, out);
    }
}

}  // namespace sluice::pool
